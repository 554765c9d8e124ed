"""Recurrent layers that TFLite has no operator for: loops in the file, run by LiteRT, layers again when it is read."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.formats import tflite
from bitlite.converter.formats.inventory import operators
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import choose_symmetric, quantize
from bitlite.converter.ops.recurrent.tflite_loop import FEWEST_STEPS, block_of
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session
from tflite_models import run_litert

GATES = {"Lstm": 4, "Gru": 3, "Rnn": 1}
F, H = 4, 6


def network(op, steps=160, batch=2, directions=1, state=True, lengths=None, peep=False, coded=False, **attrs):
    """A layer; lengths: a list, or "given" for an input."""
    rng, graph, rows = np.random.default_rng(0), Graph("net"), GATES[op] * H
    build = Builder(graph, fold_limit=0)
    inputs = [build.input("x", np.float32, (steps, batch, F))]
    for k, shape in enumerate([(rows, F), (rows, H), (2 * rows,)]):
        inputs.append(build.constant((rng.standard_normal((directions, *shape)) * 0.4).astype(np.float32), f"w{k}"))
    for w in inputs[1:3] if coded else ():
        q = choose_symmetric(np.abs(w.data).max((0, 2)), 8, 1)
        w.data, w.dtype, w.quant = quantize(w.data, q), np.dtype(np.int8), q
    ends = None if lengths is None else build.constant(np.array(lengths, np.int32)) if lengths != "given" else None
    inputs.append(build.input("lengths", np.int32, (batch,)) if lengths == "given" else ends)
    states = [build.input(f"s{k}", np.float32, (directions, batch, H)) for k in range(2 if op == "Lstm" else 1)]
    inputs += states if state else [None] * len(states)
    if peep:
        inputs.append(build.constant((rng.standard_normal((directions, 3 * H)) * 0.4).astype(np.float32), "p"))
    attrs |= {"hidden_size": H} | ({"direction": "bidirectional"} if directions == 2 else {})
    if not state:
        graph.inputs = [t for t in graph.inputs if t not in states]
    graph.outputs = build.emit(op, inputs, attrs, name="layer")
    return graph


def written(graph, path):
    target = graph.copy()
    run_passes(target, for_target("tflite"))
    tflite.write(target, str(path))
    return target


def feeds_of(graph):
    rng = np.random.default_rng(1)
    return {
        t.name: rng.integers(1, graph.inputs[0].shape[0] + 1, t.shape).astype(np.int32)
        if t.dtype == np.int32
        else rng.standard_normal(t.shape).astype(np.float32)
        for t in graph.inputs
    }


FORMS = [
    ("Gru", {"linear_before_reset": True}, 1),
    ("Gru", {"batch": 1, "steps": 131, "state": False}, 1),
    ("Gru", {"direction": "reverse", "steps": 257}, 1),
    ("Gru", {"directions": 2, "linear_before_reset": True, "lengths": [160, 3]}, 2),
    ("Gru", {"lengths": "given", "steps": 149, "direction": "reverse"}, 1),
    ("Rnn", {"directions": 2, "steps": 600}, 2),
    ("Lstm", {"lengths": "given", "steps": 131}, 1),
    ("Lstm", {}, 1),
]


@pytest.mark.parametrize(("op", "form", "layers"), FORMS)
def test_a_loop_gives_what_the_layer_gives_and_is_the_layer_again(op, form, layers, tmp_path):
    graph, path = network(op, **form), tmp_path / "m.tflite"
    written(graph, path)
    assert operators(str(path))[1]["WHILE"] == layers
    feeds = feeds_of(graph)
    want = list(Session(graph).run(feeds).values())
    for _ in range(2):  # nothing stays from the run before
        for got, y in zip(run_litert(path.read_bytes(), feeds), want, strict=True):
            np.testing.assert_allclose(got, y, atol=2e-5)
    again = tflite.read(str(path))
    assert [n.op for n in again.nodes].count(op) == layers
    for got, y in zip(Session(again).run(feeds).values(), want, strict=True):
        np.testing.assert_allclose(got, y, atol=2e-5)


@pytest.mark.parametrize(
    ("op", "form"),
    [
        ("Lstm", {"peep": True, "clip": 1.5}),
        ("Rnn", {"directions": 2, "activations": ["Relu", "LeakyRelu"], "alpha": [0.3]}),
        ("Gru", {"activations": ["HardSigmoid", "Tanh"], "alpha": [0.3], "beta": [0.4]}),
    ],
)
def test_a_loop_of_other_functions_is_read_step_by_step(op, form, tmp_path):
    graph, path = network(op, **form), tmp_path / "m.tflite"
    written(graph, path)
    feeds = feeds_of(graph)
    want = list(Session(graph).run(feeds).values())
    results = run_litert(path.read_bytes(), feeds), Session(tflite.read(str(path))).run(feeds).values()
    for ys in results:
        for got, y in zip(ys, want, strict=True):
            np.testing.assert_allclose(got, y, atol=2e-5)


def test_weights_in_8_bits_stay_so_in_a_loop(tmp_path):
    graph, path = network("Gru", coded=True), tmp_path / "m.tflite"
    written(graph, path)
    (again,) = [n for n in tflite.read(str(path)).nodes if n.op == "Gru"]
    for a, b in zip(again.inputs[1:3], graph.nodes[0].inputs[1:3], strict=True):
        assert a.dtype == np.int8
        np.testing.assert_array_equal(a.data, b.data)


def test_a_loop_grows_with_a_block_of_its_steps_only(tmp_path):
    path, sizes = tmp_path / "m.tflite", []
    for steps in (160, 1600):
        written(network("Gru", steps=steps), path)
        sizes.append(path.stat().st_size)
    assert sizes[1] < 3 * sizes[0]


def test_a_few_steps_are_written_one_by_one(tmp_path):
    path = tmp_path / "m.tflite"
    written(network("Gru", steps=FEWEST_STEPS - 1), path)
    assert "WHILE" not in operators(str(path))[1]


@pytest.mark.parametrize("steps", [16, 129, 257, 1000, 4096])
@pytest.mark.parametrize("weights", [1 << 8, 1 << 16, 1 << 24])
def test_a_block_leaves_few_steps_over(steps, weights):
    block = block_of(steps, weights)
    assert 1 <= block <= steps and steps % block <= max(2, block // 8)


def test_a_loop_whose_rounds_are_not_known_is_refused(tmp_path):
    """A condition that compares with an input."""
    from bitlite.converter.errors import UnsupportedError
    from bitlite.converter.formats import tflite_schema
    from bitlite.converter.formats.flat import write as write_flat
    from bitlite.converter.formats.tflite_write import to_record

    graph = network("Gru", lengths="given")
    run_passes(graph, for_target("tflite"))
    record, _ = to_record(graph)
    test = next(s for s in record.subgraphs if s["name"].endswith("/test"))
    (less,) = test["operators"]
    less["inputs"] = [test["inputs"][1], test["inputs"][4]]
    with open(tmp_path / "m.tflite", "wb") as out:
        write_flat(out, record, tflite_schema.SCHEMA)
    with pytest.raises(UnsupportedError, match="its condition is computed while running"):
        tflite.read(str(tmp_path / "m.tflite"))
