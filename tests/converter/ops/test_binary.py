from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.numeric.qparams import QuantParam

SHAPES = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((1, 3, 1), (2, 1, 5)), ((3, 2), ()), ((1,), (2, 3))]
ARITHMETIC = ["ADD", "SUB", "MUL", "DIV"]
ORDERED = ["MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD"]
COMPARISONS = ["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"]
OPTIONS = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def values(rng, shape, dtype=np.float32):
    if np.dtype(dtype).kind == "f":
        return np.asarray(rng.uniform(0.3, 3, shape) * rng.choice([-1, 1], shape)).astype(dtype)
    magnitudes = rng.integers(1, 9, shape)
    return np.asarray(magnitudes if np.dtype(dtype).kind == "u" else magnitudes * rng.choice([-1, 1], shape)).astype(
        dtype
    )


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("op", ARITHMETIC + ORDERED + COMPARISONS)
def test_tflite_float_operators_equal_litert(tflite_check, rng, op, shapes):
    a, b = (values(rng, s) for s in shapes)
    if op in COMPARISONS:
        a, b = np.round(a), np.round(b)
    tflite_check(op, [a, b], outputs=(np.bool_,) if op in COMPARISONS else (None,))


@pytest.mark.parametrize("act", [0, 1, 2, 3])
@pytest.mark.parametrize("op", ARITHMETIC)
def test_tflite_fused_activations_equal_litert(tflite_check, rng, op, act):
    a, b = 3 * values(rng, (2, 3, 4)), values(rng, (4,))
    tflite_check(op, [a, b], (OPTIONS[op], {"fused_activation_function": act}))
    tflite_check(op, [a, b], (OPTIONS[op], {"fused_activation_function": act}), const=(1,))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "FLOOR_DIV", "FLOOR_MOD", *COMPARISONS])
def test_tflite_integer_operators_equal_litert(tflite_check, rng, op, dtype):
    if (op, dtype) == ("FLOOR_DIV", np.int64):
        return  # LiteRT has none
    a, b = values(rng, (3, 4), dtype) * 3, values(rng, (3, 4), dtype)
    tflite_check(op, [a, b], outputs=(np.bool_,) if op in COMPARISONS else (None,))


def test_tflite_integer_division_is_towards_zero(tflite_check):
    a, b = np.int32([7, -7, 7, -7, 6, 0]), np.int32([2, 2, -2, -2, -3, 5])
    tflite_check("DIV", [a, b])


def test_tflite_pow_and_atan2_equal_litert(tflite_check, rng):
    a, b = np.abs(values(rng, (2, 3))), values(rng, (2, 3))
    tflite_check("POW", [a, b])
    tflite_check("POW", [np.int32([2, 3, -2]), np.int32([3, 2, 3])])
    tflite_check("ATAN2", [a, b])


@pytest.mark.parametrize("op", ["LOGICAL_AND", "LOGICAL_OR"])
def test_tflite_logic_equals_litert(tflite_check, rng, op):
    tflite_check(op, [rng.random((3, 4)) < 0.5, rng.random((3, 4)) < 0.5])


def test_tflite_bits_equal_litert(tflite_check, rng):
    a, b = rng.integers(-99, 99, (3, 4)).astype(np.int32), rng.integers(0, 5, (3, 4)).astype(np.int32)
    tflite_check("BITWISE_XOR", [a, b])
    tflite_check("RIGHT_SHIFT", [a, b])


def test_tflite_add_n_equals_litert(tflite_check, rng):
    tflite_check("ADD_N", [values(rng, (2, 3)) for _ in range(4)])


QA, QB, QY = QuantParam([0.02], [3]), QuantParam([0.035], [-20]), QuantParam([0.05], [7])


@pytest.mark.parametrize("act", [0, 1, 3])
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("shapes", SHAPES[:3])
def test_tflite_int8_is_within_one_code_of_litert(tflite_check, rng, op, act, shapes):
    a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in shapes)
    options = (OPTIONS[op], {"fused_activation_function": act})
    tflite_check(op, [a, b], options, quant={0: QA, 1: QB}, output_quant=(QY,), steps=1, version=2)


@pytest.mark.parametrize("op", ["ADD", "MUL"])
def test_tflite_uint8_is_within_one_code_of_litert(tflite_check, rng, op):
    a, b = (rng.integers(0, 256, (2, 3, 4)).astype(np.uint8) for _ in range(2))
    qa, qb, qy = QuantParam([0.02], [120]), QuantParam([0.03], [140]), QuantParam([0.05], [128])
    tflite_check(op, [a, b], (OPTIONS[op], {}), quant={0: qa, 1: qb}, output_quant=(qy,), steps=1)


@pytest.mark.parametrize("op", ["MAXIMUM", "MINIMUM"])
def test_tflite_int8_order_is_exact(tflite_check, rng, op):
    a, b = (rng.integers(-128, 128, (3, 4)).astype(np.int8) for _ in range(2))
    tflite_check(op, [a, b], quant={0: QA, 1: QA}, output_quant=(QA,), version=2)


def test_int8_add_is_two_products_and_one_sum_in_float32(tflite_check, rng):
    a, b = (rng.integers(-128, 128, (500,)).astype(np.int8) for _ in range(2))
    got = tflite_check("ADD", [a, b], quant={0: QA, 1: QB}, output_quant=(QY,), steps=1, version=2)[0]
    ma, mb = (
        np.float32(np.float64(np.float32(0.02)) / np.float32(0.05)),
        np.float32(np.float64(np.float32(0.035)) / np.float32(0.05)),
    )
    real = (a.astype(np.float32) - 3) * ma + (b.astype(np.float32) + 20) * mb
    np.testing.assert_array_equal(got, np.clip(np.rint(real) + 7, -128, 127).astype(np.int8))


ONNX = ["Add", "Sub", "Mul", "Div", "Pow", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "PRelu"]


@pytest.mark.parametrize("shapes", SHAPES[:2])
@pytest.mark.parametrize("op", ONNX)
def test_onnx_operators_equal_onnxruntime(onnx_check, rng, op, shapes):
    a, b = (values(rng, s) for s in shapes)
    onnx_check(op, [np.abs(a) if op == "Pow" else a, b])


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Equal", "Less", "Greater"])
def test_onnx_integers_equal_onnxruntime(onnx_check, rng, op, dtype):
    onnx_check(op, [values(rng, (3, 4), dtype) * 5, values(rng, (4,), dtype)])


@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("many", [1, 2, 4])
def test_onnx_variadic_operators_equal_onnxruntime(onnx_check, rng, op, many):
    onnx_check(op, [values(rng, (2, 3)), values(rng, (3,)), values(rng, (2, 1)), values(rng, ())][:many])


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_nan_is_the_larger_and_the_smaller(onnx_check, op):
    onnx_check(op, [np.float32([1, np.nan, 3, np.nan]), np.float32([np.nan, 2, 5, np.nan])])


def test_onnx_mod_has_the_sign_of_the_divisor_or_with_fmod_of_the_dividend(onnx_check):
    a, b = np.int32([7, -7, 7, -7]), np.int32([3, 3, -3, -3])
    onnx_check("Mod", [a, b])
    onnx_check("Mod", [a, b], {"fmod": 1})
    onnx_check("Mod", [a.astype(np.float32) / 2, b.astype(np.float32)], {"fmod": 1})


def test_onnx_logic_and_bits_equal_onnxruntime(onnx_check, rng):
    a, b = rng.random((3, 4)) < 0.5, rng.random((4,)) < 0.5
    for op in ("And", "Or", "Xor"):
        onnx_check(op, [a, b])
    a, b = rng.integers(0, 200, (3, 4)).astype(np.uint8), rng.integers(0, 7, (4,)).astype(np.uint8)
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        onnx_check(op, [a, b])
    for direction in ("LEFT", "RIGHT"):
        onnx_check("BitShift", [a, b], {"direction": direction})


@pytest.mark.parametrize("exponent", [np.float32([2.0, 0.5]), np.int64([2, 3])])
def test_onnx_pow_takes_the_type_of_its_base(onnx_check, exponent):
    onnx_check("Pow", [np.float32([1.5, 4.0]), exponent])
    onnx_check("Pow", [np.int32([3, 9]), exponent])


@pytest.mark.parametrize("two", [np.float32(2), np.float32([2]), np.float32([[[[2]]]]), np.int64(2), np.float32(3)])
def test_the_power_of_two_is_a_square_of_the_same_shape(onnx_check, rng, two):
    onnx_check("Pow", [values(rng, (3, 4)), two], const=(1,))


def test_shapes_that_do_not_broadcast_are_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*do not broadcast"):
        onnx_check("Add", [values(rng, (2, 3)), values(rng, (4,))], want=[])


def test_different_types_are_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*different types"):
        onnx_check("Add", [values(rng, (2, 3)), values(rng, (3,), np.int32)], want=[])
