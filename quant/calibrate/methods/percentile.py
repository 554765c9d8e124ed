"""PERCENTILE: what leaves (100 - percent) % above and as much below; symmetric: of |x|."""

from __future__ import annotations

import numpy as np

from ..histogram import Histogram
from ._support import Range, cut, folded, settle


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False, percent: float = 99.99) -> Range:
    p = percent / 100
    if symmetric:
        mass, width = folded(h)
        total = np.cumsum(mass)
        i = min(int(np.searchsorted(total, p * total[-1])), len(mass) - 1)
        inside = (p * total[-1] - (total[i] - mass[i])) / mass[i] if mass[i] else 0.0
        return settle(cut((i + inside) * width, h), True)
    return settle((h.quantile(1 - p), h.quantile(p)), False)
