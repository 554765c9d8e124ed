from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_an_operator_without_a_row_is_read_by_its_function(onnx_check, rng, reduction):
    inputs = [f32(rng, 3, 5), np.int64([0, 2, 4])]
    onnx_check("SoftmaxCrossEntropyLoss", inputs, {"reduction": reduction}, opset=13)


def test_attributes_and_absent_inputs_reach_the_body(onnx_check, rng):
    inputs = [f32(rng, 3, 5), np.int64([0, 2, 4]), None]
    onnx_check("SoftmaxCrossEntropyLoss", inputs, {"reduction": "sum", "ignore_index": 2}, opset=13)


def test_attention_is_read_by_its_function(onnx_check, rng):
    q, k, v = f32(rng, 2, 3, 4, 8), f32(rng, 2, 3, 6, 8), f32(rng, 2, 3, 6, 8)
    score = np.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(8)
    weight = np.exp(score - score.max(-1, keepdims=True))
    want = np.einsum("bhqk,bhkd->bhqd", weight / weight.sum(-1, keepdims=True), v).astype(np.float32)
    onnx_check("Attention", [q, k, v], opset=23, want=[want], tolerance=1e-5)


def test_an_operator_of_no_opset_is_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match="operator NoSuchOperator is not read"):
        onnx_check("NoSuchOperator", [f32(rng, 2)], want=[])
    with pytest.raises(Error, match=r"operator some\.domain::Gelu is not read"):
        onnx_check("Gelu", [f32(rng, 2)], domain="some.domain", want=[])
