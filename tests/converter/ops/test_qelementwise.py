from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error


@pytest.fixture
def rng():
    return np.random.default_rng(13)


def codes(rng, dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def params(scale, zero, dtype):
    return [np.float32(scale), np.asarray(zero, dtype)]


TYPES = [(np.int8, 3, -9, 5), (np.uint8, 120, 131, 99)]


@pytest.mark.parametrize(("dtype", "za", "zb", "zy"), TYPES)
def test_sums_products_and_choices_are_within_one_code_of_onnxruntime(onnx_check, rng, dtype, za, zb, zy):
    a, b = codes(rng, dtype, 3, 40), codes(rng, dtype, 40)
    pa, pb, py = params(0.02, za, dtype), params(0.03, zb, dtype), params(0.05, zy, dtype)
    const = (1, 2, 4, 5, 6, 7)
    for op in ("QLinearAdd", "QLinearMul"):
        onnx_check(op, [a, *pa, b, *pb, *py], domain="com.microsoft", const=const, steps=1)
    c = rng.random((3, 40)) < 0.5
    onnx_check("QLinearWhere", [c, a, *pa, codes(rng, dtype, 3, 40), *pb, *py], domain="com.microsoft",
               const=(2, 3, 5, 6, 7, 8), steps=1)  # fmt: skip


@pytest.mark.parametrize(("dtype", "za", "zb", "zy"), TYPES)
def test_functions_are_within_one_code_of_onnxruntime(onnx_check, rng, dtype, za, zb, zy):
    x, px, py = codes(rng, dtype, 2, 3, 40), params(0.05, za, dtype), params(0.05, zy, dtype)
    const = (1, 2, 3, 4)
    low = np.iinfo(dtype).min
    onnx_check("QLinearSigmoid", [x, *px, *params(1 / 256, low, dtype)], domain="com.microsoft", const=const, steps=1)
    onnx_check("QLinearLeakyRelu", [x, *px, *py], {"alpha": 0.2}, domain="com.microsoft", const=const, steps=1)
    onnx_check("QLinearSoftmax", [x, *px, *params(1 / 256, low, dtype)], {"axis": -1, "opset": 13},
               domain="com.microsoft", const=const, steps=1)  # fmt: skip


@pytest.mark.parametrize(("dtype", "za", "zb", "zy"), TYPES)
def test_concat_requantizes_each_input(onnx_check, rng, dtype, za, zb, zy):
    inputs = [*params(0.05, zy, dtype), codes(rng, dtype, 2, 3), *params(0.02, za, dtype)]
    inputs += [codes(rng, dtype, 2, 4), *params(0.05, zy, dtype)]
    onnx_check("QLinearConcat", inputs, {"axis": 1}, domain="com.microsoft", const=(0, 1, 3, 4, 6, 7), steps=1)


def test_a_scale_that_is_not_positive_is_refused_by_name(onnx_check, rng):
    x = codes(rng, np.int8, 4)
    with pytest.raises(Error, match=r"node.*scale is not a positive number"):
        onnx_check("QLinearSigmoid", [x, *params(-1, 0, np.int8), *params(1, 0, np.int8)], domain="com.microsoft",
                   const=(1, 2, 3, 4), want=[])  # fmt: skip
