"""Integer graphs through the plan: the same codes as the numpy references, node by node."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.builder import Builder
from bitlite.converter.execute import execute
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
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
