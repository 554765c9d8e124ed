"""Arithmetic, tables and casts of codes against their references, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from int8_steps import SIZES, THREADS, T, check, codes, const, requantize


def added(a, b, qa, qb, qy, sign=1, low=-128, high=127):
    left = (a.astype(np.float32) - np.float32(qa[1])) * np.float32(qa[0] / qy[0])
    right = (b.astype(np.float32) - np.float32(qb[1])) * np.float32(sign * (qb[0] / qy[0]))
    return np.clip(np.rint(left + right) + qy[1], low, high).astype(np.int8)


BROADCASTS = [
    *[((n,), (n,)) for n in SIZES],
    ((3, 5, 7), (3, 5, 7)),
    ((3, 5, 7), (7,)),
    ((7,), (3, 5, 7)),
    ((3, 5, 7), ()),
    ((1,), (3, 33)),
    ((3, 1, 7), (1, 5, 1)),
    ((2, 3, 1, 65), (3, 4, 65)),
    ((9000, 3), (9000, 3)),
    ((2, 9000), (2, 1)),
    # Gates, masks and channels' constants, wide and narrow.
    ((2, 50, 33), (2, 1, 33)),
    ((2, 1, 96), (2, 99, 96)),
    ((700, 16), (16,)),
    ((2, 40, 16), (2, 40, 1)),
    ((900, 3), (900, 1)),
    ((3, 70, 48), (3, 70, 1)),
    ((70, 1), (70, 33)),
]


@pytest.mark.parametrize("sa,sb", BROADCASTS, ids=str)
@pytest.mark.parametrize("qa,qb,qy", [((0.1, 3), (0.2, -7), (0.25, 5)), ((0.5, -128), (0.5, 127), (1e-4, -128))])
def test_binary_functions_match_reference(sa, sb, qa, qb, qy):
    rng = np.random.default_rng(13)
    a, b = codes(rng, sa), codes(rng, sb)
    inputs = [T(a, *qa), T(b, *qb)]
    for op, expected in (
        ("add", added(a, b, qa, qb, qy)),
        ("sub", added(a, b, qa, qb, qy, -1)),
        ("mul", requantize((a.astype(np.int64) - qa[1]) * (b.astype(np.int64) - qb[1]), qa[0] * qb[0] / qy[0], qy[1])),
    ):
        check(op, inputs, [T(expected, *qy)], {}, [expected], THREADS)
    expected = added(a, b, qa, qb, (0.25, 5), low=5, high=29)
    check("add", inputs, [T(expected, 0.25, 5)], {"act": "relu6"}, [expected])
    same = [T(a, 0.1, 3), T(b, 0.1, 3)]
    for op, function in (("maximum", np.maximum), ("minimum", np.minimum)):
        expected = function(a, b)
        check(op, same, [T(expected, 0.1, 3)], {}, [expected])


@pytest.mark.parametrize("shape,slopes", [((40, 33), (33,)), ((300, 16), (16,)), ((9, 7), (9, 1)), ((9, 40), (9, 1))])
@pytest.mark.parametrize(
    "qa,qb,qy",
    [
        ((0.1, 3), (0.01, -7), (0.11, 5)),  # many results are ties
        ((0.0837, 3), (0.0113, -7), (0.0941, 5)),
        ((0.5, -128), (0.5, 127), (1e-4, -128)),
    ],
)
def test_prelu_matches_reference(shape, slopes, qa, qb, qy):
    rng = np.random.default_rng(15)
    a, b = codes(rng, shape), codes(rng, slopes)
    p, q = a.astype(np.int64) - qa[1], b.astype(np.int64) - qb[1]
    below = requantize(p * q, qa[0] * qb[0] / qy[0], qy[1])
    expected = np.where(p < 0, below, requantize(p, qa[0] / qy[0], qy[1]))
    for slope in (T(b, *qb), const(b, *qb)):
        check("prelu", [T(a, *qa), slope], [T(expected, *qy)], {}, [expected], THREADS)


@pytest.mark.parametrize("scale,zero", [(0.3, 1), (0.02, -9), (3.7, 100)])
@pytest.mark.parametrize("value", [-128, -3, 0, 90])
def test_binary_with_one_constant(scale, zero, value):
    a = np.tile(np.arange(-128, 128).astype(np.int8), 2)
    b = np.array([value], np.int8)
    qa, qb, qy = (0.1, 3), (0.2, 5), (scale, zero)
    total, less = added(a, b, qa, qb, qy), added(b, a, qb, qa, qy, -1)
    check("add", [T(a, *qa), const(b, *qb)], [T(total, *qy)], {}, [total], THREADS)
    check("sub", [const(b, *qb), T(a, *qa)], [T(less, *qy)], {}, [less], THREADS)
    product = requantize((a.astype(np.int64) - 3) * (value - 5), 0.1 * 0.2 / scale, zero)
    check("mul", [T(a, *qa), const(b, *qb)], [T(product, *qy)], {}, [product], THREADS)


def test_binary_with_constant_operand():
    rng = np.random.default_rng(14)
    a, b = codes(rng, (4, 17)), codes(rng, (17,))
    expected = added(a, b, (0.1, 3), (0.2, 0), (0.3, 1))
    check("add", [T(a, 0.1, 3), const(b, 0.2, 0)], [T(expected, 0.3, 1)], {}, [expected])
    unsigned = (b.astype(np.int16) + 128).astype(np.uint8)
    check("add", [T(a, 0.1, 3), const(unsigned, 0.2, 128)], [T(expected, 0.3, 1)], {}, [expected])


FLOATS = np.array(
    [0, -0.0, 0.5, 1.5, -0.5, -2.5, 1e30, -1e30, np.inf, -np.inf, np.nan, 126.5, 127.5, -128.5], np.float32
)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("n", SIZES)
def test_quantize_rounds_half_to_even_and_saturates(dtype, n):
    rng = np.random.default_rng(n)
    info = np.iinfo(dtype)
    x = np.concatenate([FLOATS, rng.normal(0, 60, n).astype(np.float32)])
    for scale, zero in ((1.0, 0), (0.3, info.max), (0.7, info.min)):
        with np.errstate(over="ignore"):
            v = np.rint(x * np.float32(1 / scale)).astype(np.float64)
        expected = np.where(np.isnan(v), zero, np.clip(v + zero, info.min, info.max)).astype(dtype)
        check("quantize", [T(x)], [T(expected, scale, zero)], {"dtype": np.dtype(dtype).name}, [expected], (1, 2))


@pytest.mark.parametrize("source,target", [*itertools.product([np.int8, np.uint8, np.int16], [np.int8, np.uint8])])
def test_quantize_changes_parameters_of_codes(source, target):
    rng = np.random.default_rng(15)
    x = codes(rng, 9001, source)
    zx, zy = (np.iinfo(t).min + 7 for t in (source, target))
    for sx, sy in ((0.1, 0.3), (0.3, 0.1), (0.1, 0.1)):
        v = np.rint((x.astype(np.float32) - zx) * np.float32(sx / sy)).astype(np.int64) + zy
        expected = np.clip(v, np.iinfo(target).min, np.iinfo(target).max).astype(target)
        check("quantize", [T(x, sx, zx)], [T(expected, sy, zy)], {}, [expected], (1, 2))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
def test_dequantize_matches_reference(dtype):
    rng = np.random.default_rng(16)
    x = codes(rng, (3, 3001), dtype)
    zero = 0 if dtype == np.int32 else np.iinfo(dtype).max
    expected = (x.astype(np.int64) - zero).astype(np.float32) * np.float32(0.037)
    check("dequantize", [T(x, 0.037, zero)], [T(expected)], {}, [expected], (1, 2))


@pytest.mark.parametrize("n", [*SIZES, 256, 20000])
def test_lut_looks_every_code_up(n):
    rng = np.random.default_rng(n)
    table = codes(rng, 256)
    x = np.resize(np.arange(-128, 128), n).astype(np.int8)
    expected = table[x.astype(np.int64) + 128]
    check("lut", [T(x, 0.1, 3), const(table)], [T(expected, 0.2, 1)], {}, [expected], (1, 2))
