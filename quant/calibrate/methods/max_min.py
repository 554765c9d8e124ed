"""MAX_MIN: everything seen."""

from __future__ import annotations

from ..histogram import Histogram
from ._support import Range, settle


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    return settle((h.low, h.high), symmetric)
