from __future__ import annotations

import itertools

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import QuantParam


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


CONVS = [
    ((1, 3, 7, 6), (4, 3, 3, 3), {}),
    ((2, 4, 8, 7), (6, 2, 3, 2), {"group": 2, "strides": [2, 1], "pads": [1, 0, 2, 1]}),
    ((1, 4, 9, 9), (8, 1, 3, 3), {"group": 4, "dilations": [2, 3], "pads": [2, 1, 2, 0]}),
    ((1, 4, 9, 8), (8, 1, 3, 3), {"group": 4, "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 4, 8, 9), (4, 1, 2, 4), {"group": 4, "strides": [3, 2], "auto_pad": "SAME_LOWER"}),
    ((1, 3, 7, 6), (4, 3, 3, 3), {"auto_pad": "VALID", "kernel_shape": [3, 3]}),
    ((2, 3, 11), (5, 3, 4), {"strides": [2], "pads": [1, 2]}),
    ((1, 2, 5, 6, 7), (3, 2, 2, 3, 3), {"strides": [1, 2, 1], "pads": [0, 1, 1, 1, 0, 1]}),
    ((0, 3, 7, 6), (4, 3, 3, 3), {}),
    ((0, 4, 7, 6), (4, 1, 3, 3), {"group": 4}),
]


@pytest.mark.parametrize(("x", "w", "attrs"), CONVS)
@pytest.mark.parametrize("const", [(1, 2), ()])
def test_onnx_conv_equals_onnxruntime(onnx_check, rng, x, w, attrs, const):
    onnx_check("Conv", [f32(rng, *x), f32(rng, *w), f32(rng, w[0])], attrs, const=const)


TRANSPOSED = [
    ((1, 3, 4, 5), (3, 4, 3, 3), {}),
    ((1, 4, 4, 5), (4, 3, 3, 2), {"group": 2, "strides": [2, 3], "pads": [1, 0, 1, 1], "output_padding": [1, 2]}),
    ((1, 4, 4, 5), (4, 1, 4, 4), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 3, 4, 5), (3, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((1, 3, 4, 5), (3, 2, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((1, 3, 4, 5), (3, 2, 3, 3), {"dilations": [2, 1]}),
    ((1, 3, 4, 5), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
    ((1, 3, 4, 5), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8], "auto_pad": "SAME_UPPER"}),
    ((1, 3, 4, 5), (3, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8], "output_padding": [1, 1]}),
    ((2, 3, 6), (3, 2, 3), {"strides": [2], "pads": [1, 0]}),
    ((1, 2, 3, 4, 3), (2, 3, 2, 3, 2), {"strides": [1, 2, 2]}),
]


@pytest.mark.parametrize(("x", "w", "attrs"), TRANSPOSED)
def test_onnx_conv_transpose_equals_onnxruntime(onnx_check, rng, x, w, attrs):
    bias = f32(rng, w[1] * attrs.get("group", 1))
    onnx_check("ConvTranspose", [f32(rng, *x), f32(rng, *w), bias], attrs, const=(1, 2))


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip", "HardSigmoid"])
@pytest.mark.parametrize("added", [False, True])
def test_fused_conv_equals_onnxruntime(onnx_check, rng, activation, added):
    parameters = {"LeakyRelu": [0.2], "Clip": [-0.5, 1.5], "HardSigmoid": [0.3, 0.4]}.get(activation)
    attrs = {"activation": activation} | ({"activation_params": parameters} if parameters else {})
    inputs = [f32(rng, 1, 3, 6, 6), f32(rng, 4, 3, 3, 3), f32(rng, 4)] + ([f32(rng, 1, 4, 4, 4)] if added else [])
    onnx_check("FusedConv", inputs, attrs, const=(1, 2), domain="com.microsoft")


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("act", ["NONE", "RELU", "RELU_N1_TO_1", "RELU6"])
@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 3))])
def test_tflite_conv_equals_litert(tflite_check, rng, padding, act, stride, dilation):
    options = {
        "padding": padding,
        "fused_activation_function": act,
        "stride_h": stride[0],
        "stride_w": stride[1],
        "dilation_h_factor": dilation[0],
        "dilation_w_factor": dilation[1],
    }
    x = 3 * f32(rng, 2, 9, 10, 3)
    tflite_check("CONV_2D", [x, f32(rng, 5, 3, 2, 3), f32(rng, 5)], ("Conv2DOptions", options), const=(1, 2))
    options["depth_multiplier"] = 2
    inputs = [x, f32(rng, 1, 3, 2, 6), f32(rng, 6)]
    tflite_check("DEPTHWISE_CONV_2D", inputs, ("DepthwiseConv2DOptions", options), const=(1, 2))


def test_tflite_grouped_conv_equals_litert(tflite_check, rng):
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    tflite_check(
        "CONV_2D", [f32(rng, 1, 5, 5, 6), f32(rng, 4, 3, 3, 3), f32(rng, 4)], ("Conv2DOptions", options), const=(1, 2)
    )


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_tflite_conv_3d_equals_litert(tflite_check, rng, padding):
    options = {"padding": padding, "stride_d": 1, "stride_h": 2, "stride_w": 1, "dilation_d_factor": 2}
    inputs = [f32(rng, 1, 6, 7, 5, 3), f32(rng, 2, 3, 2, 3, 4), f32(rng, 4)]
    tflite_check("CONV_3D", inputs, ("Conv3DOptions", options), const=(1, 2))


TFLITE_TRANSPOSED = [
    ((4, 5), (3, 3), (2, 2), "SAME", (8, 10)),
    ((4, 5), (3, 3), (2, 2), "SAME", (7, 9)),
    ((4, 5), (4, 2), (3, 2), "SAME", (11, 10)),
    ((4, 5), (3, 3), (2, 2), "VALID", (9, 11)),
    ((4, 5), (3, 3), (2, 2), "VALID", (10, 12)),
    ((4, 5), (2, 2), (3, 3), "VALID", (12, 15)),
]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "out"), TFLITE_TRANSPOSED)
@pytest.mark.parametrize("act", ["NONE", "RELU"])
def test_tflite_transpose_conv_equals_litert(tflite_check, rng, size, kernel, stride, padding, out, act):
    options = {"padding": padding, "stride_h": stride[0], "stride_w": stride[1], "fused_activation_function": act}
    inputs = [np.int32([1, *out, 4]), f32(rng, 4, *kernel, 3), f32(rng, 1, *size, 3), f32(rng, 4)]
    tflite_check(
        "TRANSPOSE_CONV",
        inputs,
        ("TransposeConvOptions", options),
        const=(0, 1, 3),
        outputs=(np.float32,),
        version=4,
    )


@pytest.mark.parametrize(("padding", "out"), [("SAME", (6, 8, 5)), ("VALID", (7, 9, 7))])
def test_tflite_conv_3d_transpose_equals_litert(tflite_check, rng, padding, out):
    options = {"padding": padding, "stride_d": 2, "stride_h": 2, "stride_w": 1}
    inputs = [np.int32([1, *out, 4]), f32(rng, 3, 3, 3, 4, 2), f32(rng, 1, 3, 4, 5, 2), f32(rng, 4)]
    tflite_check("CONV_3D_TRANSPOSE", inputs, ("Conv3DOptions", options), const=(0, 1, 3), outputs=(np.float32,))


def quantized_layer(rng, shape, weights, axis, channels, out_scale, dtype=np.int8):
    """Codes, weights, bias and their parameters of an int8 layer."""
    low, high = (-128, 128) if dtype == np.int8 else (0, 256)
    x, w = rng.integers(low, high, shape).astype(dtype), rng.integers(-127, 128, weights).astype(np.int8)
    bias = rng.integers(-2000, 2000, channels).astype(np.int32)
    sx, sw = 0.021, rng.uniform(0.001, 0.01, channels)
    quant = {
        0: QuantParam(np.array([sx]), np.array([5])),
        1: QuantParam(sw, np.zeros(channels), axis),
        2: QuantParam(sx * sw, np.zeros(channels), 0, 32),
    }
    return [x, w, bias], quant, (QuantParam(np.array([out_scale]), np.array([-7])),)


@pytest.mark.parametrize(("act", "padding"), list(itertools.product(["NONE", "RELU6"], ["SAME", "VALID"])))
def test_tflite_int8_convs_are_one_code_from_litert(tflite_check, rng, act, padding):
    options = {"padding": padding, "fused_activation_function": act, "stride_h": 1, "stride_w": 2}
    inputs, quant, out = quantized_layer(rng, (1, 8, 9, 4), (6, 3, 3, 4), 0, 6, 0.05)
    tflite_check(
        "CONV_2D", inputs, ("Conv2DOptions", options), const=(1, 2), quant=quant, output_quant=out, version=3, steps=1
    )
    inputs, quant, out = quantized_layer(rng, (1, 8, 9, 4), (1, 3, 3, 4), 3, 4, 0.03)
    options = options | {"depth_multiplier": 1, "stride_h": 2}
    tflite_check(
        "DEPTHWISE_CONV_2D",
        inputs,
        ("DepthwiseConv2DOptions", options),
        const=(1, 2),
        quant=quant,
        output_quant=out,
        version=3,
        steps=1,
    )


def test_tflite_int8_transpose_conv_is_one_code_from_litert(tflite_check, rng):
    [x, w, bias], quant, out = quantized_layer(rng, (1, 4, 5, 3), (4, 3, 3, 3), 0, 4, 0.06)
    options = {"padding": "SAME", "stride_h": 2, "stride_w": 2}
    tflite_check(
        "TRANSPOSE_CONV",
        [np.int32([1, 8, 10, 4]), w, x, bias],
        ("TransposeConvOptions", options),
        const=(0, 1, 3),
        quant={1: quant[1], 2: quant[0], 3: quant[2]},
        outputs=(np.int8,),
        output_quant=out,
        version=3,
        steps=1,
    )


def test_tflite_int16_layers_are_one_code_from_litert(tflite_check, rng):
    x, w = (
        rng.integers(-32768, 32768, (1, 7, 6, 4)).astype(np.int16),
        rng.integers(-127, 128, (5, 3, 3, 4)).astype(np.int8),
    )
    sx, sw = 2.0**-12, rng.uniform(0.002, 0.01, 5)
    bias = rng.integers(-100000, 100000, 5).astype(np.int64)
    quant = {
        0: QuantParam(np.array([sx]), np.array([0]), None, 16),
        1: QuantParam(sw, np.zeros(5), 0),
        2: QuantParam(sx * sw, np.zeros(5), 0, 64),
    }
    out = (QuantParam(np.array([2.0**-11]), np.array([0]), None, 16),)
    options = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "fused_activation_function": "RELU6"}
    how = {"const": (1, 2), "quant": quant, "output_quant": out, "version": 5, "steps": 1}
    tflite_check("CONV_2D", [x, w, bias], ("Conv2DOptions", options), **how)
    flat = {
        0: quant[0],
        1: QuantParam(np.array([0.004]), np.zeros(1)),
        2: QuantParam(np.array([sx * 0.004]), np.zeros(1)),
    }
    inputs = [x.reshape(6, 28), rng.integers(-127, 128, (5, 28)).astype(np.int8), bias]
    tflite_check("FULLY_CONNECTED", inputs, ("FullyConnectedOptions", {}), **(how | {"quant": flat, "version": 7}))
