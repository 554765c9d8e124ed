"""DynamicQuant of recurrent layers: products on codes of the input and the state, exact sums, files that keep it."""

import bitlite
import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.formats import onnx_write, read_model
from bitlite.converter.formats.ms import write as write_ms
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.dynamic import dynamic_codes
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session
from bitlite.quant.weights.dynamic_quant import quantize_dynamic
from bitlite.quant.weights.weight_quant import WeightSettings

GATES = {"Lstm": 4, "Gru": 3, "Rnn": 1}
HIDDEN, SIZE = 16, 24


def network(op, directions=1, **attrs):
    rng, graph, rows = np.random.default_rng(3), Graph("net"), GATES[op] * HIDDEN
    build = Builder(graph)
    x = build.input("x", np.float32, (7, 1, SIZE))
    shapes = ((directions, rows, SIZE), (directions, rows, HIDDEN), (directions, 2 * rows))
    weights = [build.constant((rng.standard_normal(s) * 0.3).astype(np.float32), f"w{i}") for i, s in enumerate(shapes)]
    way = {"direction": "bidirectional" if directions == 2 else "forward"}
    graph.outputs = build.emit(op, [x, *weights], {"hidden_size": HIDDEN, **way, **attrs}, name="layer")[:1]
    return graph


def quantized(op, **attrs):
    graph = network(op, **attrs)
    return graph, quantize_dynamic(graph, WeightSettings())


def feed(steps=7):
    return np.random.default_rng(1).standard_normal((steps, 1, SIZE)).astype(np.float32)


def run(graph, x):
    [y] = Session(graph.copy()).run({"x": x}).values()
    return y


KINDS = [("Lstm", {}), ("Lstm", {"directions": 2}), ("Gru", {}), ("Gru", {"linear_before_reset": True}), ("Rnn", {})]


@pytest.mark.parametrize("op,attrs", KINDS, ids=str)
def test_stays_close_to_float(op, attrs):
    graph, dynamic = quantized(op, **attrs)
    assert dynamic.layers == ["layer"] and not dynamic.why
    want, got = run(network(op, **attrs), feed()), run(graph, feed())
    assert 10 * np.log10(np.square(want).sum() / np.square(want - got).sum()) > 30


def test_the_products_are_those_of_codes():
    """One step of an Rnn that only adds: x·W on codes of the whole input, h·R on codes of the state."""
    graph, _ = quantized("Rnn", activations=["Affine"], alpha=[1.0], beta=[0.0])
    w, r, b = graph.nodes[0].inputs[1:4]
    x = feed(2)
    codes, scale, zero = dynamic_codes(x)
    bias = b.data[0, :HIDDEN] + b.data[0, HIDDEN:]

    def product(q, s, z, m):
        acc = (q.astype(np.int64) - z) @ m.data[0].astype(np.int64).T
        return acc.astype(np.float32) * (s * m.quant.scale.astype(np.float32))

    h = np.zeros((1, HIDDEN), np.float32)
    for k in range(2):
        h = product(codes[k], scale, zero, w) + product(*dynamic_codes(h), r) + bias
    [y, _] = execute(graph.nodes[0], [x, w.data, r.data, b.data])
    np.testing.assert_array_equal(y[1, 0], h)


@pytest.mark.parametrize(
    "op,ending,write", [("Lstm", "ms", write_ms), ("Lstm", "onnx", onnx_write.write), ("Gru", "onnx", onnx_write.write)]
)
def test_files_keep_what_quantizes_while_running(op, ending, write, tmp_path):
    graph, _ = quantized(op)
    want = run(graph, feed())
    target = graph.copy()
    run_passes(target, for_target(ending))
    path = str(tmp_path / f"m.{ending}")
    write(target, path)
    assert [n.attrs["dynamic"] for n in read_model(path).nodes if n.op == op] == [True]
    session = bitlite.load(path)
    [got] = session.run({session.inputs[0].name: feed()}).values()
    assert np.abs(got - want).max() <= 1e-5
