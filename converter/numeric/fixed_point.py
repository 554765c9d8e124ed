"""Sigmoid and tanh of 16-bit fixed-point numbers, as gemmlowp computes them and TFLite's integer LSTM uses them.

A number with b integer bits stands for code / 2^(15 - b). Source: gemmlowp, fixedpoint/fixedpoint.h (Jacob and Warden).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
_LOW, _HIGH = -32768, 32767
# exp(-2^k) in Q0.31, of k = -2 … 4
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_EXP_EIGHTH, _THIRD = 1895147668, 715827883  # exp(-1/8) and 1/3 in Q0.31
_48_17, _32_17 = 1515870810, -1010580540  # 48/17 and -32/17 in Q2.29


def sigmoid_codes(x: NDArray[np.integer], bits: int) -> Codes:
    """Codes with no integer bits of the sigmoid of x, codes with `bits` integer bits, int16 both."""
    return _table("sigmoid", bits)[np.asarray(x, np.int64) - _LOW]


def tanh_codes(x: NDArray[np.integer], bits: int) -> Codes:
    """Codes with no integer bits of the hyperbolic tangent of x, codes with `bits` integer bits, int16 both."""
    return _table("tanh", bits)[np.asarray(x, np.int64) - _LOW]


@functools.lru_cache(maxsize=32)
def _table(name: str, bits: int) -> Codes:
    x = np.arange(_LOW, _HIGH + 1)
    if name == "sigmoid":
        upper = _quotient(_exp(_word(-np.abs(x)), bits), 0)
        y = np.where(x > 0, upper, _HIGH - upper)
        return np.where(x == 0, 1 << 14, y)
    # -|x|; the most negative code is its own opposite there
    y = _quotient(_exp(-np.abs(x), bits + 1), 1)
    return np.where(x == 0, 0, np.where(x < 0, -y, y))


def _word(x: Codes) -> Codes:
    return np.clip(x, _LOW, _HIGH)


def _constant(q31: int) -> int:
    """A constant of 32 bits in 16, rounded."""
    return int(_halved(np.asarray(q31, np.int64), 16))


def _halved(x: Codes, times: int) -> Codes:
    """x / 2^times, rounded to nearest, halves away from zero."""
    rest, limit = x & ((1 << times) - 1), (((1 << times) - 1) >> 1) + (x < 0)
    return (x >> times) + (rest > limit)


def _times(a: Codes | int, b: Codes | int) -> Codes:
    """The product of two fractions: (2ab + 2^15) / 2^16, saturated, halves away from zero."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(np.sign(nudged) * (np.abs(nudged) >> 15), _HIGH)


def _exp(a: Codes, bits: int) -> Codes:
    """exp of a ≤ 0 with `bits` integer bits, with none: a series on [-1/4, 0), then a product for each power of two."""
    fraction = 15 - bits
    quarter = 1 << (fraction - 2)
    rest = (a & (quarter - 1)) - quarter
    x = _word(rest << bits) + (1 << 12)  # about -1/8
    x2 = _times(x, x)
    x3, x4 = _times(x2, x), _times(x2, x2)
    tail = _halved(_times(_halved(x4, 2) + x3, _constant(_THIRD)) + x2, 1)
    centre = _constant(_EXP_EIGHTH)
    y = _word(centre + _times(centre, x + tail))
    left = rest - a
    for k, power in enumerate(_POWERS, -2):
        if bits > k:
            y = np.where(left & (1 << (fraction + k)), _times(y, _constant(power)), y)
    if bits > 5:
        y = np.where(a < -(1 << (20 - bits)), 0, y)
    return np.where(a == 0, _HIGH, y)


def _quotient(a: Codes, of: int) -> Codes:
    """1 / (1 + a), or with of=1 (1 - a) / (1 + a), of a fraction a in 0..1: Newton and Raphson in two integer bits."""
    half = a + _HIGH  # (1 + a) / 2, rounded
    half = (half + np.where(half >= 0, 1, -1)) // 2
    one = 1 << 13
    x = _constant(_48_17) + _times(half, _constant(_32_17))
    for _ in range(3):
        x = x + _word(_times(x, one - _times(half, x)) << 2)
    return _word(((x - one) << 2) if of else (x << 1))
