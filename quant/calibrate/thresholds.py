"""Ranges for activations: pure functions histogram → (lo, hi), one a method.

Each takes the statistics of a tensor, the bits of its codes, and whether the codes must be symmetric about zero; the
range returned always holds 0. A tensor without negative values has all codes for [0, hi]; a two-sided one is clipped on
each side where that side's tail asks for it (MSE, PERCENTILE, REMOVAL_OUTLIER), or at ±T cut to min..max by the methods
that are defined on |x| (KL, SYMKL, JSD, ADMM, ACIQ).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import erfc, exp, log, pi, sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .histogram import Histogram

Range = tuple[float, float]
Array = NDArray[np.float64]


class Threshold(Protocol):
    """A row of THRESHOLDS."""

    def __call__(self, h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range: ...


def choose(name: str, h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """The range by the method of that name ("PERCENTILE:99.9" takes its value after the colon), or as set by hand.

    A tensor of which nothing was seen gets (0, 0). Raises KeyError for a name that is not in THRESHOLDS.
    """
    if h.fixed is not None:
        return _settle(h.fixed, symmetric)
    if not len(h.counts):
        return 0.0, 0.0
    if name.startswith("PERCENTILE:"):
        return percentile(h, bits, symmetric=symmetric, percent=float(name.partition(":")[2]))
    return THRESHOLDS[name](h, bits, symmetric=symmetric)


def max_min(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """MAX_MIN: everything seen."""
    return _settle((h.low, h.high), symmetric)


def percentile(h: Histogram, bits: int = 8, *, symmetric: bool = False, percent: float = 99.99) -> Range:
    """PERCENTILE: what leaves (100 - percent) % above and as much below; symmetric: of |x|."""
    p = percent / 100
    if symmetric:
        mass, width = _folded(h)
        total = np.cumsum(mass)
        i = min(int(np.searchsorted(total, p * total[-1])), len(mass) - 1)
        inside = (p * total[-1] - (total[i] - mass[i])) / mass[i] if mass[i] else 0.0
        return _settle(_cut((i + inside) * width, h), True)
    return _settle((h.quantile(1 - p), h.quantile(p)), False)


def removal_outlier(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """REMOVAL_OUTLIER: the 0.01 % and 99.99 % quantiles of each sample, averaged (MindSpore Lite 2.x)."""
    low, high = (np.asarray(v, np.float64) for v in (h.sample_tail_low, h.sample_tail_high))
    return _settle((float(low.mean()), float(high.mean())), symmetric)


def removal_outlier_r1(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """RemovalOutlier of MindSpore Lite 1.x: the 10 % percentile of the samples' minima, the 90 % one of their maxima.

    The widening search that follows there gives up at its first element, whose share of the list is zero.
    """
    low = _list_percentile(np.sort(np.asarray(h.sample_low, np.float64)), 10)
    high = _list_percentile(np.sort(np.asarray(h.sample_high, np.float64)), 90)
    return _settle((low, high), symmetric)


def _list_percentile(values: Array, percent: int) -> float:
    rank = percent * len(values) / 100
    i = int(np.ceil(rank))
    return float(values[i - 1] if i > rank or i >= len(values) else (values[i - 1] + values[i]) / 2)


def mse(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """MSE: the least expected squared error, Δ²/12 for what is inside plus the squared distance of what is clipped.

    OCTAV (Sakr et al. 2022, arXiv 2206.06501) finds the same minimum of |x| by Newton's method; here both bounds are
    searched at once over the histogram's edges, coarse to fine. Exact zeros cost nothing: they have their own code.
    """
    edges, mass = h.edges, h.counts.astype(np.float64)
    if symmetric:
        mass, width = _folded(h)
        edges = np.arange(len(mass) + 1, dtype=np.float64) * width
    weight = mass.copy()
    zero = int(np.searchsorted(edges, 0.0, side="right")) - 1
    if 0 <= zero < len(weight):
        weight[zero] -= h.zeros
    # Clipping error left of each edge, and right of it, from the moments of the bins beyond.
    left = _tail_error(edges, mass)
    right = _tail_error(-edges[::-1], mass[::-1])[::-1]
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
        return _settle(_cut(high, h), True)
    return _settle((max(low, h.low), min(high, h.high)), False)


def _tail_error(edges: Array, mass: Array) -> Array:
    """Σ (edge - x)² over the bins left of each edge, values uniform within a bin. float64[len(edges)]."""
    centre = (edges[1:] + edges[:-1]) / 2
    width = edges[1] - edges[0]

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


def octav(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """OCTAV: the Newton iteration of Sakr et al. 2022, eq. (6), on the histogram of |x|; ±T."""
    mass, width = _folded(h)
    x = (np.arange(len(mass)) + 0.5) * width
    mass = _without_zeros(mass, h)
    penalty = 4.0 ** -_levels_bits(h, bits, symmetric) / 3
    t = float((mass * x).sum() / max(mass.sum(), 1.0))
    for _ in range(100):
        above = x > t
        tail = mass[above].sum()
        new = float((mass[above] * x[above]).sum() / max(penalty * (mass.sum() - tail) + tail, 1e-30))
        if abs(new - t) <= 1e-9 * t:
            break
        t = new
    return _settle(_cut(t, h), symmetric)


def kl(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """KL: the clip that keeps the histogram's information, KL(P ‖ Q) (Migacz, GTC 2017; TensorRT)."""
    return _divergence(h, bits, symmetric, _kl)


def symkl(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """SYMKL: as KL, with KL(P ‖ Q) + KL(Q ‖ P) (Sophon's toolkit)."""
    return _divergence(h, bits, symmetric, lambda p, q: _kl(p, q) + _kl(q, p))


def jsd(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """JSD: as KL, with the Jensen-Shannon divergence, which needs no smoothing and is at most ln 2."""

    def divergence(p: Array, q: Array) -> Array:
        m = (p + q) / 2
        return (_kl(p, m) + _kl(q, m)) / 2

    return _divergence(h, bits, symmetric, divergence)


_TINY = 1e-10  # stands for an empty bin's probability in a logarithm


def _kl(p: Array, q: Array) -> Array:
    ratio = np.maximum(p, _TINY)
    ratio /= np.maximum(q, _TINY)
    np.log(ratio, out=ratio)
    ratio *= p
    return ratio.sum(axis=1)


def _divergence(h: Histogram, bits: int, symmetric: bool, measure: Callable[[Array, Array], Array]) -> Range:
    """±T from the histogram of |x| without its exact zeros.

    For i bins: P is the first i with all the rest added to the last, Q the first i merged into as many levels as there
    are codes and spread again evenly over the bins that were not empty. T = (i + 0.5) bins for the i of the least
    divergence. Candidates are tried eight bins apart, then every one around the two best.
    """
    mass, width = _folded(h)
    mass = _without_zeros(mass, h)
    used = np.flatnonzero(mass)
    levels = 2 ** _levels_bits(h, bits, symmetric) // 2
    if not len(used) or used[-1] + 1 <= levels:
        return max_min(h, bits, symmetric=symmetric)
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
    return _settle(_cut((best + 0.5) * width if best < last else np.inf, h), symmetric)


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


def admm(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """ADMM: alternate rounding q = round(x / α) and α = Σxq / Σq² (Leng et al. 2018; MNN).

    It stalls near where it starts, so it starts from ten places in 0.3..1 of the maximum and the best is kept.
    """
    mass, width = _folded(h)
    x = (np.arange(len(mass)) + 0.5) * width
    mass = _without_zeros(mass, h)
    top = max(abs(h.low), abs(h.high))
    codes = 2 ** _levels_bits(h, bits, symmetric) // 2 - 1
    if top == 0 or codes < 1:
        return max_min(h, bits, symmetric=symmetric)
    alpha = np.linspace(0.3, 1.0, 10)[:, None] * top / codes
    for _ in range(30):
        q = np.minimum(np.rint(x / alpha), codes) * mass
        square = (q * np.minimum(np.rint(x / alpha), codes)).sum(axis=1, keepdims=True)
        new = np.where(square > 0, (x * q).sum(axis=1, keepdims=True) / np.maximum(square, 1e-30), alpha)
        if np.abs(new - alpha).max() <= 1e-7 * top / codes:
            break
        alpha = new
    error = (mass * np.square(np.minimum(np.rint(x / alpha), codes) * alpha - x)).sum(axis=1)
    return _settle(_cut(float(alpha[int(error.argmin()), 0]) * codes, h), symmetric)


def aciq(h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """ACIQ: the clip that is best for a Gaussian or a Laplacian, whichever the tensor resembles (Banner et al. 2019).

    Of a one-sided tensor the values above zero are taken as half of a symmetric distribution.
    """
    mass, width = _folded(h)
    x = (np.arange(len(mass)) + 0.5) * width
    mass = _without_zeros(mass, h)
    count = mass.sum()
    if not count:
        return max_min(h, bits, symmetric=symmetric)
    mean, square = float((mass * x).sum() / count), float((mass * x * x).sum() / count)
    # E|x| / σ is 0.798 for a Gaussian and 0.707 for a Laplacian.
    gaussian = mean / max(np.sqrt(square), 1e-300) > (np.sqrt(2 / np.pi) + np.sqrt(0.5)) / 2
    effective = _levels_bits(h, bits, symmetric)
    t = gauss_factor(effective) * np.sqrt(square) if gaussian else laplace_factor(effective) * mean
    return _settle(_cut(float(t), h), symmetric)


@cache
def laplace_factor(bits: int) -> float:
    """The best clip of a Laplacian in units of E|x|: W(3 * 4^bits), by Newton's method on w e^w."""
    target = 3 * 4.0**bits
    w = log(target)
    for _ in range(50):
        w -= (w * exp(w) - target) / (exp(w) * (w + 1))
    return w


@cache
def gauss_factor(bits: int) -> float:
    """The best clip of a Gaussian in units of σ: the a where (1+a²)(1-erf(a/√2)) - √(2/π) a e^(-a²/2) + a²/(3·4^bits),
    its squared error, is least, found by bisecting the derivative."""

    def slope(a: float) -> float:
        return 2 * a * erfc(a / sqrt(2)) - 2 * sqrt(2 / pi) * exp(-a * a / 2) + 2 * a / (3 * 4.0**bits)

    low, high = 0.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return low


def _folded(h: Histogram) -> tuple[Array, float]:
    """The histogram of |x| from bin 0, float64, and the width of its bins: as many as h may have at most, for values
    far from zero lie in bins much finer than their distance."""
    index = np.arange(h.base, h.base + len(h.counts))
    index = np.where(index < 0, -1 - index, index)
    shift = max(0, int(index.max()).bit_length() - h.bins.bit_length() + 1)
    mass = np.bincount(index >> shift, weights=h.counts.astype(np.float64)).astype(np.float64, copy=False)
    return mass, float(h.width * 2**shift)


def _without_zeros(mass: Array, h: Histogram) -> Array:
    mass = mass.copy()
    mass[0] -= h.zeros
    return mass


def _levels_bits(h: Histogram, bits: int, symmetric: bool) -> int:
    """Bits of the symmetric code that is as fine over |x|: one more when all codes serve one side."""
    one_sided = (h.low >= 0 or h.high <= 0) and not symmetric
    return bits + int(one_sided)


def _cut(t: float, h: Histogram) -> Range:
    return max(-t, h.low), min(t, h.high)


def _settle(bounds: Range, symmetric: bool) -> Range:
    """The range with 0 in it, and symmetric about it if it must be."""
    low, high = min(float(bounds[0]), 0.0), max(float(bounds[1]), 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    return low, high


THRESHOLDS: dict[str, Threshold] = {
    "MAX_MIN": max_min,
    "KL": kl,
    "REMOVAL_OUTLIER": removal_outlier,
    "REMOVAL_OUTLIER_R1": removal_outlier_r1,
    "PERCENTILE": percentile,
    "MSE": mse,
    "OCTAV": octav,
    "SYMKL": symkl,
    "JSD": jsd,
    "ADMM": admm,
    "ACIQ": aciq,
}
