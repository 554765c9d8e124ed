"""MSE: the least expected squared error, Δ²/12 for what is inside plus the squared distance of what is clipped; of the
values, or of what a function makes of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..histogram import Histogram
from ._support import Array, Range, cut, folded, settle


def method(
    h: Histogram, bits: int = 8, *, symmetric: bool = False, function: Callable[[Array], Array] | None = None
) -> Range:
    """OCTAV (Sakr et al. 2022, arXiv 2206.06501) finds the same minimum of |x| by Newton's method; here both bounds are
    searched at once over the histogram's edges, coarse to fine. Exact zeros cost nothing: they have their own code.

    function: whose error is meant, finite where values were seen: what it is flat for needs no codes. Not with
    symmetric.
    """
    edges, mass = h.edges, h.counts.astype(np.float64)
    if symmetric:
        mass, width = folded(h)
        edges = np.arange(len(mass) + 1, dtype=np.float64) * width
    weight = mass.copy()
    zero = int(np.searchsorted(edges, 0.0, side="right")) - 1
    if 0 <= zero < len(weight):
        weight[zero] -= h.zeros
    at, centre = edges, (edges[1:] + edges[:-1]) / 2
    if function is not None:
        at, centre = function(edges), function(centre)
        weight = weight * np.square(np.diff(at) / np.diff(edges))
    # Clipping error left of each edge, and right of it, from the moments of the bins beyond.
    left = _tail_error(at, centre, mass)
    right = _tail_error(at[::-1], centre[::-1], mass[::-1])[::-1]
    inside = np.concatenate([[0.0], np.cumsum(weight)])
    origin = int(np.clip(np.searchsorted(edges, 0.0), 0, len(edges) - 1))
    # Bounds are edges; nothing is to be gained beyond the outermost, nor on the far side of zero.
    lows = np.arange(origin + 1) if edges[0] < 0 else np.array([0])
    highs = np.arange(max(origin, 1), len(edges)) if edges[-1] > 0 else np.array([len(edges) - 1])

    def cost(i: NDArray, j: NDArray) -> Array:
        lo, hi = np.minimum(edges[i], 0)[:, None], np.maximum(edges[j], 0)[None]
        span = 2 * np.maximum(hi, -lo) if symmetric else hi - lo
        step = span / (2**bits - 1)
        return left[i][:, None] + right[j][None] + step * step / 12 * (inside[j][None] - inside[i][:, None])

    i, j = _search(cost, lows, highs)
    low, high = min(float(edges[i]), 0.0), max(float(edges[j]), 0.0)
    if symmetric:
        return settle(cut(high, h), True)
    return settle((max(low, h.low), min(high, h.high)), False)


def _tail_error(edges: Array, centre: Array, mass: Array) -> Array:
    """Σ (edge - x)² over the bins before each edge, values uniform within a bin. float64[len(edges)]."""
    width = np.diff(edges)

    def before(v: Array) -> Array:
        return np.concatenate([[0.0], np.cumsum(v)])

    m0, m1 = before(mass), before(mass * centre)
    m2 = before(mass * (centre * centre + width * width / 12))
    return np.maximum(m2 - 2 * edges * m1 + edges * edges * m0, 0.0)


def _search(cost: Callable[[NDArray, NDArray], Array], rows: NDArray, columns: NDArray) -> tuple[int, int]:
    """The pair of least cost, on a grid of up to 65 × 65 that closes in on its best cell."""
    while True:
        i = rows[np.unique(np.linspace(0, len(rows) - 1, 65).astype(int))]
        j = columns[np.unique(np.linspace(0, len(columns) - 1, 65).astype(int))]
        table = cost(i, j)
        a, b = np.unravel_index(int(table.argmin()), table.shape)
        if len(i) == len(rows) and len(j) == len(columns):
            return int(i[a]), int(j[b])
        rows = rows[(rows >= i[max(a - 2, 0)]) & (rows <= i[min(a + 2, len(i) - 1)])]
        columns = columns[(columns >= j[max(b - 2, 0)]) & (columns <= j[min(b + 2, len(j) - 1)])]
