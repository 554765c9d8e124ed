"""Recurrent layers that MindSpore Lite has no operator for: loops in the file, layers again when it is read."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import ModelError, UnsupportedError
from bitlite.converter.formats import ms_schema
from bitlite.converter.formats.flat import write as write_flat
from bitlite.converter.formats.inventory import operators
from bitlite.converter.formats.ms import read, to_record, write
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import choose_symmetric, quantize
from bitlite.converter.ops.recurrent.ms_loop import FEWEST_STEPS
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session

GATES = {"Gru": 3, "Rnn": 1}
F, H = 4, 6


def network(op, layers=1, steps=11, batch=2, directions=1, state=False, bias=True, coded=False, **attrs):
    """Layers on each other; the outputs are the last one's and each last state."""
    rng, graph = np.random.default_rng(0), Graph("net")
    build = Builder(graph, fold_limit=0)
    x, ends = build.input("x", np.float32, (steps, batch, F)), []

    def constant(name, *shape):
        return build.constant((rng.standard_normal(shape) * 0.4).astype(np.float32), name)

    attrs |= {"hidden_size": H} | ({"direction": "bidirectional"} if directions == 2 else {})
    for k in range(layers):
        rows = GATES[op] * H
        weights = [constant(f"w{k}", directions, rows, x.shape[-1]), constant(f"r{k}", directions, rows, H)]
        for w in weights if coded else ():
            q = choose_symmetric(np.abs(w.data).max((0, 2)), 8, 1)
            w.data, w.dtype, w.quant = quantize(w.data, q), np.dtype(np.int8), q
        b = constant(f"b{k}", directions, 2 * rows) if bias else None
        start = constant(f"h{k}", directions, batch, H) if state else None
        x, end = build.emit(op, [x, *weights, b, None, start], attrs, name=f"layer{k}")
        ends.append(end)
        if k + 1 < layers:
            x = build.emit("Squeeze", [x], {"axes": [1]}, name=f"flat{k}")[0]
    graph.outputs = [x, *ends]
    return graph


def written(graph, path):
    target = graph.copy()
    run_passes(target, for_target("ms"))
    write(target, path)
    return target


def ran(graph):
    x = np.random.default_rng(1).standard_normal(graph.inputs[0].shape).astype(np.float32)
    return Session(graph).run({"x": x})


@pytest.mark.parametrize(
    ("op", "form"),
    [
        ("Gru", {"linear_before_reset": True}),
        ("Gru", {"linear_before_reset": True, "direction": "reverse", "state": True}),
        ("Gru", {"linear_before_reset": True, "directions": 2, "state": True, "coded": True}),
        ("Gru", {"linear_before_reset": True, "layers": 3, "bias": False}),
        ("Gru", {"batch": 12}),
        ("Gru", {"coded": True, "batch": 1, "bias": False}),
        ("Rnn", {"layers": 2}),
        ("Rnn", {"directions": 2, "steps": 600}),
    ],
)
def test_a_loop_is_the_layer_again(op, form, tmp_path):
    graph, path = network(op, **form), str(tmp_path / "m.ms")
    target = written(graph, path)
    again = read(path)
    layers = [n for n in again.nodes if n.op == op]
    assert len(layers) == form.get("layers", 1) * form.get("directions", 1)
    assert len(again.nodes) <= len(target.nodes)
    assert [t.name for t in again.outputs] == [t.name for t in graph.outputs]
    for got, want in zip(ran(again).values(), ran(graph).values(), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
    for before, after in zip((n for n in target.nodes if n.op == op), layers, strict=True):
        for a, b in zip(before.inputs[1:3], after.inputs[1:3], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a.data, b.data)


def test_a_loop_stores_its_weights_once(tmp_path):
    path = tmp_path / "m.ms"
    sizes = []
    for steps in (20, 200):
        written(network("Gru", steps=steps, linear_before_reset=True), str(path))
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1]


def test_a_few_steps_are_written_one_by_one(tmp_path):
    graph, path = network("Rnn", steps=FEWEST_STEPS - 1), str(tmp_path / "m.ms")
    assert "Rnn" not in {n.op for n in written(graph, path).nodes}
    assert len(to_record(written(graph, path)).subGraph) == 1


def test_a_loop_is_one_operator_of_the_inventory(tmp_path):
    path = str(tmp_path / "m.ms")
    written(network("Rnn", layers=2), path)
    names = operators(path)[1]
    assert names["Loop"] == 2
    assert not {"PartialFusion", "Call", "Switch"} & set(names)


def test_what_stands_before_a_loop_is_there_behind_it(tmp_path):
    graph, path = network("Gru", linear_before_reset=True), str(tmp_path / "m.ms")
    build = Builder(graph, fold_limit=0)
    x, y = graph.inputs[0], graph.outputs[0]
    early = build.emit("Relu", [x], name="early")[0]
    graph.nodes.insert(0, graph.nodes.pop())
    late = build.emit("Add", [y, y], name="late")[0]
    more = build.emit("Mul", [early, x], name="more")[0]
    graph.outputs = [early, late, more]
    written(graph, path)
    again = read(path)
    assert [t.name for t in again.outputs] == ["early", "late", "more"]
    for got, want in zip(ran(again).values(), ran(graph).values(), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def _record():
    target = network("Rnn")
    run_passes(target, for_target("ms"))
    return to_record(target)


def _node(record, op):
    return next(n for n in record.nodes if n["primitive"]["value"][0] == op)


def _another_gate(record):
    _node(record, "Activation")["primitive"]["value"][1]["activation_type"] = 2


def _another_limit(record):
    name = next(t for t in record.allTensors if t["name"].endswith("/limit"))
    name["data"] = name["data"] - 1


def _another_order(record):
    node = _node(record, "Concat")
    node["inputIndex"] = node["inputIndex"][::-1]


def _another_condition(record):
    _node(record, "Less")["primitive"]["value"] = ("Greater", {})


def _outside(record):
    _node(record, "PartialFusion")["primitive"]["value"][1]["sub_graph_index"] = 9


def _its_own_end(record):
    record.nodes[int(record.subGraph[2]["nodeIndices"][-2])]["primitive"]["value"][1]["sub_graph_index"] = 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_another_gate, UnsupportedError, "no recurrent layer"),
        (_another_limit, UnsupportedError, "no recurrent layer"),
        (_another_order, UnsupportedError, "no recurrent layer"),
        (_another_condition, UnsupportedError, "a condition of"),
        (_outside, ModelError, r"subgraph 9 is outside 0\.\.3"),
        (_its_own_end, UnsupportedError, "not followed by its condition"),
    ],
)
def test_another_loop_is_refused_by_name(change, error, message, tmp_path):
    record, path = _record(), str(tmp_path / "m.ms")
    change(record)
    with open(path, "wb") as out:
        write_flat(out, record, ms_schema.SCHEMA)
    with pytest.raises(error, match=message):
        read(path)
