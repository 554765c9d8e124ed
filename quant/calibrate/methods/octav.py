"""OCTAV: the Newton iteration of Sakr et al. 2022, eq. (6), on the histogram of |x|; ±T."""

from __future__ import annotations

import numpy as np

from ..histogram import Histogram
from ._support import Range, cut, folded, levels_bits, settle, without_zeros


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    mass, width = folded(h)
    x = (np.arange(len(mass)) + 0.5) * width
    mass = without_zeros(mass, h)
    penalty = 4.0 ** -levels_bits(h, bits, symmetric) / 3
    t = float((mass * x).sum() / max(mass.sum(), 1.0))
    for _ in range(100):
        above = x > t
        tail = mass[above].sum()
        new = float((mass[above] * x[above]).sum() / max(penalty * (mass.sum() - tail) + tail, 1e-30))
        if abs(new - t) <= 1e-9 * t:
            break
        t = new
    return settle(cut(t, h), symmetric)
