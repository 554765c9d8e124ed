"""ACIQ: the clip that is best for a Gaussian or a Laplacian, whichever the tensor resembles (Banner et al. 2019)."""

from __future__ import annotations

from functools import cache
from math import erfc, exp, log, pi, sqrt

import numpy as np

from ..histogram import Histogram
from ._support import Range, cut, folded, levels_bits, settle, without_zeros


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """Of a one-sided tensor the values above zero are taken as half of a symmetric distribution."""
    mass, width = folded(h)
    x = (np.arange(len(mass)) + 0.5) * width
    mass = without_zeros(mass, h)
    count = mass.sum()
    if not count:
        return settle((h.low, h.high), symmetric)
    mean, square = float((mass * x).sum() / count), float((mass * x * x).sum() / count)
    # E|x| / σ is 0.798 for a Gaussian and 0.707 for a Laplacian.
    gaussian = mean / max(np.sqrt(square), 1e-300) > (np.sqrt(2 / np.pi) + np.sqrt(0.5)) / 2
    effective = levels_bits(h, bits, symmetric)
    t = gauss_factor(effective) * np.sqrt(square) if gaussian else laplace_factor(effective) * mean
    return settle(cut(float(t), h), symmetric)


@cache
def laplace_factor(bits: int) -> float:
    """The best clip of a Laplacian in units of E|x|: W(3 * 4^bits), by Newton's method on w e^w."""
    target = 3 * 4.0**bits
    w = log(target)
    for _ in range(50):
        w -= (w * exp(w) - target) / (exp(w) * (w + 1))
    return w


@cache
def gauss_factor(bits: int) -> float:
    """The best clip of a Gaussian in units of σ: the a where (1+a²)(1-erf(a/√2)) - √(2/π) a e^(-a²/2) + a²/(3·4^bits),
    its squared error, is least, found by bisecting the derivative."""

    def slope(a: float) -> float:
        return 2 * a * erfc(a / sqrt(2)) - 2 * sqrt(2 / pi) * exp(-a * a / 2) + 2 * a / (3 * 4.0**bits)

    low, high = 0.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return low
