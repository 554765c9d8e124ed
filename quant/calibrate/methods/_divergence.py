"""±T by the least divergence of the clipped histogram from its codes' (Migacz, GTC 2017; TensorRT)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..histogram import Histogram
from ._support import Array, Range, cut, folded, levels_bits, settle, without_zeros

_TINY = 1e-10  # stands for an empty bin's probability in a logarithm


def kl(p: Array, q: Array) -> Array:
    ratio = np.maximum(p, _TINY)
    ratio /= np.maximum(q, _TINY)
    np.log(ratio, out=ratio)
    ratio *= p
    return ratio.sum(axis=1)


def least_divergence(h: Histogram, bits: int, symmetric: bool, measure: Callable[[Array, Array], Array]) -> Range:
    """±T from the histogram of |x| without its exact zeros.

    For i bins: P is the first i with all the rest added to the last, Q the first i merged into as many levels as there
    are codes and spread again evenly over the bins that were not empty. T = (i + 0.5) bins for the i of the least
    divergence. Candidates are tried eight bins apart, then every one around the two best.
    """
    mass, width = folded(h)
    mass = without_zeros(mass, h)
    used = np.flatnonzero(mass)
    levels = 2 ** levels_bits(h, bits, symmetric) // 2
    if not len(used) or used[-1] + 1 <= levels:
        return settle((h.low, h.high), symmetric)
    mass = mass[: used[-1] + 1]

    def score(candidates: NDArray) -> Array:
        return np.concatenate(
            [measure(*_pair(mass, part, levels)) for part in np.array_split(candidates, -(-len(candidates) // 32))]
        )

    last = len(mass)
    coarse = np.unique(np.append(np.arange(levels, last, 8), last))
    scores = score(coarse)
    near = [np.arange(max(levels, c - 7), min(last, c + 7) + 1) for c in coarse[np.argsort(scores, kind="stable")[:2]]]
    fine = np.unique(np.concatenate(near))
    best = int(fine[int(score(fine).argmin())])
    # The last candidate clips nothing.
    return settle(cut((best + 0.5) * width if best < last else np.inf, h), symmetric)


def _pair(mass: Array, candidates: NDArray, levels: int) -> tuple[Array, Array]:
    """(P, Q) float64[len(candidates), largest candidate], each row a distribution, for that many first bins."""
    size = int(candidates.max())
    i = candidates[:, None]
    bin_at = np.arange(size)[None]
    inside = bin_at < i
    p = np.where(inside, mass[None, :size], 0.0)
    kept = p.sum(axis=1)
    q_mass = p.copy()
    p[np.arange(len(i)), candidates - 1] += mass.sum() - kept
    # Level k covers bins k * i / levels to (k + 1) * i / levels; a bin on a boundary is shared by its two sides.
    bounds = np.arange(levels + 1)[None] * i
    whole, part = np.divmod(bounds, levels)
    shared = part / levels

    def between(v: Array) -> Array:
        total = np.concatenate([[0.0], np.cumsum(v)])
        at = total[whole] + shared * np.append(v, 0.0)[whole]
        return np.diff(at, axis=1)

    full = mass[:size] if size < len(mass) else mass
    content, filled = between(full), between((full > 0).astype(np.float64))
    density = content / np.maximum(filled, 1e-30)
    first = bin_at * levels // i
    after = np.minimum((bin_at + 1) * levels // i, levels - 1)
    first = np.minimum(first, levels - 1)
    # The share of a bin that lies in its second level, if it has one.
    over = np.where(after > first, (bin_at + 1) - after * i / levels, 0.0)
    row = np.arange(len(i))[:, None]
    q = np.where(q_mass > 0, density[row, first] * (1 - over) + density[row, after] * over, 0.0)
    return p / p.sum(axis=1, keepdims=True), q / np.maximum(q.sum(axis=1, keepdims=True), 1e-30)
