"""Depthwise and transposed convolutions of codes against plain integer references, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from int8_steps import SIZES, THREADS, T, biased_conv, check, codes, const, conv_acc, conv_case, gemmlowp, requantize

DEPTHWISE_CASES = [
    (7, 8, 16, 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 16),
    (9, 7, 65, 65, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 65),
    (9, 9, 64, 64, (3, 3), (2, 2), (1, 1), (0, 1, 0, 1), 64),
    (6, 5, 31, 31, (3, 3), (2, 1), (1, 1), (1, 1, 1, 1), 31),
    (8, 7, 33, 33, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2), 33),
    (8, 9, 130, 130, (5, 5), (2, 2), (1, 1), (2, 1, 2, 1), 130),
    (9, 9, 17, 17, (3, 3), (1, 1), (2, 2), (2, 2, 2, 2), 17),
    (9, 9, 5, 10, (3, 3), (3, 3), (1, 1), (1, 1, 1, 1), 5),
    (6, 6, 23, 69, (2, 3), (1, 1), (1, 1), (1, 0, 1, 1), 23),
    (3, 1, 96, 96, (3, 1), (1, 1), (1, 1), (1, 1, 0, 0), 96),
    (1, 1, 8, 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 8),
    (2, 3, 3, 3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 3),
]


@pytest.mark.parametrize("case", DEPTHWISE_CASES, ids=str)
@pytest.mark.parametrize("zx,zy", [(-128, 127), (127, -128), (3, -5)])
def test_depthwise_matches_integer_reference(case, zx, zy):
    inputs, attrs, sums, sw, sy = biased_conv(case, zx, 150)
    expected = requantize(sums, 0.02 * sw / sy, zy)
    check("conv", inputs, [T(expected, sy, zy)], attrs, [expected], THREADS)
    expected = gemmlowp(sums, 0.02, sw, sy, zy)
    check("conv", inputs, [T(expected, sy, zy)], attrs | {"rounding": "gemmlowp"}, [expected], (1, 2))


@pytest.mark.parametrize("case", DEPTHWISE_CASES, ids=str)
def test_depthwise_gives_float_from_its_sums(case):
    rng = np.random.default_rng(6)
    x, w, attrs, acc = conv_case(rng, case)
    sw, bias = rng.uniform(0.001, 0.01, w.shape[0]), rng.normal(size=w.shape[0]).astype(np.float32)
    expected = acc(-9).astype(np.float32) * (0.02 * sw).astype(np.float32) + bias
    inputs = [T(x, 0.02, -9), const(w, sw, np.zeros(len(sw), int), 0), const(bias)]
    check("conv", inputs, [T(expected)], attrs, [expected], THREADS)
    expected = np.clip(expected, 0, 6)
    check("conv", inputs, [T(expected)], attrs | {"act": "relu6"}, [expected])


@pytest.mark.parametrize("channels", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_of_all_widths(channels, stride):
    for width in range(1, 9):
        rng = np.random.default_rng(channels * 100 + width)
        case = (3, width, channels, channels, (3, 3), (stride, stride), (1, 1), (1, 1, 1, 1), channels)
        x, w, attrs, acc = conv_case(rng, case)
        expected = requantize(acc(-7), 0.02 * 0.01 / 0.3, 4)
        check("conv", [T(x, 0.02, -7), const(w, 0.01, 0), None], [T(expected, 0.3, 4)], attrs, [expected])


@pytest.mark.parametrize("case", DEPTHWISE_CASES, ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_depthwise_with_weight_zero_points(case, per_channel, dtype):
    rng = np.random.default_rng(4)
    x, w, attrs, _ = conv_case(rng, case)
    w = codes(rng, w.shape, dtype)
    info = np.iinfo(dtype)
    zw = rng.integers(info.min, info.max, w.shape[0], endpoint=True) if per_channel else np.array([info.max])
    sw = rng.uniform(0.001, 0.01, len(zw))
    *_, stride, dilation, pad, group = case
    sums = conv_acc(x, w, -100, zw, stride, dilation, pad, group)
    expected = requantize(sums, 0.02 * sw / 1.1, -3)
    weights = const(w, sw, zw, 0 if per_channel else None)
    check("conv", [T(x, 0.02, -100), weights, None], [T(expected, 1.1, -3)], attrs, [expected], (1, 2))


TRANSPOSE_CASES = [
    # h, w, c, o, kernel, stride, dilation, pad, output_padding, group
    (4, 5, 8, 16, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (0, 0), 1),
    (4, 5, 7, 9, (3, 3), (2, 2), (1, 1), (1, 0, 0, 1), (0, 1), 1),
    (3, 4, 5, 33, (4, 4), (2, 2), (1, 1), (1, 1, 1, 1), (0, 0), 1),
    (5, 3, 4, 6, (3, 2), (1, 3), (2, 1), (1, 2, 0, 0), (0, 0), 2),
    (3, 3, 16, 4, (2, 2), (3, 4), (1, 1), (0, 0, 0, 0), (1, 2), 1),
    (6, 6, 4, 4, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2), (0, 0), 4),
    (1, 1, 3, 2, (7, 7), (2, 2), (1, 1), (2, 2, 2, 2), (0, 0), 1),
]


@pytest.mark.parametrize("case", TRANSPOSE_CASES, ids=str)
@pytest.mark.parametrize("zw", [0, -9])
def test_conv_transpose_matches_integer_reference(case, zw):
    h, w, c, o, kernel, stride, dilation, pad, more, group = case
    rng = np.random.default_rng(22)
    x, weights = codes(rng, (2, h, w, c)), codes(rng, (c, *kernel, o // group))
    bias = rng.integers(-9000, 9000, o).astype(np.int32)
    size = [
        s * (n - 1) + (k - 1) * d + 1 + e for s, n, k, d, e in zip(stride, (h, w), kernel, dilation, more, strict=True)
    ]
    full = np.zeros((2, *size, o), np.int64)
    ig, og = c // group, o // group
    for ky, kx in np.ndindex(*kernel):
        rows = slice(ky * dilation[0], ky * dilation[0] + stride[0] * (h - 1) + 1, stride[0])
        columns = slice(kx * dilation[1], kx * dilation[1] + stride[1] * (w - 1) + 1, stride[1])
        for g in range(group):
            part = x[..., g * ig : (g + 1) * ig].astype(np.int64) + 20
            matrix = weights[g * ig : (g + 1) * ig, ky, kx].astype(np.int64) - zw
            full[:, rows, columns, g * og : (g + 1) * og] += part @ matrix
    sums = full[:, pad[0] : size[0] - pad[1], pad[2] : size[1] - pad[3]] + bias
    sy = float(np.abs(sums).max() * 0.02 * 0.01 / 120)
    expected = requantize(sums, 0.02 * 0.01 / sy, 6)
    attrs = {"stride": stride, "dilation": dilation, "pad": pad, "output_padding": more}
    attrs = {k: list(v) for k, v in attrs.items()} | {"group": group}
    inputs = [T(x, 0.02, -20), const(weights, 0.01, zw), const(bias)]
    check("conv_transpose", inputs, [T(expected, sy, 6)], attrs, [expected], THREADS)
