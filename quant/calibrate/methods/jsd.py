"""JSD: as KL, with the Jensen-Shannon divergence, which needs no smoothing and is at most ln 2."""

from __future__ import annotations

from ..histogram import Histogram
from ._divergence import kl, least_divergence
from ._support import Array, Range


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:

    def divergence(p: Array, q: Array) -> Array:
        m = (p + q) / 2
        return (kl(p, m) + kl(q, m)) / 2

    return least_divergence(h, bits, symmetric, divergence)
