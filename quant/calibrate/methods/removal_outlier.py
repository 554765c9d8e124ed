"""REMOVAL_OUTLIER: the 0.01 % and 99.99 % quantiles of each sample, averaged (MindSpore Lite 2.x)."""

from __future__ import annotations

import numpy as np

from ..histogram import Histogram
from ._support import Range, settle


def method(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    low, high = (np.asarray(v, np.float64) for v in (h.sample_tail_low, h.sample_tail_high))
    return settle((float(low.mean()), float(high.mean())), symmetric)
