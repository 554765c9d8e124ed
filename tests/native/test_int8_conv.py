"""Convolutions of codes against plain integer references, bit for bit, on every instruction set and thread count."""

from __future__ import annotations

import numpy as np
import pytest
from int8_steps import (
    SIZES,
    THREADS,
    T,
    biased_conv,
    check,
    codes,
    const,
    conv_acc,
    conv_case,
    dynamic_params,
    gemmlowp,
    requantize,
)

CONV_CASES = [
    # h, w, c, o, (kh, kw), stride, dilation, pad, group
    (5, 6, 3, 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (9, 7, 3, 8, (3, 3), (2, 2), (1, 1), (0, 1, 0, 1), 1),
    (6, 5, 16, 33, (3, 3), (1, 1), (2, 1), (2, 2, 1, 1), 1),
    (6, 7, 5, 7, (3, 2), (1, 2), (1, 2), (1, 0, 2, 1), 1),
    (4, 5, 17, 65, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    (5, 5, 8, 24, (1, 1), (2, 2), (1, 1), (0, 0, 0, 0), 1),
    (4, 4, 7, 9, (1, 1), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (5, 4, 12, 10, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 2),
    (5, 4, 6, 9, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 3),
    (10, 4, 1, 64, (10, 4), (2, 2), (1, 1), (4, 5, 1, 1), 1),
    (1, 9, 4, 5, (1, 3), (1, 1), (1, 1), (0, 0, 1, 1), 1),
    (8, 8, 64, 64, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    (33, 3, 64, 31, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
]


@pytest.mark.parametrize("case", CONV_CASES, ids=str)
@pytest.mark.parametrize("zx,zy", [(-128, 127), (127, -128), (3, -5)])
def test_conv_matches_integer_reference(case, zx, zy):
    inputs, attrs, sums, sw, sy = biased_conv(case, zx, 100)
    expected = requantize(sums, 0.02 * sw / sy, zy)
    check("conv", inputs, [T(expected, sy, zy)], attrs, [expected], THREADS)


@pytest.mark.parametrize("channels", SIZES)
@pytest.mark.parametrize("out", SIZES)
def test_pointwise_conv_of_all_widths(channels, out):
    rng = np.random.default_rng(channels * 100 + out)
    x, w, attrs, acc = conv_case(rng, (3, 7, channels, out, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1))
    sums = acc(-7)
    sy = float(np.abs(sums).max() * 0.02 * 0.01 / 150) + 1e-6
    expected = requantize(sums, 0.02 * 0.01 / sy, 4)
    check("conv", [T(x, 0.02, -7), const(w, 0.01, 0), None], [T(expected, sy, 4)], attrs, [expected])


@pytest.mark.parametrize("pixels", range(1, 40))
def test_conv_of_every_number_of_pixels(pixels):
    rng = np.random.default_rng(pixels)
    for out in (16, 32, 48, 64):
        x, w, attrs, acc = conv_case(rng, (1, pixels, 16, out, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1))
        sums = acc(0)
        expected = requantize(sums, 0.02 * 0.01 / 0.05, 0)
        check("conv", [T(x, 0.02, 0), const(w, 0.01, 0), None], [T(expected, 0.05, 0)], attrs, [expected])


@pytest.mark.parametrize(
    "act,bounds", [("relu", (0, None)), ("relu6", (0, 6)), ("relu_n1_to_1", (-1, 1)), ("none", (None, None))]
)
def test_conv_folds_activation_into_range(act, bounds):
    rng = np.random.default_rng(2)
    x, w, attrs, acc = conv_case(rng, CONV_CASES[0])
    low, high = (
        default if b is None else np.clip(np.rint(b / 0.07) - 20, -128, 127) for b, default in zip(bounds, (-128, 127))
    )
    expected = requantize(acc(5), 0.02 * 0.01 / 0.07, -20, low, high)
    check("conv", [T(x, 0.02, 5), const(w, 0.01, 0), None], [T(expected, 0.07, -20)], attrs | {"act": act}, [expected])


def test_conv_range_attributes_narrow_the_output():
    rng = np.random.default_rng(3)
    x, w, attrs, acc = conv_case(rng, CONV_CASES[0])
    expected = requantize(acc(5), 0.02 * 0.01 / 0.07, 1, -8, 7)
    attrs |= {"qmin": -8, "qmax": 7}
    check("conv", [T(x, 0.02, 5), const(w, 0.01, 0), None], [T(expected, 0.07, 1)], attrs, [expected])


@pytest.mark.parametrize("case", CONV_CASES[:9], ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_conv_with_weight_zero_points(case, per_channel, dtype):
    rng = np.random.default_rng(4)
    x, w, attrs, _ = conv_case(rng, case)
    w = codes(rng, w.shape, dtype)
    info = np.iinfo(dtype)
    zw = rng.integers(info.min, info.max, w.shape[0], endpoint=True) if per_channel else np.array([info.max])
    sw = rng.uniform(0.001, 0.01, len(zw))
    *_, stride, dilation, pad, group = case
    sums = conv_acc(x, w, -100, zw, stride, dilation, pad, group)
    sy = float(np.abs(sums).max() * 0.02 * sw.max() / 100)
    expected = requantize(sums, 0.02 * sw / sy, -3)
    weights = const(w, sw, zw, 0 if per_channel else None)
    check("conv", [T(x, 0.02, -100), weights, None], [T(expected, sy, -3)], attrs, [expected], (1, 2))


@pytest.mark.parametrize("case", CONV_CASES[:8], ids=str)
def test_conv_rounds_as_gemmlowp(case):
    rng = np.random.default_rng(5)
    x, w, attrs, acc = conv_case(rng, case)
    bias = rng.integers(-2000, 2000, w.shape[0]).astype(np.int32)
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    sums = acc(11) + bias
    sy = float(np.abs(sums).max() * 0.02 * sw.max() / 100)
    expected = gemmlowp(sums, 0.02, sw, sy, 9)
    weights = const(w, sw, np.zeros(len(sw), int), 0)
    check(
        "conv",
        [T(x, 0.02, 11), weights, const(bias)],
        [T(expected, sy, 9)],
        attrs | {"rounding": "gemmlowp"},
        [expected],
    )


@pytest.mark.parametrize("case", CONV_CASES[:9] + CONV_CASES[-2:], ids=str)
def test_conv_gives_float_from_its_accumulator(case):
    rng = np.random.default_rng(6)
    x, w, attrs, acc = conv_case(rng, case)
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    bias = rng.normal(size=w.shape[0]).astype(np.float32)
    expected = acc(-9).astype(np.float32) * (0.02 * sw).astype(np.float32) + bias
    weights = const(w, sw, np.zeros(len(sw), int), 0)
    check("conv", [T(x, 0.02, -9), weights, const(bias)], [T(expected)], attrs, [expected], THREADS)
    expected = np.maximum(expected, 0)
    check("conv", [T(x, 0.02, -9), weights, const(bias)], [T(expected)], attrs | {"act": "relu"}, [expected])


@pytest.mark.parametrize("case", CONV_CASES, ids=str)
@pytest.mark.parametrize("zw", [0, 5])
def test_conv_adds_fused_residual(case, zw):
    rng = np.random.default_rng(7)
    x, w, attrs, acc = conv_case(rng, case)
    sums = acc(-9, zw)
    mid = float(np.abs(sums).max() * 0.02 * 0.01 / 150)
    q = requantize(sums, 0.02 * 0.01 / mid, 7, 7, 127)
    r = codes(rng, q.shape)
    sr, sy = 0.04, 0.05
    total = (q.astype(np.float32) - 7) * np.float32(mid / sy) + (r.astype(np.float32) + 3) * np.float32(sr / sy)
    expected = np.clip(np.rint(total) + 2, -128, 127).astype(np.int8)
    attrs |= {"mid_scale": mid, "mid_zero_point": 7, "act": "relu"}
    inputs = [T(x, 0.02, -9), const(w, 0.01, zw), None, T(r, sr, -3)]
    check("conv", inputs, [T(expected, sy, 2)], attrs, [expected], THREADS)


def test_accumulators_wrap_and_large_multipliers_saturate():
    rng = np.random.default_rng(8)
    x, w, attrs, acc = conv_case(rng, CONV_CASES[7])
    bias = np.where(np.arange(w.shape[0]) % 2, 2**31 - 1, -(2**31)).astype(np.int32)
    for sy in (1e-9, 3.0, 1e9):
        expected = requantize(acc(3) + bias, 0.5 * 0.25 / sy, 1)
        check("conv", [T(x, 0.5, 3), const(w, 0.25, 0), const(bias)], [T(expected, sy, 1)], attrs, [expected])


def test_one_dimensional_conv():
    rng = np.random.default_rng(9)
    x, w, attrs, acc = conv_case(rng, (1, 11, 6, 13, (1, 3), (1, 2), (1, 1), (0, 0, 1, 1), 1))
    expected = requantize(acc(3), 0.02 * 0.01 / 0.05, 0)[:, 0]
    attrs = {"stride": [2], "dilation": [1], "pad": [1, 1]}
    check("conv", [T(x[:, 0], 0.02, 3), const(w[:, 0], 0.01, 0), None], [T(expected, 0.05, 0)], attrs, [expected])


@pytest.mark.parametrize("case", CONV_CASES[:9], ids=str)
def test_conv_quantizes_its_input_while_running(case):
    rng = np.random.default_rng(10)
    _, w, attrs, _ = conv_case(rng, case)
    x = rng.normal(1, 3, (2, case[0], case[1], case[2])).astype(np.float32)
    q, sx, zx = dynamic_params(x)
    *_, stride, dilation, pad, group = case
    sw = rng.uniform(0.001, 0.01, w.shape[0])
    acc = conv_acc(q, w, zx, 0, stride, dilation, pad, group)
    bias = rng.normal(size=w.shape[0]).astype(np.float32)
    expected = acc.astype(np.float32) * (sx * sw.astype(np.float32)) + bias
    inputs = [T(x), const(w, sw, np.zeros(len(sw), int), 0), const(bias)]
    check("conv", inputs, [T(expected)], attrs | {"dynamic": True}, [expected], THREADS)
