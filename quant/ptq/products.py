"""Products of the rows that reach a layer, and what is solved with them: native, in one order of sums, so the same bits
on every instruction set, for any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")
ChannelProducts = tuple[np.ndarray, np.ndarray, int]
"""Within each channel, int32 [C, taps, taps] and the sums int32 [C, taps], of so many rows."""


def gram(x: np.ndarray, threads: int) -> np.ndarray:
    """The centred product of int16 [rows, K], float64 [1, K, K]."""
    from ... import _native

    out = np.empty((x.shape[1], x.shape[1]))
    each_part(range(threads), lambda part: _native.gram(x, out, part, threads))
    return out[None]


def cross(x: np.ndarray, y: np.ndarray, threads: int) -> np.ndarray:
    """The product x'y of int16 [rows, K], both centred, float64 [1, K, K]."""
    from ... import _native

    out = np.empty((x.shape[1], x.shape[1]))
    each_part(range(threads), lambda part: _native.cross(x, y, out, part, threads))
    return out[None]


def each_part(parts: Sequence[T], one: Callable[[T], None]) -> None:
    """one(part) of each of the parts, on a thread of its own where there are several."""
    if len(parts) < 2:
        for part in parts:
            one(part)
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(one, parts))


def products_by_channel(x: np.ndarray) -> ChannelProducts:
    """Those of int16 [rows, taps, C]."""
    from ... import _native

    rows, taps, channels = x.shape
    products, sums = np.zeros((channels, taps, taps), np.int32), np.zeros((channels, taps), np.int32)
    _native.gram_by_channel(x, products, sums)
    return products, sums, rows


def add_products(before: list[ChannelProducts], found: ChannelProducts) -> None:
    """Adds up products by channel, which integers do in any order."""
    if before:
        products, sums, rows = before.pop()
        found = products + found[0], sums + found[1], rows + found[2]
    before.append(found)


def gram_by_channel(parts: Iterable[ChannelProducts]) -> np.ndarray:
    """The centred product within each channel of the rows of all parts, float64 [C, taps, taps]."""
    before: list[ChannelProducts] = []
    for part in parts:
        add_products(before, part)
    products, sums, rows = before[0]
    total = sums.astype(np.float64)
    return products - total[:, :, None] * (total[:, None, :] / rows)


def damp(matrix: np.ndarray, ridge: float) -> None:
    """Adds the ridge, a share of the mean of its diagonal, to each of [batch, K, K], in place: a diagonal above 0."""
    diagonal = np.einsum("bkk->bk", matrix)
    diagonal += ridge * diagonal.mean(axis=1, keepdims=True) + 1e-9


def factored(matrix: np.ndarray, ridge: float = 0.01) -> np.ndarray:
    """The Cholesky factors of [batch, K, K], with as much more of a ridge as it takes for them to be there."""
    from ... import _native

    more = 0.0
    while True:
        factor = matrix.copy()
        if more:
            damp(factor, more)
        # Beyond K times its mean diagonal any finite one is positive definite.
        if _native.factor(factor) or more > matrix.shape[1]:
            return factor
        more = max(10 * more, ridge)


def by_columns(function: Callable[..., None], matrix: np.ndarray, real: np.ndarray, threads: int) -> np.ndarray:
    """What a native function of columns makes of `real` [batch, K, O] with matrices [batch, K, K]."""
    out = np.empty_like(real)
    each_part(column_parts(real.shape[2], threads), lambda part: function(matrix, real, out, *part))
    return out


def column_parts(columns: int, threads: int) -> list[tuple[int, int]]:
    """Columns from and to, of what each thread takes."""
    share = -(-columns // (32 * threads)) * 32  # what a kernel takes at once is 32 or less
    return [(begin, min(begin + share, columns)) for begin in range(0, columns, share)]
