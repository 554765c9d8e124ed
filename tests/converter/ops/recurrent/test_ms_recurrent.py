"""Recurrent layers in `.ms`: what is written as the runtime's own operator, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError
from bitlite.converter.execute import execute
from bitlite.converter.formats.ms import read, write
from bitlite.converter.formats.operators import write_operators
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import choose_symmetric, quantize
from bitlite.converter.schema.builder import Builder

GATES = {"Lstm": 4, "Gru": 3, "Rnn": 1}
T, F, H = 5, 4, 8


def layer(op, batch=2, steps=T, directions=1, coded=False, **attrs):
    rng, graph = np.random.default_rng(0), Graph()
    build = Builder(graph, fold_limit=0)
    x = build.input("x", np.float32, (steps, batch, F))
    weights = [
        build.constant(rng.standard_normal((directions, GATES[op] * H, n)).astype(np.float32), name)
        for n, name in ((F, "w"), (H, "r"))
    ]
    for w in weights if coded else ():
        q = choose_symmetric(np.abs(w.data).max((0, 2)), 8, 1)
        w.data, w.dtype, w.quant = quantize(w.data, q), np.dtype(np.int8), q
    attrs |= {"hidden_size": H, "direction": "bidirectional" if directions == 2 else "forward"}
    graph.outputs = build.emit(op, [x, *weights], attrs, name="node")
    return graph


def run(graph, x):
    values = {graph.inputs[0]: x}
    for node in graph.nodes:
        results = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        values.update(zip(node.outputs, results, strict=True))
    return [values[t] for t in graph.outputs]


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("dynamic", [False, True])
def test_an_lstm_quantized_by_rows_stores_them_first(directions, dynamic, tmp_path):
    graph = layer("Lstm", directions=directions, coded=True, dynamic=dynamic)
    emitted = write_operators(graph, "ms").emitted
    assert [e.op for e in emitted] == ["Transpose", "Transpose", "LSTM"]
    assert [(e.inputs[0].shape, e.inputs[0].quant.axis) for e in emitted[:2]] == [
        ((4 * H, directions, F), 0),
        ((4 * H, directions, H), 0),
    ]
    path, x = str(tmp_path / "m.ms"), np.random.default_rng(1).standard_normal((T, 2, F)).astype(np.float32)
    write(graph, path)
    again = read(path)
    (node,) = again.nodes
    assert node.attrs["dynamic"] == dynamic
    assert [t.dtype for t in node.inputs[1:3]] == [np.int8, np.int8]
    for got, want in zip(run(again, x), run(graph, x), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "form", "reason"),
    [
        ("Rnn", {"steps": None}, "no plain RNN; the steps of 'x' are not known"),
        ("Lstm", {"steps": 513, "clip": 1.0}, "513 steps"),
        ("Gru", {"steps": None, "linear_before_reset": True}, "linear_before_reset=1"),
        ("Gru", {"steps": None, "batch": 1, "coded": True}, "with one scale"),
        ("Lstm", {"steps": None, "clip": 1.0}, "no clip"),
        ("Lstm", {"batch": None, "steps": None}, "batch is not known"),
    ],
)
def test_what_has_no_operator_is_refused_by_name(op, form, reason):
    with pytest.raises(UnsupportedError, match=reason):
        write_operators(layer(op, **form), "ms")


def test_an_output_of_four_axes_keeps_the_order_that_it_declares(tmp_path):
    graph, path = layer("Lstm"), str(tmp_path / "m.ms")
    for order in ("NCHW", "NHWC"):
        graph.outputs[0].layout = order
        write(graph, path)
        assert read(path).outputs[0].layout == order
