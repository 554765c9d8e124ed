"""Integer graphs through the plan: the same codes as the numpy references, node by node."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.ops._support.resample import resample
from bitlite.converter.schema.builder import Builder
from bitlite.native.plan import Plan

pytest.importorskip("bitlite._native")

_CONV = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1]}


def codes(tensor, scale, zero, bits):
    tensor.dtype, tensor.quant = np.dtype(np.int8), QuantParam(scale, zero, bits=bits)
    return tensor


def residual_block(bits, act):
    """quantize → conv → add → average → dequantize, all codes of `bits` bits."""
    rng = np.random.default_rng(0)
    top = 2 ** (bits - 1)
    graph = Graph("block")
    b = Builder(graph)
    x = b.input("x", np.float32, (2, 6, 5, 24))
    (q,) = b.emit("Quantize", [x])
    codes(q, 4.0 / top, -1, bits)
    w = b.constant(rng.integers(1 - top, top, (24, 3, 3, 24)).astype(np.int8), "w")
    w.quant = QuantParam(rng.uniform(0.1, 0.3, 24) / top, np.zeros(24, np.int32), 0, bits=bits)
    (h,) = b.emit("Conv", [q, w, b.constant(rng.integers(-9, 9, 24).astype(np.int32), "c")], dict(_CONV))
    codes(h, 8.0 / top, 1, bits)
    (y,) = b.emit("Add", [q, h], {"act": act})
    codes(y, 9.0 / top, -top // 2, bits)
    (m,) = b.emit("Reduce", [y], {"mode": "mean", "axes": [1, 2], "keep_dims": False})
    codes(m, 5.0 / top, 0, bits)
    graph.outputs = b.emit("Dequantize", [m]) + [y]
    return graph, rng.normal(0, 3, (2, 6, 5, 24)).astype(np.float32)


def reference(graph, feed):
    values = {graph.inputs[0]: feed}
    for node in graph.nodes:
        arrays = [t.data if t.is_const else values[t] for t in node.inputs]
        values.update(zip(node.outputs, execute(node, arrays), strict=True))
    return [values[t] for t in graph.outputs]


@pytest.mark.parametrize("bits", [2, 4, 7, 8])
@pytest.mark.parametrize("act", ["none", "relu"])
def test_plan_gives_the_codes_of_the_references(bits, act):
    graph, feed = residual_block(bits, act)
    plan = Plan(graph)
    assert plan.refusals == {}
    for got, want in zip(plan.run([feed]), reference(graph, feed), strict=True):
        np.testing.assert_array_equal(got, want)
    assert plan.run([feed])[1].max() <= 2 ** (bits - 1) - 1


def const(shape, scale=0.01, zero=0):
    return ("const", shape, scale, zero)


_POOL = {"kernel": [3, 2], "stride": [2, 2], "dilation": [1, 1], "pad": [1, 1, 0, 1]}
_TRANSPOSED = {"stride": [2, 2], "dilation": [1, 1], "pad": [1, 0, 0, 1], "output_padding": [0, 1]}
_ONE = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}

# op, shapes of computed inputs or constants, attributes
NODES = [
    ("Conv", [(2, 5, 6, 7), const((9, 3, 3, 7))], _CONV | {"act": "relu6"}),
    ("Conv", [(1, 5, 6, 12), const((18, 1, 1, 6), 0.02, 3)], _ONE | {"group": 2}),
    ("Conv", [(1, 7, 6, 20), const((20, 3, 3, 1))], _CONV | {"group": 20, "act": "relu"}),
    ("Conv", [(1, 7, 6, 5), const((10, 3, 3, 1))], _CONV | {"group": 5, "stride": [2, 2]}),
    ("ConvTranspose", [(1, 4, 5, 6), const((6, 3, 3, 8))], _TRANSPOSED),
    ("FullyConnected", [(3, 40), const((17, 40))], {"act": "relu"}),
    ("MatMul", [(2, 5, 8), (2, 8, 6)], {}),
    ("MatMul", [(2, 5, 8), (2, 6, 8)], {"transpose_b": True}),
    ("MatMul", [(5, 8), const((8, 6))], {}),
    ("Add", [(2, 3, 4, 5), (2, 3, 4, 5)], {"act": "relu"}),
    ("Add", [(2, 3, 4, 5), const((5,), 0.1, 7)], {}),
    ("Sub", [(2, 3, 4, 5), (1, 3, 1, 5)], {"act": "relu6"}),
    ("Mul", [(2, 3, 4, 5), (2, 1, 1, 5)], {}),
    ("PRelu", [(2, 3, 4, 5), const((5,), 0.01, 7)], {}),
    ("PRelu", [(2, 3, 4, 5), (2, 3, 4, 5)], {}),
    ("PRelu", [(2, 3, 40), const((3, 1), 0.02)], {}),
    ("MaxPool", [(1, 7, 8, 5)], _POOL),
    ("AveragePool", [(1, 7, 8, 5)], _POOL | {"count_include_pad": True}),
    ("AveragePool", [(1, 7, 8, 5)], _POOL | {"ceil_mode": True}),
    ("Reduce", [(2, 5, 6, 7)], {"mode": "mean", "axes": [1, 2], "keep_dims": True}),
    ("Reduce", [(2, 5, 6, 7)], {"mode": "max", "axes": [3], "keep_dims": False}),
    ("Softmax", [(3, 11)], {"axis": 1}),
    ("Concat", [(2, 3, 4), (2, 5, 4)], {"axis": 1}),
    ("Sigmoid", [(2, 300)], {}),
    ("HardSwish", [(2, 300)], {}),
    ("Relu", [(2, 300)], {}),
]


@pytest.mark.parametrize("mode", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
@pytest.mark.parametrize("shape,size", [((1, 4, 5, 3), [9, 11]), ((2, 6, 7, 20), [1, 4]), ((1, 9, 5), [14])], ids=str)
def test_linear_resize_gives_the_codes_of_its_reference(shape, size, mode):
    data = np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)
    graph = Graph("node")
    b = Builder(graph)
    x = b.input("x", np.int8, shape)
    x.quant = QuantParam(0.05, -7)
    (y,) = b.emit("Resize", [x, b.constant(np.int64(size), "size")], {"method": "linear", "coordinate_mode": mode})
    codes(y, 0.05, -7, 8)
    graph.outputs = [y]
    plan = Plan(graph)
    assert plan.refusals == {}
    (want,) = execute(graph.nodes[0], [data, np.int64(size)])
    np.testing.assert_array_equal(plan.run([data])[0], want)
    # One code is all that ten bits of a weight may cost.
    real = resample(data.astype(np.float32), np.int64(size), **graph.nodes[0].attrs)
    assert np.abs(want - real).max() <= 0.5 + 128 * 2**-9


@pytest.mark.parametrize("op,inputs,attrs", NODES, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("act_params", [(0.1, -128), (0.02, 127), (0.07, 4)], ids=str)
def test_node_gives_the_codes_of_its_reference(op, inputs, attrs, act_params):
    rng = np.random.default_rng(1)
    graph = Graph("node")
    b = Builder(graph)
    tensors, feeds = [], []
    for k, wanted in enumerate(inputs):
        kind, shape, scale, zero = wanted if wanted[0] == "const" else ("input", wanted, 0.05 + 0.01 * k, 3 - 9 * k)
        data = rng.integers(-128, 128, shape).astype(np.int8)
        t = b.constant(data, f"c{k}") if kind == "const" else b.input(f"x{k}", np.int8, shape)
        t.quant = QuantParam(scale, zero)
        tensors.append(t)
        if kind == "input":
            feeds.append(data)
    (y,) = b.emit(op, tensors, dict(attrs))
    codes(y, *act_params, 8)
    graph.outputs = [y]
    plan = Plan(graph)
    assert plan.refusals == {}
    values = iter(feeds)
    arrays = [t.data if t.is_const else next(values) for t in tensors]
    (want,) = execute(graph.nodes[0], arrays)
    np.testing.assert_array_equal(plan.run(feeds)[0], want)


def test_uint8_graph_runs_on_int8_kernels():
    rng = np.random.default_rng(2)
    graph = Graph("unsigned")
    b = Builder(graph)

    def unsigned(t, scale, zero):
        t.dtype, t.quant = np.dtype(np.uint8), QuantParam(scale, zero)
        return t

    x = unsigned(b.input("x", np.uint8, (1, 6, 5, 8)), 0.05, 130)
    w = unsigned(b.constant(rng.integers(0, 256, (8, 3, 3, 8)).astype(np.uint8), "w"), 0.01, 120)
    c = unsigned(b.constant(rng.integers(0, 256, (8,)).astype(np.uint8), "c"), 0.03, 7)
    (h,) = b.emit("Conv", [x, w], _CONV | {"act": "relu"})
    unsigned(h, 0.06, 3)
    (s,) = b.emit("Add", [h, c])
    unsigned(s, 0.05, 90)
    (m,) = b.emit("MaxPool", [s], {"kernel": [2, 2], "stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4})
    unsigned(m, 0.05, 90)
    (f,) = b.emit("Dequantize", [h])
    graph.outputs = [m, h, f]
    feed = rng.integers(0, 256, (1, 6, 5, 8)).astype(np.uint8)
    plan = Plan(graph)
    assert plan.refusals == {}
    assert plan.whole is not None
    for got, want in zip(plan.run([feed]), reference(graph, feed), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    assert x.dtype == h.dtype == np.uint8


@pytest.mark.parametrize(
    "op,shapes,attrs",
    [
        ("Conv", ((1, 6, 5, 8), (12, 3, 3, 8)), _CONV | {"act": "relu"}),
        ("FullyConnected", ((4, 40), (12, 40)), {}),
        ("MatMul", ((3, 4, 40), (40, 12)), {}),
    ],
    ids=str,
)
def test_dynamic_plan_computes_in_integers_close_to_float(op, shapes, attrs):
    rng = np.random.default_rng(3)
    graph = Graph("dynamic")
    b = Builder(graph)
    x = b.input("x", np.float32, shapes[0])
    axis = 1 if op == "MatMul" else 0
    w = b.constant(rng.integers(-127, 128, shapes[1]).astype(np.int8), "w")
    w.quant = QuantParam(rng.uniform(0.005, 0.01, shapes[1][axis]), np.zeros(1, np.int32), axis)
    graph.outputs = b.emit(op, [x, w], attrs | {"dynamic": True})
    feed = rng.normal(1, 2, shapes[0]).astype(np.float32)
    plan = Plan(graph)
    assert [s.attrs["dynamic"] for s in plan.segments[0].steps] == [True]
    got = plan.run([feed])[0]
    graph.nodes[0].attrs["dynamic"] = False
    want = Plan(graph).run([feed])[0]
    assert not np.array_equal(got, want)
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_a_dynamic_sum_beyond_32_bits_is_exact():
    long = 200_000
    graph = Graph("long")
    b = Builder(graph)
    x = b.input("x", np.float32, (1, long))
    w = b.constant(np.full((2, long), 127, np.int8), "w")
    w.quant = QuantParam(np.float64([1 / 127]), np.zeros(1, np.int32))
    graph.outputs = b.emit("FullyConnected", [x, w], {"dynamic": True})
    plan = Plan(graph)
    assert "200000 products" in next(iter(plan.refusals.values()))
    np.testing.assert_allclose(plan.run([np.ones((1, long), np.float32)])[0], long, rtol=1e-6)


@pytest.mark.parametrize("group", [1, 12])
def test_a_layer_on_8_bit_weights_behind_codes_gives_float(group):
    """A full convolution adds the codes' products up exactly; one of a channel each is the float layer."""
    rng, graph = np.random.default_rng(0), Graph("layer")
    b = Builder(graph)
    x = b.input("x", np.int8, (1, 9, 8, 12))
    x.quant = QuantParam(0.05, 3)
    w = b.constant(rng.integers(-127, 128, (12, 3, 3, 12 // group)).astype(np.int8), "w")
    w.quant = QuantParam(rng.uniform(0.01, 0.03, 12), np.zeros(12, np.int32), 0)
    bias = b.constant(rng.normal(size=12).astype(np.float32), "c")
    graph.outputs = b.emit("Conv", [*b.emit("Dequantize", [x]), w, bias], _CONV | {"group": group, "act": "relu"})
    feed = rng.integers(-128, 128, x.shape).astype(np.int8)
    plan = Plan(graph, 1)
    (got,) = plan.run([feed])
    (real,) = execute(graph.nodes[0], [feed])
    (want,) = execute(graph.nodes[1], [real, w.data, bias.data])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)
    assert sum(len(segment.steps) for segment in plan.segments) == (1 if group == 1 else 2)


@pytest.mark.parametrize(
    ("mode", "axes", "steps"), [("mean", [1, 2], 1), ("sum", [-1], 1), ("max", [1, 2], 2), ("mean", [1, 3], 2)]
)
def test_a_sum_of_dequantized_codes_adds_the_codes_up(mode, axes, steps):
    rng, graph = np.random.default_rng(0), Graph("sum")
    b = Builder(graph)
    x = b.input("x", np.int8, (2, 9, 8, 12))
    x.quant = QuantParam(0.05, 3)
    graph.outputs = b.emit("Reduce", b.emit("Dequantize", [x]), {"mode": mode, "axes": axes, "keep_dims": True})
    feed = rng.integers(-128, 128, x.shape).astype(np.int8)
    plan = Plan(graph, 2)
    assert sum(len(getattr(segment, "steps", [segment])) for segment in plan.segments) == steps
    (real,) = execute(graph.nodes[0], [feed])
    (want,) = execute(graph.nodes[1], [real])
    np.testing.assert_allclose(plan.run([feed])[0], want, rtol=1e-5, atol=1e-5)
