"""ADMM: alternate rounding q = round(x / α) and α = Σxq / Σq² (Leng et al. 2018; MNN)."""

from __future__ import annotations

import numpy as np

from ..histogram import Histogram
from ._support import Range, cut, folded, levels_bits, settle, without_zeros


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """It stalls near where it starts, so it starts from ten places in 0.3..1 of the maximum and the best is kept."""
    mass, width = folded(h)
    x = (np.arange(len(mass)) + 0.5) * width
    mass = without_zeros(mass, h)
    top = max(abs(h.low), abs(h.high))
    codes = 2 ** levels_bits(h, bits, symmetric) // 2 - 1
    if top == 0 or codes < 1:
        return settle((h.low, h.high), symmetric)
    alpha = np.linspace(0.3, 1.0, 10)[:, None] * top / codes
    for _ in range(30):
        q = np.minimum(np.rint(x / alpha), codes) * mass
        square = (q * np.minimum(np.rint(x / alpha), codes)).sum(axis=1, keepdims=True)
        new = np.where(square > 0, (x * q).sum(axis=1, keepdims=True) / np.maximum(square, 1e-30), alpha)
        if np.abs(new - alpha).max() <= 1e-7 * top / codes:
            break
        alpha = new
    error = (mass * np.square(np.minimum(np.rint(x / alpha), codes) * alpha - x)).sum(axis=1)
    return settle(cut(float(alpha[int(error.argmin()), 0]) * codes, h), symmetric)
