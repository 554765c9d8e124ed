"""SYMKL: as KL, with KL(P ‖ Q) + KL(Q ‖ P) (Sophon's toolkit)."""

from __future__ import annotations

from ..histogram import Histogram
from ._divergence import kl, least_divergence
from ._support import Range


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    return least_divergence(h, bits, symmetric, lambda p, q: kl(p, q) + kl(q, p))
