"""RemovalOutlier of MindSpore Lite 1.x: the 10 % percentile of the samples' minima, the 90 % one of their maxima."""

from __future__ import annotations

import numpy as np

from ..histogram import Histogram
from ._support import Array, Range, settle


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """The widening search that follows there gives up at its first element, whose share of the list is zero."""
    low = _list_percentile(np.sort(np.asarray(h.sample_low, np.float64)), 10)
    high = _list_percentile(np.sort(np.asarray(h.sample_high, np.float64)), 90)
    return settle((low, high), symmetric)


def _list_percentile(values: Array, percent: int) -> float:
    rank = percent * len(values) / 100
    i = int(np.ceil(rank))
    return float(values[i - 1] if i > rank or i >= len(values) else (values[i - 1] + values[i]) / 2)
