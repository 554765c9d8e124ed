"""What the methods share: the histogram of |x|, and ranges that hold 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..histogram import Histogram

Range = tuple[float, float]
Array = NDArray[np.float64]


def folded(h: Histogram) -> tuple[Array, float]:
    """The histogram of |x| from bin 0, float64, and the width of its bins: as many as h may have at most, for values
    far from zero lie in bins much finer than their distance."""
    index = np.arange(h.base, h.base + len(h.counts))
    index = np.where(index < 0, -1 - index, index)
    shift = max(0, int(index.max()).bit_length() - h.bins.bit_length() + 1)
    mass = np.bincount(index >> shift, weights=h.counts.astype(np.float64)).astype(np.float64, copy=False)
    return mass, float(h.width * 2**shift)


def without_zeros(mass: Array, h: Histogram) -> Array:
    mass = mass.copy()
    mass[0] -= h.zeros
    return mass


def levels_bits(h: Histogram, bits: int, symmetric: bool) -> int:
    """Bits of the symmetric code that is as fine over |x|: one more when all codes serve one side."""
    one_sided = (h.low >= 0 or h.high <= 0) and not symmetric
    return bits + int(one_sided)


def cut(t: float, h: Histogram) -> Range:
    return max(-t, h.low), min(t, h.high)


def settle(bounds: Range, symmetric: bool) -> Range:
    """The range with 0 in it, and symmetric about it if it must be."""
    low, high = min(float(bounds[0]), 0.0), max(float(bounds[1]), 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    return low, high
