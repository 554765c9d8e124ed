from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.numeric.qparams import QuantParam


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


WINDOWS = [
    ((1, 3, 6, 6), {"kernel_shape": [2, 2]}),
    ((2, 3, 7, 8), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ((2, 3, 7, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ((1, 2, 5, 5), {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 0, 1, 1], "ceil_mode": 1}),
    ((1, 2, 4, 4), {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1}),
    ((1, 3, 9, 7), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 3, 9, 7), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((1, 3, 9, 7), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "VALID"}),
    ((2, 3, 11), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    ((1, 2, 5, 6, 7), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [0, 1, 1, 1, 1, 0]}),
]


@pytest.mark.parametrize(("shape", "attrs"), WINDOWS)
def test_onnx_max_pool_equals_onnxruntime(onnx_check, rng, shape, attrs):
    onnx_check("MaxPool", [f32(rng, *shape)], attrs)
    onnx_check("MaxPool", [f32(rng, *shape) - 10], attrs, outputs=2)


def test_onnx_max_pool_with_dilation_and_storage_order(onnx_check, rng):
    attrs = {"kernel_shape": [2, 3], "strides": [1, 2], "dilations": [2, 2], "pads": [1, 0, 0, 1]}
    onnx_check("MaxPool", [f32(rng, 2, 3, 7, 8)], attrs)
    onnx_check("MaxPool", [f32(rng, 2, 3, 7, 8)], attrs | {"storage_order": 1}, outputs=2)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_onnx_max_pool_of_plain_bytes(onnx_check, rng, dtype):
    x = rng.integers(0, 100, (1, 2, 6, 6)).astype(dtype)
    onnx_check("MaxPool", [x], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})


def test_equal_maxima_take_the_first_place(onnx_check):
    onnx_check("MaxPool", [np.ones((1, 1, 4, 4), np.float32)], {"kernel_shape": [2, 2]}, outputs=2)


@pytest.mark.parametrize(("shape", "attrs"), WINDOWS)
@pytest.mark.parametrize("include", [0, 1])
def test_onnx_average_pool_equals_onnxruntime(onnx_check, rng, shape, attrs, include):
    onnx_check("AveragePool", [f32(rng, *shape)], attrs | {"count_include_pad": include})


def test_onnx_average_pool_with_dilation(onnx_check, rng):
    attrs = {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [1, 0, 0, 1]}
    onnx_check("AveragePool", [f32(rng, 2, 3, 7, 8)], attrs)


@pytest.mark.parametrize(("shape", "attrs"), [w for w in WINDOWS if "ceil_mode" not in w[1]])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_onnx_lp_pool_equals_onnxruntime(onnx_check, rng, shape, attrs, p):
    onnx_check("LpPool", [f32(rng, *shape)], attrs | {"p": p}, tolerance=1e-4)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (2, 3, 7), (1, 2, 3, 4, 5)])
def test_onnx_global_pools_equal_onnxruntime(onnx_check, rng, op, shape):
    onnx_check(op, [f32(rng, *shape)])


@pytest.mark.parametrize("p", [1, 2])
def test_onnx_global_lp_pool_equals_onnxruntime(onnx_check, rng, p):
    onnx_check("GlobalLpPool", [f32(rng, 2, 3, 5, 6)], {"p": p})


def test_a_window_of_nothing_but_padding_is_refused(onnx_check, rng):
    attrs = {"kernel_shape": [2, 2], "pads": [2, 2, 0, 0]}
    with pytest.raises(Error, match="without an element"):
        onnx_check("MaxPool", [f32(rng, 1, 1, 4, 4)], attrs, want=[])


@pytest.mark.parametrize("op", ["MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("act", ["NONE", "RELU", "RELU6"])
def test_tflite_pools_equal_litert(tflite_check, rng, op, padding, act):
    options = {"padding": padding, "fused_activation_function": act, "stride_h": 2, "stride_w": 1}
    options |= {"filter_height": 3, "filter_width": 2}
    tflite_check(op, [4 * f32(rng, 2, 8, 7, 3)], ("Pool2DOptions", options))


@pytest.mark.parametrize("op", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("act", ["NONE", "RELU"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_tflite_byte_pools_are_one_code_from_litert(tflite_check, rng, op, padding, act, dtype):
    options = {"padding": padding, "fused_activation_function": act, "stride_h": 2, "stride_w": 2}
    options |= {"filter_height": 3, "filter_width": 3}
    low = -128 if dtype == np.int8 else 0
    x = rng.integers(low, low + 256, (1, 9, 8, 5)).astype(dtype)
    q = QuantParam(np.array([0.05]), np.array([low + 100]))
    steps = 0 if op == "MAX_POOL_2D" else 1
    tflite_check(op, [x], ("Pool2DOptions", options), quant={0: q}, output_quant=(q,), version=2, steps=steps)
