from __future__ import annotations

import math

import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.numeric.qparams import QuantParam

ANY, POSITIVE, UNIT = (-4.0, 4.0), (0.1, 5.0), (-0.9, 0.9)
TFLITE = [
    *((op, ANY) for op in ("ABS", "NEG", "EXP", "SQUARE", "SIN", "COS", "FLOOR", "CEIL", "ROUND", "SIGN")),
    *((op, POSITIVE) for op in ("LOG", "SQRT", "RSQRT")),
    *((op, (-8.0, 8.0)) for op in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")),
    *((op, (-8.0, 8.0)) for op in ("LOGISTIC", "TANH", "HARD_SWISH", "ELU")),
]  # fmt: skip
ONNX = [
    *((op, ANY) for op in ("Abs", "Neg", "Exp", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "Erf", "Atan")),
    *((op, ANY) for op in ("Sinh", "Cosh", "Asinh", "Reciprocal", "Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus")),
    *((op, ANY) for op in ("Softsign", "Mish", "LeakyRelu", "HardSigmoid", "Elu", "Selu", "Celu", "ThresholdedRelu")),
    *((op, POSITIVE) for op in ("Log", "Sqrt")),
    *((op, UNIT) for op in ("Tan", "Asin", "Acos", "Atanh", "Shrink")),
    ("Acosh", (1.1, 5.0)),
]


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.mark.parametrize(("op", "span"), TFLITE)
@pytest.mark.parametrize("shape", [(2, 3, 4), (7,)])
def test_tflite_functions_equal_litert(tflite_check, rng, op, span, shape):
    tflite_check(op, [rng.uniform(*span, shape).astype(np.float32)])


def test_halves_round_to_even(tflite_check, onnx_check):
    x = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    tflite_check("ROUND", [x])
    onnx_check("Round", [x])


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_equals_both_runtimes(tflite_check, onnx_check, rng, approximate):
    x = rng.uniform(-4, 4, (3, 5)).astype(np.float32)
    tflite_check("GELU", [x], ("GeluOptions", {"approximate": approximate}), tolerance=2e-5)
    onnx_check("Gelu", [x], {"approximate": "tanh" if approximate else "none"})


def test_tflite_leaky_relu_and_prelu_equal_litert(tflite_check, rng):
    x = rng.uniform(-4, 4, (1, 3, 3, 5)).astype(np.float32)
    tflite_check("LEAKY_RELU", [x], ("LeakyReluOptions", {"alpha": 0.3}))
    for slope in ((5,), (1, 1, 5), (3, 3, 5)):
        tflite_check("PRELU", [x, rng.uniform(0, 1, slope).astype(np.float32)], const=(1,))


def test_tflite_logical_not_equals_litert(tflite_check):
    tflite_check("LOGICAL_NOT", [np.array([True, False])])


@pytest.mark.parametrize(("op", "span"), ONNX)
def test_onnx_functions_equal_onnxruntime(onnx_check, rng, op, span):
    onnx_check(op, [rng.uniform(*span, (2, 3, 5)).astype(np.float32)], tolerance=2e-5)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int8])
@pytest.mark.parametrize("op", ["Abs", "Neg", "Sign"])
def test_onnx_integers_equal_onnxruntime(onnx_check, rng, op, dtype):
    onnx_check(op, [rng.integers(-9, 9, (3, 4)).astype(dtype)])


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.7}),
        ("Selu", {"alpha": 2.0, "gamma": 1.5}),
        ("Celu", {"alpha": 1.7}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("ThresholdedRelu", {"alpha": 0.6}),
        ("Shrink", {"lambd": 1.0, "bias": 0.5}),
    ],
)
def test_onnx_attributes_count(onnx_check, rng, op, attrs):
    onnx_check(op, [rng.uniform(-3, 3, (4, 5)).astype(np.float32)], attrs)


def test_onnx_is_nan_and_is_inf_equal_onnxruntime(onnx_check):
    x = np.float32([1, np.nan, np.inf, -np.inf, 0])
    onnx_check("IsNaN", [x])
    for attrs in ({}, {"detect_negative": 0}, {"detect_positive": 0}):
        onnx_check("IsInf", [x], attrs)
    onnx_check("Not", [np.array([True, False])])
    onnx_check("BitwiseNot", [np.uint8([0, 7, 255])])


def test_microsofts_gelus_equal_onnxruntime(onnx_check, rng):
    x, b = rng.uniform(-3, 3, (2, 6)).astype(np.float32), rng.uniform(-1, 1, (6,)).astype(np.float32)
    onnx_check("Gelu", [x], domain="com.microsoft")
    onnx_check("QuickGelu", [x], {"alpha": 1.5}, domain="com.microsoft")
    onnx_check("FastGelu", [x, b], domain="com.microsoft", const=(1,))
    onnx_check("BiasGelu", [x, b], domain="com.microsoft", const=(1,))


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 2.0), (0.0, 6.0), (0.0, None), (None, 0.5), (None, None), (2.0, -2.0)]
)
@pytest.mark.parametrize("const", [(), (1, 2)])
def test_onnx_clip_equals_onnxruntime(onnx_check, rng, low, high, const):
    x = rng.uniform(-9, 9, (3, 4)).astype(np.float32)
    bounds = [None if b is None else np.float32(b) for b in (low, high)]
    onnx_check("Clip", [x, *bounds], const=tuple(i for i in const if bounds[i - 1] is not None))


def test_onnx_clip_of_opset_7_has_attributes(onnx_check, rng):
    x = rng.uniform(-9, 9, (3, 4)).astype(np.float32)
    for attrs in ({}, {"min": -1.0, "max": 3.0}, {"max": 6.0, "min": 0.0}):
        onnx_check("Clip", [x], attrs, opset=7)


def test_onnx_clip_of_integers(onnx_check):
    onnx_check("Clip", [np.int32([-9, 0, 9]), np.int32(-2), np.int32(5)], const=(1, 2))


CODES = np.arange(-128, 128).astype(np.int8)


@pytest.mark.parametrize(
    ("op", "options", "function", "qy"),
    [
        ("LOGISTIC", None, lambda x: 1 / (1 + math.exp(-x)), QuantParam([1 / 256], [-128])),
        ("TANH", None, math.tanh, QuantParam([1 / 128], [0])),
        ("HARD_SWISH", None, lambda x: x * min(max(x + 3, 0), 6) / 6, QuantParam([0.04], [-90])),
        (
            "LEAKY_RELU",
            ("LeakyReluOptions", {"alpha": 0.2}),
            lambda x: x if x > 0 else 0.2 * x,
            QuantParam([0.04], [-90]),
        ),
        ("RELU", None, lambda x: max(x, 0), QuantParam([0.03], [-128])),
        ("RELU6", None, lambda x: min(max(x, 0), 6), QuantParam([6 / 255], [-128])),
        ("ELU", None, lambda x: x if x > 0 else math.expm1(x), QuantParam([0.04], [-90])),
        ("EXP", None, math.exp, QuantParam([0.4], [-128])),
        ("ABS", None, abs, QuantParam([0.05], [-128])),
    ],
)
def test_int8_functions_are_tables_made_in_float64(tflite_check, op, options, function, qy):
    qx = QuantParam([0.05], [4])
    version = 1 if op in ("HARD_SWISH", "ELU") else 2
    got = tflite_check(op, [CODES], options, quant={0: qx}, output_quant=(qy,), steps=1, version=version)[0]
    scale, out = float(np.float32(0.05)), float(np.float32(qy.scale[0]))
    real = [function((int(q) - 4) * scale) / out for q in CODES]
    want = [min(max(round(v) + int(qy.zero_point[0]), -128), 127) for v in real]
    np.testing.assert_array_equal(got, np.int8(want))


def test_uint8_functions_are_tables(tflite_check):
    qx, qy = QuantParam([0.05], [120]), QuantParam([1 / 256], [0])
    x = np.arange(256).astype(np.uint8)
    tflite_check("LOGISTIC", [x], quant={0: qx}, output_quant=(qy,), steps=1)


def test_a_type_without_the_function_is_refused_by_name(onnx_check):
    with pytest.raises(Error, match=r"node.*Exp.*int32"):
        onnx_check("Exp", [np.int32([1])], want=[])
