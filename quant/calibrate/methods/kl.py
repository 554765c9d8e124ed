"""KL: the clip that keeps the histogram's information, KL(P ‖ Q) (Migacz, GTC 2017; TensorRT)."""

from __future__ import annotations

from ..histogram import Histogram
from ._divergence import kl, least_divergence
from ._support import Range


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    return least_divergence(h, bits, symmetric, kl)
