"""A residual addition moves into the layer before it, without changing a bit."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.builder import Builder
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.native import plan as plan_module
from bitlite.native.plan import Plan

pytest.importorskip("bitlite._native")

_CONV = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1]}


def quantized(tensor, scale, zero, dtype=np.int8):
    tensor.dtype, tensor.quant = np.dtype(dtype), QuantParam(scale, zero)
    return tensor


def block(dtype, act="none", second_reader=False, constant=False):
    """x → conv → add(x) [→ relu of the conv's result], int8 or float32."""
    rng = np.random.default_rng(0)
    graph = Graph("block")
    b = Builder(graph)
    shape = (1, 6, 5, 24)
    x = b.input("x", dtype, shape)
    weight, bias = rng.normal(size=(24, 3, 3, 24)).astype(np.float32), rng.normal(size=24).astype(np.float32)
    other = b.constant(rng.normal(size=shape).astype(np.float32), "other")
    if dtype == np.int8:
        x.quant = QuantParam(0.05, -3)
        w = b.constant(rng.integers(-127, 128, (24, 3, 3, 24)).astype(np.int8), "w")
        w.quant = QuantParam(rng.uniform(0.001, 0.003, 24), np.zeros(24, np.int32), 0)
        c = b.constant(rng.integers(-3000, 3000, 24).astype(np.int32), "c")
        other = b.constant(rng.integers(-128, 128, shape).astype(np.int8), "other")
        other.quant = QuantParam(0.04, 7)
    else:
        w, c = b.constant(weight, "w"), b.constant(bias, "c")
    (h,) = b.emit("Conv", [x, w, c], dict(_CONV))
    if dtype == np.int8:
        quantized(h, 0.06, 5)
    (y,) = b.emit("Add", [other if constant else x, h], {"act": act})
    graph.outputs = [y]
    if second_reader:
        (z,) = b.emit("Relu", [h])
        graph.outputs.append(z)
    if dtype == np.int8:
        quantized(y, 0.07, -20)
        if second_reader:
            quantized(graph.outputs[1], 0.06, 5)
    feed = rng.integers(-128, 128, shape).astype(dtype) if dtype == np.int8 else rng.normal(size=shape).astype(dtype)
    return graph, feed


def native_steps(plan):
    return [step.op for segment in plan.segments for step in segment.steps]


@pytest.mark.parametrize("act", ["none", "relu"])
@pytest.mark.parametrize("rounding", ["rne_f32", "gemmlowp"])
def test_fused_int8_addition_has_the_same_bits(monkeypatch, act, rounding):
    graph, feed = block(np.int8, act)
    fused = Plan(graph, rounding=rounding)
    assert native_steps(fused) == ["conv"]
    monkeypatch.setattr(plan_module, "fuse_residuals", lambda *a: None)
    plain = Plan(graph, rounding=rounding)
    assert native_steps(plain) == ["conv", "add"]
    np.testing.assert_array_equal(fused.run([feed])[0], plain.run([feed])[0])


def test_fused_float_addition_is_the_same_sum(monkeypatch):
    graph, feed = block(np.float32, "relu")
    fused = Plan(graph)
    assert native_steps(fused) == ["conv"]
    monkeypatch.setattr(plan_module, "fuse_residuals", lambda *a: None)
    np.testing.assert_allclose(fused.run([feed])[0], Plan(graph).run([feed])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_a_result_with_another_reader_is_not_fused(dtype):
    graph, _ = block(dtype, second_reader=True)
    assert "add" in native_steps(Plan(graph))


def test_a_constant_is_not_a_residual():
    graph, _ = block(np.int8, constant=True)
    assert native_steps(Plan(graph)) == ["conv", "add"]
