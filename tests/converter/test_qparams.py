"""Scale and zero point, rounding, requantization: the integer semantics, against their definitions."""

from fractions import Fraction

import numpy as np
import pytest
from bitlite.converter.numeric import qparams as qp
from bitlite.converter.numeric.qparams import QuantParam
from hypothesis import given
from hypothesis import strategies as st

INT32 = st.integers(-(2**31), 2**31 - 1)


def test_a_range_gets_all_codes_and_zero_an_exact_one():
    p = qp.choose_asymmetric(-1.0, 3.0)
    assert p.scale[0] == 4 / 255
    assert p.zero_point[0] == -64
    np.testing.assert_array_equal(qp.quantize(np.float32([-1, 0, 3]), p), [-128, -64, 127])
    assert qp.dequantize(np.int8([-64]), p)[0] == 0


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(2, 16))
def test_every_range_holds_zero(a, b, bits):
    p = qp.choose_asymmetric(min(a, b), max(a, b), bits)
    qmin, qmax = qp.code_range(bits)
    assert p.scale[0] > 0
    assert qmin <= p.zero_point[0] <= qmax
    assert qp.quantize(np.float32([0]), p, np.int16)[0] == p.zero_point[0]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50), st.integers(2, 8))
def test_inside_the_range_nothing_is_off_by_more_than_half_a_step(values, bits):
    x = np.float32(values)
    p = qp.choose_asymmetric(x.min(), x.max(), bits)
    # The zero point is rounded too, so an end of the range may lie another half step away.
    assert np.abs(qp.dequantize(qp.quantize(x, p), p) - x).max() <= p.scale[0] * 1.001


def test_symmetric_codes_leave_out_the_lowest():
    p = qp.choose_symmetric([2.54, 0.0], axis=0)
    np.testing.assert_allclose(p.scale, [0.02, 1.0])
    q = qp.quantize(np.float32([[-2.54, 2.54], [0, 0]]), p, narrow=True)
    np.testing.assert_array_equal(q, [[-127, 127], [0, 0]])
    assert p.symmetric


def test_unsigned_codes_start_at_zero():
    p = qp.choose_asymmetric(0.0, 2.55, unsigned=True)
    np.testing.assert_array_equal(qp.quantize(np.float32([0, 1.0, 9]), p, np.uint8), [0, 100, 255])


@given(st.floats(-1e9, 1e9))
def test_halves_go_away_from_zero(x):
    whole, rest = divmod(abs(Fraction(x)), 1)
    expected = (int(whole) + (rest >= Fraction(1, 2))) * (1 if x >= 0 else -1)
    assert qp.round_half_away(np.array(x)) == expected


def test_rounding_next_to_a_half():
    x = np.array([0.5, -0.5, 1.5, 2.5, np.nextafter(0.5, 0), -np.nextafter(0.5, 0), 2**52 + 1.0])
    np.testing.assert_array_equal(qp.round_half_away(x), [1, -1, 2, 3, 0, 0, 2**52 + 1])


def test_per_channel_correction_is_applied_and_per_tensor_ignored():
    q = np.int8([[1, 2], [3, 4]])
    p = QuantParam([0.5, 0.25], [1, 0], axis=0, var_corr=[2.0, 11.0], mean_corr=[0.125, -1.0])
    # A var_corr beyond 10 reads as 1, as in the MindSpore Lite runtime.
    np.testing.assert_array_equal(qp.dequantize(q, p), np.float32([[0.125, 1.125], [-0.25, 0.0]]))
    alone = QuantParam(0.5, 1, var_corr=[2.0], mean_corr=[1.0])
    np.testing.assert_array_equal(qp.dequantize(q, alone), np.float32([[0, 0.5], [1, 1.5]]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_parameters_run_along_their_axis(axis):
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    n = x.shape[axis]
    p = QuantParam(np.arange(1, n + 1) / 50, np.arange(n), axis)
    moved = np.moveaxis(x, axis, 0)
    q = np.moveaxis(qp.quantize(x, p), axis, 0)
    for c in range(n):
        np.testing.assert_array_equal(q[c], qp.quantize(moved[c], QuantParam(p.scale[c], p.zero_point[c])))


def test_parameters_are_checked_and_compared():
    with pytest.raises(ValueError, match="need an axis"):
        QuantParam([1.0, 2.0], 0)
    with pytest.raises(ValueError, match="2 scales but 3"):
        QuantParam([1.0, 2.0], [0, 0, 0], axis=0)
    with pytest.raises(ValueError, match="mean_corr"):
        QuantParam([1.0, 2.0], 0, axis=0, mean_corr=[1.0])
    a, b = QuantParam([1.0, 2.0], 0, axis=0), QuantParam([1.0, 2.0], [0, 0], axis=0)
    assert a == b
    assert hash(a) == hash(b)
    assert a != QuantParam([1.0, 2.0], [0, 1], axis=0)


def test_run_time_quantization_rounds_to_even_and_survives_anything():
    p = QuantParam(2.0, 10)
    x = np.float32([1, 3, 5, -1, np.nan, np.inf, -np.inf, 3e38])
    np.testing.assert_array_equal(qp.quantize_f32(x, p), [10, 12, 12, 10, 10, 127, -128, 127])


@given(INT32, st.floats(1e-6, 0.9), st.integers(-128, 127))
def test_default_requantization_is_one_float32_product(acc, m, zero):
    product = np.float32(np.float32(acc) * np.float32(m))
    whole = int(np.rint(product))
    expected = min(max(whole + zero, -128), 127)
    assert qp.requantize_rne_f32(np.int32([acc]), m, zero, -128, 127)[0] == expected


@given(st.floats(1e-9, 100.0))
def test_multiplier_is_a_normalised_q31(m):
    mantissa, exponent = (int(v) for v in qp.quantized_multiplier(m))
    assert 2**30 <= mantissa < 2**31
    assert abs(Fraction(mantissa) * Fraction(2) ** (exponent - 31) / Fraction(m) - 1) <= Fraction(1, 2**30)


def test_multiplier_at_its_ends():
    assert [int(v) for v in qp.quantized_multiplier(1 - 2.0**-40)] == [2**30, 1]
    assert [int(v) for v in qp.quantized_multiplier(2.0**-40)] == [0, 0]
    assert [int(v) for v in qp.quantized_multiplier(0.0)] == [0, 0]


def half_away(x: Fraction) -> int:
    whole, rest = divmod(abs(x), 1)
    return (int(whole) + (rest >= Fraction(1, 2))) * (1 if x >= 0 else -1)


@given(INT32, INT32)
def test_high_mul_is_a_product_rounded_half_up_in_magnitude(a, b):
    got = int(qp.saturating_rounding_doubling_high_mul(a, b))
    product = a * b
    # C: (product + nudge) / 2^31 with the division truncating; a negative tie therefore stays nearer to zero.
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    expected = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    assert got == min(expected, 2**31 - 1)


@given(INT32, st.integers(0, 31))
def test_divide_by_power_of_two_rounds_half_away(x, exponent):
    assert int(qp.rounding_divide_by_pot(x, exponent)) == half_away(Fraction(x, 2**exponent))


def test_gemmlowp_rounds_twice():
    # 1.5 * 2^-1 = 0.75 rounds once to 1; the high product of 3 and 0.25 in Q31 is 1 (0.75 rounded), then 1 / 2 is 1.
    mantissa, exponent = qp.quantized_multiplier(0.125)
    assert (int(mantissa), int(exponent)) == (2**30, -2)
    got = qp.requantize_gemmlowp(np.int32([3, 4, -4, 11, 1000, -(2**31)]), mantissa, exponent, 5, -128, 127)
    # 11 / 8 = 1.375: the first rounding makes 5.5 a 6, the second 1.5 a 2.
    np.testing.assert_array_equal(got, [6, 6, 4, 7, 127, -128])


@given(INT32, st.floats(1e-6, 0.99))
def test_both_profiles_agree_within_one(acc, m):
    acc = np.int32([acc >> 8])
    mantissa, exponent = qp.quantized_multiplier(m)
    a = int(qp.requantize_gemmlowp(acc, mantissa, exponent, 0, -128, 127)[0])
    b = int(qp.requantize_rne_f32(acc, m, 0, -128, 127)[0])
    assert abs(a - b) <= 1


def test_bias_keeps_half_of_int32_free():
    bias = np.float32([1.0, -1e6])
    scale = qp.bias_safe_scale(bias, 1e-3, np.array([1e-4, 1e-4]))
    assert scale[0] == 1e-4
    q, p = qp.quantize_bias(bias, 1e-3, scale)
    assert p.bits == 32
    np.testing.assert_array_equal(q, [10_000_000, -(qp.INT32_MAX // 2)])
    np.testing.assert_allclose(q * p.scale, bias, rtol=1e-6)


@pytest.mark.parametrize(
    ("act", "low", "high", "expected"),
    [
        ("none", None, None, (-128, 127)),
        ("relu", None, None, (-28, 127)),
        ("relu6", None, None, (-28, 32)),
        ("relu_n1_to_1", None, None, (-38, -18)),
        ("relu6", None, 2.0, (-28, -8)),
        ("none", -5.0, np.inf, (-78, 127)),
        ("relu", -np.inf, 0.0, (-28, -28)),
    ],
)
def test_activations_are_a_range_of_codes(act, low, high, expected):
    assert qp.activation_range(act, QuantParam(0.1, -28), low=low, high=high) == expected


def test_an_activation_that_is_no_clamp_is_refused():
    assert not qp.foldable("tanh")
    with pytest.raises(ValueError, match="tanh is not a clamp"):
        qp.activation_range("tanh", QuantParam(0.1, 0))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("shape,axis", [((), None), ((7, 3, 500), None), ((7, 3, 500), 1)])
def test_fake_quantization_has_the_bits_of_codes_decoded(dtype, shape, axis):
    rng = np.random.default_rng(5)
    x = np.asarray(rng.normal(0, 3, shape), np.float32)
    if shape:
        x.ravel()[:6] = (np.nan, np.inf, -np.inf, -0.0, -1e-9, 1e30)
    low = 0 if dtype == np.uint8 else -100
    n = 1 if axis is None else shape[axis]
    p = QuantParam(rng.uniform(0.001, 0.1, n), rng.integers(low, 100, n), axis, 8 * np.dtype(dtype).itemsize)
    decoded = qp.dequantize(qp.quantize_f32(x, p, dtype), p)
    assert qp.fake_quantize(x, p, dtype).tobytes() == decoded.tobytes()


@pytest.mark.parametrize("bits,codes", [(1, (-1, 0)), (2, (-1, 1)), (4, (-7, 7)), (8, (-127, 127))])
def test_narrow_codes_are_of_one_size_and_those_of_one_bit_are_what_it_holds(bits, codes):
    assert qp.code_range(bits, narrow=True) == codes
