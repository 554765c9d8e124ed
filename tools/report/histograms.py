"""What calibration saw of each tensor in codes, with the range of every threshold method beside the one taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...quant.calibrate import methods
from ...quant.calibrate.histogram import Histogram
from ...quant.calibrate.thresholds import choose
from .nodes import Row

if TYPE_CHECKING:
    from ...quant.ptq.result import Result

BINS = 64


def add_histograms(rows: Sequence[Row], result: Result) -> None:
    """Puts `histogram` on each row whose output is in codes: low and width of its bins, counts, ranges (method → low
    and high), the range taken and the method that gave it."""
    params = {t.name: (q, result.groups.of.get(t)) for t, q in result.quantized.quantized_of.items()}
    for row in rows:
        h, (codes, group) = result.statistics.histograms.get(row["output"]), params.get(row["output"], (None, None))
        if h is None or codes is None or codes.quant is None or not len(h.counts):
            continue
        scale, zero = float(codes.quant.scale[0]), int(codes.quant.zero_point[0])
        low, width, counts = _coarse(h)
        row["histogram"] = {
            "low": low,
            "width": width,
            "counts": counts,
            "ranges": {name: _pair(*choose(name, h)) for name in methods.names()},
            "range": _pair((-128 - zero) * scale, (127 - zero) * scale),
            "method": "" if group is None else result.methods.get(group.name, ""),
        }


def _coarse(h: Histogram) -> tuple[float, float, list[int]]:
    """The histogram in at most 64 bins."""
    step = -(-len(h.counts) // BINS)
    counts = np.add.reduceat(h.counts, np.arange(0, len(h.counts), step))
    return float(h.edges[0]), h.width * step, counts.tolist()


def _pair(low: float, high: float) -> list[float]:
    return [float(f"{low:.5g}"), float(f"{high:.5g}")]
