from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import QuantParam, choose_asymmetric, choose_symmetric, quantize, quantize_bias
from bitlite.converter.passes import GENERAL, Refusal, run_passes
from bitlite.converter.passes.fuse_quantize import fuse_quantize, split_asymmetric_weights


def coded(t, quant, dtype=np.int8):
    t.dtype, t.quant = np.dtype(dtype), quant
    return t


def quantized(net, x, low=-4.0, high=4.0, dtype=np.int8):
    quant = choose_asymmetric(low, high, unsigned=dtype == np.uint8)
    return coded(net.emit("Quantize", x, dtype=np.dtype(dtype).name), quant, dtype)


def qdq(net, x, **range_):
    return net.emit("Dequantize", quantized(net, x, **range_))


def weight(net, *shape, axis=0):
    w = net.const(*shape)
    others = tuple(k for k in range(len(shape)) if k != axis)
    quant = choose_symmetric(np.abs(w.data).max(others), 8, axis)
    return coded(net.build.constant(quantize(w.data, quant), "w"), quant)


WINDOW = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4}


def close(outputs_of, graph, *passes):
    """Runs the passes; codes may differ by one, from where a real result lies between two."""
    feeds = {t.name: np.random.default_rng(5).normal(size=t.shape).astype(np.float32) for t in graph.inputs}
    before = outputs_of(graph, feeds)
    records = run_passes(graph, passes)
    producers = {n.outputs[0].name: n for n in graph.nodes}
    for name, value in outputs_of(graph, feeds).items():
        unit = producers[name].inputs[0].quant.scale[0]
        steps = np.rint(np.abs(value.astype(np.float64) - before[name]) / unit)
        assert steps.max() <= 1
        assert np.mean(steps) <= 0.1
    return [n.op for n in graph.nodes], records


@pytest.mark.parametrize("with_bias", ["none", "float", "codes", "other scale"])
def test_a_conv_between_casts_computes_on_codes(net, outputs_of, with_bias):
    x = qdq(net, net.input(2, 6, 6, 3))
    w, sx = weight(net, 4, 3, 3, 3), x and choose_asymmetric(-4.0, 4.0).scale[0]
    bias = None
    if with_bias != "none":
        bias = net.const(4)
        if with_bias == "codes":
            codes, quant = quantize_bias(bias.data, float(sx), w.quant.scale)
            bias = coded(net.build.constant(codes, "bias"), quant, np.int32)
        if with_bias == "other scale":
            quant = QuantParam(np.float64(1e-4), np.int32(0), None, 32)
            bias = coded(net.build.constant(np.rint(bias.data / 1e-4).astype(np.int32), "bias"), quant, np.int32)
    graph = net.done(qdq(net, net.emit("Conv", x, w, bias, act="relu", **WINDOW), low=0.0, high=6.0))
    ops, _ = close(outputs_of, graph, fuse_quantize)
    assert ops == ["Quantize", "Conv", "Dequantize"]
    conv = graph.nodes[1]
    assert conv.inputs[0].dtype == np.int8 and conv.outputs[0].dtype == np.int8
    if bias is not None:
        assert conv.inputs[2].dtype == np.int32
        assert np.allclose(conv.inputs[2].quant.scale, sx * w.quant.scale)


def test_a_whole_exported_network_of_codes(net, outputs_of):
    """Channels-first with transposes, a residual, pools and a dense head, all between casts."""
    x = qdq(net, net.input(2, 3, 8, 8))
    a = net.emit("Relu", net.first(net.emit("Conv", net.last(x), weight(net, 4, 3, 3, 3), net.const(4), **WINDOW)))
    a = qdq(net, a, low=0.0, high=5.0)
    b = qdq(net, net.first(net.emit("Conv", net.last(a), weight(net, 4, 3, 3, 4), net.const(4), **WINDOW)))
    s = qdq(net, net.emit("Relu", net.emit("Add", a, b)), low=0.0, high=8.0)
    window = {"kernel": [2, 2], "stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4}
    p = qdq(net, net.first(net.emit("MaxPool", net.last(s), **window)), low=0.0, high=8.0)
    m = qdq(net, net.emit("Reduce", p, mode="mean", axes=[2, 3], keep_dims=True), low=0.0, high=8.0)
    v = qdq(net, net.emit("Reshape", m, net.ints(-1, 4)), low=0.0, high=8.0)
    y = qdq(net, net.emit("MatMul", v, weight(net, 4, 5, axis=1)), low=-20.0, high=20.0)
    graph = net.done(y)
    ops, _ = close(outputs_of, graph, *GENERAL)
    assert ops.count("Quantize") == 1
    assert ops.count("Dequantize") == 1
    assert ops.count("Transpose") == 1
    assert "Relu" not in ops


def test_a_float_result_stays_the_last_layer(net, outputs_of):
    y = net.emit("FullyConnected", qdq(net, net.input(2, 6)), weight(net, 4, 6))
    graph = net.done(y)
    assert run_passes(graph, (fuse_quantize,)) == []
    assert [n.op for n in graph.nodes] == ["Quantize", "Dequantize", "FullyConnected"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("float weight", "is no int8"),
        ("float operand", "is computed in float"),
        ("act", "is not a clamp"),
        ("wide result", "its codes are int16"),
    ],
)
def test_refusals_say_why(net, case, reason):
    x = qdq(net, net.input(2, 6))
    if case == "float operand":
        y = net.emit("Add", x, net.input(2, 6, name="z"))
    else:
        w = net.const(4, 6) if case == "float weight" else weight(net, 4, 6)
        y = net.emit("FullyConnected", x, w, act="tanh" if case == "act" else "none")
    q = quantized(net, y)
    if case == "wide result":
        coded(q, QuantParam(np.float64(0.01), np.int32(0), None, 16), np.int16)
    records = run_passes(net.done(net.emit("Dequantize", q)), (fuse_quantize,))
    assert [type(r) for r in records] == [Refusal]
    assert reason in records[0].reason


def test_unsigned_codes_too(net, outputs_of):
    x = net.emit("Dequantize", quantized(net, net.input(2, 6), dtype=np.uint8))
    y = net.emit("FullyConnected", x, weight(net, 4, 6), net.const(4))
    graph = net.done(net.emit("Dequantize", quantized(net, y, dtype=np.uint8)))
    ops, _ = close(outputs_of, graph, fuse_quantize)
    assert ops == ["Quantize", "FullyConnected", "Dequantize"]


def test_joined_operands_come_to_the_scale_of_the_result(net, outputs_of):
    a = qdq(net, net.input(2, 3), low=-1.0, high=1.0)
    b = qdq(net, net.input(2, 3, name="b"))
    graph = net.done(qdq(net, net.emit("Concat", a, b, axis=1)))
    ops, _ = close(outputs_of, graph, fuse_quantize)
    assert sorted(ops) == ["Concat", "Dequantize", "Quantize", "Quantize", "Quantize"]
    concat = next(n for n in graph.nodes if n.op == "Concat")
    assert all(t.quant == concat.outputs[0].quant for t in concat.inputs)


def test_layers_with_zero_points_in_weights_compute_in_float_where_a_container_lacks_them(net, outputs_of):
    x = net.input(2, 6, 6, 3)
    plain, odd = weight(net, 4, 3, 3, 3), weight(net, 4, 3, 3, 4)
    odd.quant = QuantParam(odd.quant.scale, np.arange(4, dtype=np.int32) - 2, 0, 8)
    first = net.emit("Conv", qdq(net, x), plain, net.const(4), **WINDOW)
    second = net.emit("Conv", qdq(net, first), odd, net.const(4), **WINDOW)
    graph = net.done(qdq(net, second))
    close(outputs_of, graph, fuse_quantize)
    _, records = close(outputs_of, graph, split_asymmetric_weights)
    layers = [n for n in graph.nodes if n.op == "Conv"]
    assert [n.outputs[0].dtype.kind for n in layers] == ["i", "f"]
    assert layers[1].required(1).quant is None
    assert [r.node for r in records] == [layers[1].name]


@pytest.mark.parametrize("low, high", [(-8, 7), (-5, 100)])
def test_codes_that_are_clipped_are_reals_that_are_clipped(net, outputs_of, low, high):
    x = net.input(40)
    codes = quantized(net, x)
    plain = net.emit("Reinterpret", codes)
    clipped = net.emit("Clip", plain, min=low, max=high)
    graph = net.done(net.emit("Dequantize", coded(net.emit("Reinterpret", clipped), codes.quant)))
    feeds = {t.name: np.random.default_rng(5).normal(size=t.shape).astype(np.float32) for t in graph.inputs}
    before = outputs_of(graph, feeds)
    run_passes(graph, GENERAL)
    assert [n.op for n in graph.nodes] == ["Clip", "Quantize", "Dequantize"]
    for name, value in outputs_of(graph, feeds).items():
        np.testing.assert_array_equal(value, before[name])
