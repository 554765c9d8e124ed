"""Ranges of tables in codes by the rows that samples read of them.

A table, whose rows are looked up by index, has one scale. The few rows that every sample reads (the mark that a text
begins with) may lie far from all others: a range that is best for the table as a whole cuts them off, and one that
holds it whole leaves all rows few codes. So each row counts as often as it is read, and rows that were not read as
often as may be expected of other samples: as the share of rows read once (after Good, 1953).
"""

from __future__ import annotations

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam, code_range, dequantize, quantize
from ...converter.ops import row
from ..calibrate.spread import Sharded, observe_all
from ..cluster.pool import Workforce

Counts = tuple[np.ndarray, np.ndarray]
"""Rows, in order, and how often each was read, int64."""

_SHARES = np.linspace(1.0, 0.2, 33)  # of the range, tried in this order
_UNREAD = 4096  # rows that stand for those not read
_MOST = 8  # bits: with more the range is not what is lost


class RowCounts:
    """Per tensor of indices, how often each is there."""

    def __init__(self) -> None:
        self.of: dict[Tensor, Counts] = {}

    def look(self, x: np.ndarray) -> Counts:
        return np.unique(x.astype(np.int64), return_counts=True)

    def blank(self) -> RowCounts:
        return RowCounts()

    def fold(self, before: list[Counts], measured: Counts) -> None:
        before[:] = [_added(before[0], measured) if before else measured]

    def take(self, t: Tensor, measured: Counts) -> None:
        self.of[t] = _added(self.of[t], measured) if t in self.of else measured


def _added(a: Counts, b: Counts) -> Counts:
    rows, at = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    return rows, np.bincount(at, np.concatenate([a[1], b[1]]), len(rows)).astype(np.int64)


def tables(graph: Graph) -> dict[Node, Tensor]:
    """Node → indices, of those that look rows of a constant matrix up."""
    found: dict[Node, Tensor] = {}
    for node in graph.nodes:
        cell, indices = row(node.op).quant, node.input(1)
        if cell is None or cell.weights != (0,) or indices is None or indices.is_const or indices.dtype.kind != "i":
            continue
        if node.required(0).is_const and node.required(0).value.ndim == 2 and node.attrs.get("axis", 0) == 0:
            found[node] = indices
    return found


def count_rows(graph: Graph, samples: Sharded, workers: Workforce) -> RowCounts:
    """How often samples read each row of the graph's tables, per tensor of indices."""
    counts, wanted = RowCounts(), list(dict.fromkeys(tables(graph).values()))
    if wanted:
        observe_all(graph, samples, wanted, counts, workers)
    return counts


def fit_tables(source: Graph, graph: Graph, counts: RowCounts) -> None:
    """Gives tables in codes of one scale the range that their rows are nearest with, in place.

    graph: a copy of the float `source` with weights in codes. counts: of `source`.
    """
    forms = dict(zip(source.nodes, graph.nodes))
    for node, indices in tables(source).items():
        coded, real = forms[node].required(0), node.required(0).value
        quant = coded.quant
        if quant is None or quant.axis is not None or quant.bits > _MOST or coded.dtype.kind != "i" or not real.size:
            continue
        best = _nearest(real, quant, *_weighted(counts.of[indices], len(real)))
        coded.data, coded.quant = _codes(real, best), best


def _weighted(counts: Counts, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and what each counts, float64."""
    read, times = counts
    read = np.where(read < 0, read + rows, read)
    inside = (read >= 0) & (read < rows)
    read, times = read[inside], times[inside]
    others = np.arange(_UNREAD, dtype=np.int64) * rows // _UNREAD if rows > _UNREAD else np.arange(rows)
    once = float((times == 1).sum()) / max(float(times.sum()), 1.0)
    weights = np.concatenate([times * (1 - once) / max(times.sum(), 1), np.full(len(others), once / len(others))])
    return np.concatenate([read, others]), weights


def _nearest(real: np.ndarray, quant: QuantParam, rows: np.ndarray, weights: np.ndarray) -> QuantParam:
    """The parameters, of the same zero point, with which the rows are off least; the largest range wins ties."""
    zero = int(quant.zero_point[0])
    low, high = code_range(quant.bits, narrow=zero == 0)
    ends = ((float(real.min()), low - zero), (float(real.max()), high - zero))
    whole, wanted = max((end / steps for end, steps in ends if steps), default=0.0), real[rows]
    if not whole > 0:
        return quant
    best, least = quant, np.inf
    for share in _SHARES:
        scale = np.array([np.float32(whole * share)], np.float64)
        tried = QuantParam(scale, quant.zero_point, None, quant.bits)
        apart = dequantize(_codes(wanted, tried), tried) - wanted
        error = float((np.square(apart, dtype=np.float64).sum(axis=1) * weights).sum())
        if error < least:
            best, least = tried, error
    return best


def _codes(real: np.ndarray, quant: QuantParam) -> np.ndarray:
    return quantize(real, quant, narrow=not quant.zero_point.any(), half_away=True)
