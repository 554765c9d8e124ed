"""Weights beside codes become uint8 where pairs of their products leave 16 bits, and nowhere else."""

import numpy as np
import pytest
from bitlite.converter.formats import onnx, onnx_write
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.passes import GENERAL, for_target, run_passes
from bitlite.native.load import load
from bitlite.native.session import Session

IN, OUT = QuantParam(0.02, 5), QuantParam(6.0, -7)
WINDOW = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4}
WIDE, NARROW = (127, 127, 0, 0), (127, 0, 127, -127)  # of which one pair exceeds, and none
# name → operator, input, weight, axis of its codes, attributes, whether pairs are added
LAYERS = {
    "conv": ("Conv", (1, 4, 4, 4), (5, 3, 3, 4), 3, WINDOW, True),
    "groups": ("Conv", (1, 4, 4, 8), (6, 3, 3, 4), 3, WINDOW | {"group": 2}, True),
    "depthwise": ("Conv", (1, 4, 4, 4), (4, 2, 2, 1), 0, WINDOW | {"group": 4}, False),
    "dense": ("FullyConnected", (2, 8), (3, 8), 1, {}, True),
    "matmul": ("MatMul", (2, 2, 8), (2, 8, 3), 1, {}, True),
}


def layer(net, name, codes):
    op, shape, weight, axis, attrs, _ = LAYERS[name]
    x = net.input(*shape, dtype=np.int8)
    x.quant = IN
    tiled = np.resize(codes, weight[axis]).reshape([-1 if i == axis else 1 for i in range(len(weight))])
    w = net.build.constant(np.broadcast_to(tiled, weight).astype(np.int8).copy(), "w")
    w.quant = QuantParam(0.01, 0)
    y = net.emit(op, x, w, **attrs)
    y.dtype, y.quant = np.dtype(np.int8), OUT
    return net.done(y)


def written(graph, tmp_path, **options):
    run_passes(graph, for_target("onnx", **options))
    onnx_write.write(graph, str(tmp_path / "m.onnx"))
    stored = onnx.read(str(tmp_path / "m.onnx"))
    (weight,) = [t for t in stored.constants() if t.quant is not None]
    return weight


@pytest.mark.parametrize("codes", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", LAYERS)
def test_only_weights_that_saturate_become_uint8(net, tmp_path, name, codes):
    graph = layer(net, name, codes)
    own, shape = Session(graph.copy()), graph.inputs[0].shape
    weight = written(graph, tmp_path)
    assert weight.dtype == (np.uint8 if codes is WIDE and LAYERS[name][-1] else np.int8)
    assert (weight.quant.zero_point == (128 if weight.dtype == np.uint8 else 0)).all()
    feed = {own.inputs[0].name: np.full(shape, 127, np.int8)}
    (want,) = own.run(feed).values()
    (again,) = load(str(tmp_path / "m.onnx")).run(feed).values()
    np.testing.assert_array_equal(again, want)
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, feed)
    assert np.abs(theirs.astype(int) - want).max() <= 1


@pytest.mark.parametrize(("choice", "dtype"), [("int8", np.int8), ("uint8", np.uint8)])
@pytest.mark.parametrize("codes", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_choice_holds_for_all(net, tmp_path, choice, dtype, codes):
    assert written(layer(net, "dense", codes), tmp_path, onnx_weights=choice).dtype == dtype


def test_a_float_layer_on_stored_weights_is_left(net, tmp_path):
    w = net.build.constant(np.full((3, 8), 127, np.int8), "w")
    w.quant = QuantParam(0.01, 0)
    graph = net.done(net.emit("FullyConnected", net.input(2, 8), w))
    assert written(graph, tmp_path, onnx_weights="uint8").dtype == np.int8


@pytest.mark.parametrize("zero", [None, 3])
def test_plain_integer_products_keep_their_sums(net, tmp_path, zero):
    a = net.input(2, 8, dtype=np.uint8)
    b = net.build.constant(np.full((8, 3), 127, np.int8), "b")
    zeros = [] if zero is None else [None, net.build.constant(np.int8(zero), "zero")]
    graph = net.done(net.emit("MatMulInteger", a, b, *zeros))
    run_passes(graph, (*GENERAL, *for_target("onnx")))
    assert graph.nodes[0].inputs[1].dtype == np.uint8
    onnx_write.write(graph, str(tmp_path / "m.onnx"))
    x = np.full((2, 8), 255, np.uint8)
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    want = np.full((2, 3), 8 * 255 * (127 - (zero or 0)))
    np.testing.assert_array_equal(session.run(None, {session.get_inputs()[0].name: x})[0], want)
    np.testing.assert_array_equal(next(iter(load(str(tmp_path / "m.onnx")).run({a.name: x}).values())), want)
