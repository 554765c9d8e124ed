"""Steps on codes of 16 bits against what a node is defined to compute, on every instruction set and thread count."""

import numpy as np
import pytest
from bitlite import Session, _native
from bitlite.converter.execute import execute
from bitlite.converter.ir import Graph, Tensor
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder

CONV = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1], "group": 1, "act": "none"}
POOL = {"kernel": [2, 2], "stride": [2, 2], "dilation": [1, 1], "pad": [0, 1, 1, 0]}


def codes(rng, shape):
    x = rng.integers(-32768, 32768, shape)
    return np.where(rng.random(shape) < 0.1, -32768, x).astype(np.int16)


def quant(scale, bits=16, axis=None):
    scale = np.atleast_1d(scale)
    return QuantParam(scale, np.zeros(len(scale), np.int32), axis, bits)


def layer(op, x_shape, w_shape, attrs, *, bias=np.int32, huge=False, out=2e-3, seed=0, bits=8):
    rng = np.random.default_rng(seed)
    graph = Graph("g")
    build = Builder(graph)
    x = build.input("x", np.int16, x_shape)
    x.quant = quant(1e-4)
    most, dtype = 2 ** (bits - 1) - 1, np.dtype(np.int8 if bits <= 8 else np.int16)
    weights = np.full(w_shape, -most) if huge else rng.integers(-most, most + 1, w_shape)
    scale = rng.uniform(1, 2, w_shape[0]) * 0.127 / most
    w = Tensor("w", dtype, w_shape, weights.astype(dtype), quant(scale, bits, 0))
    b = rng.integers(-(2**24), 2**24, w_shape[0]).astype(bias)
    inputs = [x, w, Tensor("b", b.dtype, b.shape, b, quant(w.qparams.scale * 1e-4, 32, 0))]
    y = build.emit(op, inputs, attrs, name="layer")[0]
    y.dtype, y.quant = np.dtype(np.int16), quant(out)
    graph.outputs = [y]
    return graph


def check(graph, feeds):
    """The graph's one node on every instruction set, natively, has the bits of its definition."""
    (node,) = graph.nodes
    want = execute(node, [t.data if t.is_const else feeds[t.name] for t in node.inputs])[0]
    assert np.abs(want.astype(int)).max() > 100
    for isa in _native.isas():
        for threads in (1, 3):
            session = Session(graph, threads, isa=isa)
            got = session.run(feeds)[graph.outputs[0].name]
            assert not session.refusals and got.dtype == np.int16
            np.testing.assert_array_equal(got, want, err_msg=f"{node.op} {isa} {threads}")


LAYERS = {
    "3x3": ("Conv", (2, 9, 7, 5), (19, 3, 3, 5), CONV),
    "1x1": ("Conv", (1, 9, 7, 13), (33, 1, 1, 13), CONV | {"pad": [0] * 4}),
    "1x1 strided": ("Conv", (2, 9, 7, 13), (5, 1, 1, 13), CONV | {"pad": [0] * 4, "stride": [2, 2]}),
    "dilated": ("Conv", (1, 9, 11, 3), (8, 3, 2, 3), CONV | {"dilation": [1, 2], "pad": [1, 0, 2, 1]}),
    "strided": ("Conv", (1, 10, 8, 4), (16, 3, 3, 4), CONV | {"stride": [2, 2], "pad": [0, 1, 0, 1], "act": "relu6"}),
    "grouped": ("Conv", (1, 6, 5, 8), (6, 3, 3, 4), CONV | {"group": 2}),
    "depthwise": ("Conv", (2, 9, 7, 37), (37, 3, 3, 1), CONV | {"group": 37}),
    "depthwise strided": ("Conv", (1, 9, 8, 16), (16, 5, 5, 1), CONV | {"group": 16, "stride": [2, 2], "act": "relu"}),
    "depthwise multiplier": ("Conv", (1, 5, 6, 4), (8, 3, 3, 1), CONV | {"group": 4}),
    "one dimension": ("Conv", (1, 12, 6), (9, 3, 6), {"stride": [1], "dilation": [1], "pad": [1, 1]}),
    "fully connected": ("FullyConnected", (7, 45), (21, 45), {"act": "relu"}),
    "rows": ("FullyConnected", (2, 3, 45), (16, 45), {}),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bias", [np.int32, np.int64])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_layers(name, bias, bits):
    graph = layer(*LAYERS[name], bias=bias, bits=bits)
    check(graph, {"x": codes(np.random.default_rng(1), graph.inputs[0].shape)})


ROWS = {
    "odd": ((2, 9, 7, 16), (19, 3, 3, 16), CONV),
    "even": ((1, 8, 12, 32), (33, 3, 3, 32), CONV | {"pad": [0] * 4}),
    "two columns": ((1, 4, 2, 16), (16, 3, 3, 16), CONV),
    "bands": ((1, 70, 40, 32), (24, 3, 3, 32), CONV | {"pad": [2, 1, 0, 2]}),
    "beyond 30 bits": ((1, 5, 6, 80), (16, 3, 3, 80), CONV),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("feed", ["any", "none negative", "one negative", "largest"])
def test_rows_of_3x3_kernels_in_two_thirds_of_the_products(name, feed):
    """What windows of rows give where no code is negative, and where some are, is the sum all the same."""
    graph = layer("Conv", *ROWS[name], huge=feed == "largest", out=2e-2 if feed == "largest" else 2e-3)
    x = codes(np.random.default_rng(1), graph.inputs[0].shape)
    if feed in ("none negative", "one negative"):
        x = np.where(x < 0, 32767, x).astype(np.int16)
    if feed == "one negative":
        x[0, -1, -1, -1] = -1
    if feed == "largest":
        x[:] = 32767
    check(graph, {"x": x})


@pytest.mark.parametrize("k,bits", [(511, 8), (600, 8), (2000, 8), (33, 12), (700, 12), (2, 16), (301, 16)])
def test_sums_beyond_32_bits_are_exact(k, bits):
    graph = layer("FullyConnected", (3, k), (9, k), {}, huge=True, out=k / 600, bits=bits)
    check(graph, {"x": np.full((3, k), -32768, np.int16)})


@pytest.mark.parametrize("op,shapes", [("FullyConnected", ((3, 6), (5, 6))), ("Conv", ((1, 6, 5, 8), (8, 3, 3, 1)))])
def test_weights_whose_pairs_pass_32_bits_run_by_their_definition(op, shapes):
    graph = layer(op, *shapes, CONV | {"group": 8} if op == "Conv" else {}, bits=16)
    graph.nodes[0].inputs[1].data[...] = -32768
    session, feeds = Session(graph), {"x": np.full(shapes[0], -32768, np.int16)}
    (want,) = execute(graph.nodes[0], [t.data if t.is_const else feeds[t.name] for t in graph.nodes[0].inputs])
    np.testing.assert_array_equal(session.run(feeds)[graph.outputs[0].name], want)
    assert "-32768" in session.refusals["layer"]


def test_int16_weights_of_a_last_layer_give_float():
    graph = layer("FullyConnected", (3, 40), (9, 40), {}, bits=12)
    (node,), x = graph.nodes, graph.inputs[0]
    build = Builder(graph)
    graph.nodes = []
    real = build.emit("Dequantize", [x], {}, name="real")[0]
    bias = np.linspace(-1, 1, 9, dtype=np.float32)
    y = build.emit("FullyConnected", [real, node.inputs[1], Tensor("b", bias.dtype, (9,), bias)], {}, name="last")[0]
    graph.outputs = [y]
    feeds = {"x": codes(np.random.default_rng(6), (3, 40))}
    exact = feeds["x"].astype(np.float64) @ node.inputs[1].data.T.astype(np.float64)
    want = (exact.astype(np.float32) * (1e-4 * node.inputs[1].quant.scale).astype(np.float32)).astype(np.float32) + bias
    for isa in _native.isas():
        session = Session(graph, isa=isa)
        np.testing.assert_array_equal(session.run(feeds)[y.name], want)
        assert not session.refusals


def elementwise(op, shapes, attrs, scales, out):
    graph = Graph("g")
    build = Builder(graph)
    inputs = [build.input(f"x{i}", np.int16, shape) for i, shape in enumerate(shapes)]
    for t, scale in zip(inputs, scales):
        t.quant = quant(scale)
    y = build.emit(op, inputs, attrs, name="n")[0]
    y.dtype, y.quant = np.dtype(np.int16), quant(out)
    graph.outputs = [y]
    return graph


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize(
    "shapes", [((2, 5, 7),) * 2, ((2, 5, 7), (7,)), ((1,), (3, 33)), ((3, 1, 4), (2, 1)), ((9000,), (9000,))]
)
@pytest.mark.parametrize("act", ["none", "relu6"])
def test_arithmetic(op, shapes, act):
    graph = elementwise(op, shapes, {"act": act}, (1e-3, 7e-4), 1.1e-3)
    rng = np.random.default_rng(2)
    check(graph, {t.name: codes(rng, t.shape) for t in graph.inputs})


@pytest.mark.parametrize("op", ["Maximum", "Minimum"])
@pytest.mark.parametrize("shapes", [((2, 5, 7),) * 2, ((4, 6), (6,)), ((4, 6), (4, 1))])
def test_order(op, shapes):
    graph = elementwise(op, shapes, {}, (1e-3, 1e-3), 1e-3)
    rng = np.random.default_rng(3)
    check(graph, {t.name: codes(rng, t.shape) for t in graph.inputs})


@pytest.mark.parametrize("out", [1e-3, 1.3e-3])
@pytest.mark.parametrize(
    "op,attrs",
    [
        ("MaxPool", POOL | {"act": "none"}),
        ("AveragePool", POOL | {"act": "relu"}),
        ("AveragePool", POOL | {"count_include_pad": True}),
        ("Reduce", {"mode": "mean", "axes": [1, 2]}),
        ("Reduce", {"mode": "sum", "axes": [1], "keep_dims": True}),
        ("Reduce", {"mode": "max", "axes": [2]}),
        ("Reduce", {"mode": "min", "axes": [1, 2]}),
    ],
)
def test_windows(op, attrs, out):
    graph = elementwise(op, ((2, 7, 9, 5),), attrs, (1e-3,), out)
    check(graph, {"x0": codes(np.random.default_rng(4), (2, 7, 9, 5))})


def test_what_has_a_zero_point_runs_by_its_definition():
    graph = elementwise("Add", ((2, 5),) * 2, {}, (1e-3, 1e-3), 1e-3)
    graph.inputs[0].quant = QuantParam(np.array([1e-3]), np.array([7], np.int32), None, 16)
    session = Session(graph)
    feeds = {t.name: codes(np.random.default_rng(5), (2, 5)) for t in graph.inputs}
    (want,) = execute(graph.nodes[0], list(feeds.values()))
    np.testing.assert_array_equal(session.run(feeds)[graph.outputs[0].name], want)
    assert "zero point is not 0" in session.refusals["n"]
