"""TFLite's sparse constants: stored values and, level by level, where in the dense tensor they stand.

A tensor of rank n, cut into blocks along k axes, is walked as n + k nested loops in `traversal_order`: axes 0..n-1
count blocks (of size 1 where the axis is not cut), n.. count inside the blocks of axis `block_map[i]`. A DENSE level
runs over all of its `dense_size` entries; a SPARSE_CSR level, for the p-th place reached so far, over the entries
`array_indices[array_segments[p] : array_segments[p + 1]]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..ir.limits import TENSOR, size_of

_DENSE = 0


def places(sparsity: Any, shape: Sequence[int], stored: int) -> np.ndarray:
    """The flat index in a dense tensor of `shape` of each stored value, int64, each once.

    Args:
        sparsity: the SparsityParameters of the tensor. stored: the most values that its buffer may hold.
    Raises:
        ModelError: levels, blocks and indices do not belong to the shape, or the dense tensor is too large.
    """
    if size_of(shape, 1) > TENSOR:
        raise ModelError(f"a sparse tensor of shape {list(shape)} is larger than {TENSOR >> 20} MB")
    rank, levels = len(shape), list(sparsity.dim_metadata or [])
    order, cut = _ints(sparsity.traversal_order), _ints(sparsity.block_map)
    if sorted(order) != list(range(rank + len(cut))) or len(levels) != len(order):
        raise ModelError(
            f"a sparse tensor of {rank} axes and {len(cut)} blocked ones has traversal order {order} "
            f"and {len(levels)} levels"
        )
    if len(set(cut)) != len(cut) or any(not 0 <= axis < rank for axis in cut):
        raise ModelError(f"its blocks lie along axes {cut} of {rank}")
    sizes = _sizes(levels, order, shape, cut)
    index, place = [np.zeros(1, np.int64) for _ in order], np.zeros(1, np.int64)
    # Every place is a value, or leads to a segment of a later level.
    most = max(stored, *(len(_vector(level.array_segments)) for level in levels), 1)
    for depth, (axis, level) in enumerate(zip(order, levels)):
        parent, entry, place = _level(level, place, sizes[axis], most)
        for reached in order[:depth]:
            index[reached] = index[reached][parent]
        index[axis] = entry
    flat = np.zeros(len(place), np.int64)
    for axis, size in enumerate(shape):
        at = index[axis]
        if axis in cut:
            inner = rank + cut.index(axis)
            at = at * sizes[inner] + index[inner]
        flat = flat * size + at
    if len(np.unique(flat)) != len(flat):
        raise ModelError("a place of the sparse tensor is stored twice")
    return flat


def densify(values: np.ndarray, at: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The dense tensor: zeros, and values[i] at the flat index at[i]."""
    dense = np.zeros(size_of(shape, 1), values.dtype)
    dense[at] = values
    return dense.reshape(shape)


def _sizes(levels: Sequence[Any], order: Sequence[int], shape: Sequence[int], cut: Sequence[int]) -> list[int]:
    """How many entries each axis of the nested loops has: the blocks of each axis, then the sizes of the blocks."""
    rank = len(shape)
    # The sizes of blocks stand in the levels that run inside them, which are dense.
    inside = {axis - rank: int(level.dense_size) for axis, level in zip(order, levels) if axis >= rank}
    sizes = list(shape)
    for i, axis in enumerate(cut):
        if inside[i] < 1 or shape[axis] % inside[i]:
            raise ModelError(f"blocks of {inside[i]} do not fit axis {axis} of {list(shape)}")
        sizes[axis] = shape[axis] // inside[i]
    return sizes + [inside[i] for i in range(len(cut))]


def _level(level: Any, place: np.ndarray, size: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One loop deeper: for each new place the old one that it belongs to, its entry on the axis, and its number."""
    if level.format == _DENSE:
        if level.dense_size != size:
            raise ModelError(f"a dense level of {level.dense_size} entries runs over an axis of {size}")
        if len(place) * size > most:
            raise ModelError("its levels reach more places than it has values")
        parent = np.repeat(np.arange(len(place)), size)
        entry = np.tile(np.arange(size, dtype=np.int64), len(place))
        return parent, entry, place[parent] * size + entry
    segments, entries = _vector(level.array_segments), _vector(level.array_indices)
    last = place.max(initial=-2) + 1
    if len(segments) <= last:
        raise ModelError(f"a sparse level has {len(segments)} segment bounds, and place {last - 1} is reached")
    if (np.diff(segments) < 0).any() or segments.min(initial=0) < 0 or segments.max(initial=0) > len(entries):
        raise ModelError(f"the segments of a sparse level do not rise from 0 to its {len(entries)} indices")
    if entries.min(initial=0) < 0 or entries.max(initial=-1) >= size:
        raise ModelError(f"an index of a sparse level is outside 0..{size - 1}")
    first, many = segments[place], segments[place + 1] - segments[place]
    parent = np.repeat(np.arange(len(place)), many)
    number = np.arange(len(parent)) - np.repeat(np.cumsum(many) - many, many) + first[parent]
    return parent, entries[number], number


def _ints(values: Any) -> list[int]:
    return [] if values is None else [int(v) for v in values]


def _vector(stored: Any) -> np.ndarray:
    """An Int32Vector, Uint16Vector or Uint8Vector."""
    values = None if stored is None else stored.get("values")
    return np.zeros(0, np.int64) if values is None else np.asarray(values, np.int64)
