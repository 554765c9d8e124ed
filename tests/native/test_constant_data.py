"""Layers whose data is a constant: kernels read it while running, so it must outlive planning."""

import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session

GEOMETRY = {"stride": [1, 1], "dilation": [1, 1], "pad": [0, 0, 0, 0], "pad_mode": "explicit"}
LAYERS = {
    "Conv": ((1, 6, 6, 4), (5, 3, 3, 4), {**GEOMETRY, "group": 1}),
    "depthwise": ((1, 6, 6, 4), (4, 3, 3, 1), {**GEOMETRY, "group": 4}),
    "ConvTranspose": ((1, 4, 4, 4), (4, 2, 2, 5), {**GEOMETRY, "group": 1, "output_padding": [0, 0]}),
    "FullyConnected": ((3, 8), (5, 8), {}),
    "MatMul": ((1, 3, 8), (8, 5), {}),
}


def codes(b: Builder, rng: np.random.Generator, shape: tuple[int, ...], name: str):
    t = b.constant(rng.integers(-127, 128, shape).astype(np.int8), name)
    t.quant = QuantParam(np.array([0.02]), np.zeros(1, np.int32), None, 8)
    return t


# Small float products are computed while a graph is built.
CASES = [*((name, True) for name in LAYERS), *((name, False) for name in ("Conv", "depthwise", "ConvTranspose"))]


@pytest.mark.parametrize("name, integers", CASES)
def test_a_layer_reads_constant_data(name, integers):
    rng = np.random.default_rng(0)
    shape, weights, attrs = LAYERS[name]
    graph = Graph("constant")
    b = Builder(graph)
    if integers:
        x, w = codes(b, rng, shape, "x"), codes(b, rng, weights, "w")
    else:
        x, w = (b.constant(rng.normal(size=s).astype(np.float32), n) for s, n in ((shape, "x"), (weights, "w")))
    outputs = b.emit("Conv" if name == "depthwise" else name, [x, w], attrs)
    if integers:
        outputs[0].dtype, outputs[0].quant = np.dtype(np.int8), QuantParam(np.array([0.3]), np.zeros(1, np.int32))
    free = b.input("free", np.float32, (1,))
    graph.outputs = [*outputs, *b.emit("Relu", [free])]
    layer = next(n for n in graph.nodes if outputs[0] in n.outputs)
    [want] = execute(layer, [x.data, w.data])
    session = Session(graph)
    got = session.run({"free": np.ones(1, np.float32)})[outputs[0].name]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
