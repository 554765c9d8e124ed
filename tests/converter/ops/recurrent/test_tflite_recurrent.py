"""Recurrent layers written to TFLite, in LiteRT: files of one operator, and layers of ONNX."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError
from bitlite.converter.execute import execute
from bitlite.converter.formats import tflite, tflite_write
from bitlite.converter.formats.operators import write_operators
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import choose_symmetric, quantize
from bitlite.converter.passes import GENERAL, for_target, run_passes
from bitlite.converter.schema.builder import Builder
from tflite_models import run_litert
from tflite_rows import recurrent
from tflite_rows.table import Draw

T, N, F, H = 4, 2, 3, 5
CASES = [
    pytest.param(case, dtype, id=f"{row.op}-{dtype}-{k}")
    for row in recurrent.ROWS
    for dtype in row.dtypes
    for k, case in enumerate(row.cases(dtype, 12))
]


@pytest.mark.parametrize(("case", "dtype"), CASES)
def test_a_file_written_again_gives_what_it_gave(case, dtype, tmp_path):
    source, target = tmp_path / "a.tflite", str(tmp_path / "b.tflite")
    source.write_bytes(data := case.model())
    graph = tflite.read(str(source))
    run_passes(graph, (*GENERAL, *for_target("tflite")))
    tflite_write.write(graph, target)
    [want] = run_litert(data, case.feeds())
    [got] = run_litert((tmp_path / "b.tflite").read_bytes(), case.feeds())
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=case.tolerance, atol=max(case.absolute, 1e-6))
    else:
        np.testing.assert_array_equal(got, want)
    again = tflite.read(target)
    if dtype == "int8":
        assert [n.op for n in again.nodes] == [n.op for n in graph.nodes]


def layer(op="Lstm", steps=T, batch=N, directions=1, outputs=(0, 1), start=None, peep=False, **attrs):
    rng, graph, many = np.random.default_rng(0), Graph(), {"Lstm": 4, "Gru": 3, "Rnn": 1}[op]
    build = Builder(graph, fold_limit=0)
    inputs = [build.input("x", np.float32, (steps, batch, F))]
    for shape in ((many * H, F), (many * H, H), (2 * many * H,)):
        inputs.append(build.constant(rng.uniform(-1, 1, (directions, *shape)).astype(np.float32)))
    states = [None if start is None else build.constant(np.full((directions, N, H), start, np.float32))] * 2
    inputs += [
        None,
        *states,
        build.constant(rng.uniform(-1, 1, (directions, 3 * H)).astype(np.float32)) if peep else None,
    ]
    attrs.setdefault("direction", "bidirectional" if directions == 2 else "forward")
    results = build.emit(op, inputs if op == "Lstm" else inputs[:6], {"hidden_size": H, **attrs}, name="node")
    graph.outputs = [results[k] for k in outputs]
    return graph


def written(graph, tmp_path):
    """(its operators, LiteRT's results, what the layer gives)."""
    x = np.random.default_rng(1).standard_normal((T, N, F)).astype(np.float32)
    values = {graph.inputs[0]: x}
    for node in graph.nodes:
        arrays = [None if t is None else t.data if t.is_const else values[t] for t in node.inputs]
        values.update(zip(node.outputs, execute(node, arrays)))
    want = [values[t] for t in graph.outputs]
    run_passes(graph, for_target("tflite"))
    ops = [e.op for e in write_operators(graph, "tflite").emitted]
    path = tmp_path / "m.tflite"
    tflite_write.write(graph, str(path))
    return ops, run_litert(path.read_bytes(), {"x": x}), want


@pytest.mark.parametrize(
    ("form", "layers"),
    [
        ({}, 1),
        ({"outputs": (0,), "start": 0.0}, 1),
        ({"outputs": (1,), "peep": True, "cell_clip": 0.3}, 1),
        ({"activations": ["Sigmoid", "Relu", "Relu"]}, 1),
        ({"direction": "reverse"}, 1),
        ({"directions": 2, "peep": True}, 2),
        ({"directions": 2, "activations": ["Sigmoid", "Relu", "Relu"] * 2}, 2),
        ({"outputs": (0, 1, 2)}, 0),
        ({"start": 0.5}, 0),
        ({"clip": 0.5}, 0),
        ({"input_forget": True}, 0),
        ({"op": "Gru"}, 0),
        ({"op": "Rnn", "directions": 2}, 0),
    ],
)
def test_a_layer_is_the_operator_where_it_can_be(form, layers, tmp_path):
    ops, got, want = written(layer(**form), tmp_path)
    assert ops.count("UNIDIRECTIONAL_SEQUENCE_LSTM") == layers
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("form", [{}, {"direction": "reverse"}, {"directions": 2, "peep": True}])
def test_a_run_does_not_go_on_from_the_run_before(form, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    _, _, want = written(layer(**form), tmp_path)
    runner = Interpreter(str(tmp_path / "m.tflite"))
    runner.allocate_tensors()
    x = np.random.default_rng(1).standard_normal((T, N, F)).astype(np.float32)
    for _ in range(3):
        runner.set_tensor(runner.get_input_details()[0]["index"], x)
        runner.invoke()
        for a, b in zip(runner.get_output_details(), want, strict=True):
            np.testing.assert_allclose(runner.get_tensor(a["index"]), b, atol=1e-5)


def test_a_layer_of_a_tflite_goes_on_from_run_to_run_as_there(tmp_path):
    graph = layer()
    graph.meta["source"] = "tflite"
    ops, _, _ = written(graph, tmp_path)
    assert "ZEROS_LIKE" not in ops


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"op": "Gru", "steps": None}, "no operator for Gru; the steps of 'x' are not known"),
        ({"steps": None, "start": 0.5}, "starts from zeros"),
        ({"steps": None, "batch": None}, "batch is not known"),
    ],
)
def test_what_has_no_form_is_refused_by_name(form, reason):
    graph = layer(**form)
    run_passes(graph, for_target("tflite"))
    with pytest.raises(UnsupportedError, match=reason):
        write_operators(graph, "tflite")


def test_a_quantized_lstm_is_written_as_products_of_its_codes(tmp_path):
    graph = layer(outputs=(0,))
    for w in graph.nodes[0].inputs[1:3]:
        q = choose_symmetric(np.abs(w.data).max((0, 2)), 8, 1)
        w.data, w.dtype, w.quant = quantize(w.data, q), np.dtype(np.int8), q
    ops, [got], [want] = written(graph, tmp_path)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" not in ops
    np.testing.assert_allclose(got, want, atol=2e-2)  # LiteRT quantizes inputs and states, too
    weights = {n.inputs[1] for n in tflite.read(str(tmp_path / "m.tflite")).nodes if n.op == "FullyConnected"}
    assert [(w.dtype, w.quant.axis) for w in weights] == [(np.int8, 0)] * 2


def test_codes_that_litert_cannot_take_apart_are_refused(tmp_path):
    row = recurrent.ROWS[0]
    combination = dict(next(iter(row.combinations(1))), peephole=True, projection="plain", size=(1, 2, 3, 2))
    case = row.make(Draw([0]), "int8", **combination)
    path = tmp_path / "m.tflite"
    path.write_bytes(case.model())
    with pytest.raises(UnsupportedError, match="2 cells to 3 values"):
        tflite.read(str(path))
