"""Which parameter each constant of a graph comes from, element by element.

The graph is read three times: with the real values, and twice with values that number the elements of all parameters,
modulo two coprime numbers that float32 holds. What comes out of the passes as a number in both names its element; the
real values must agree, bit for bit, or the constant is not merely moved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from ..converter.ir import Graph, Tensor
from .sources import Fixed, Moved, Source

_MODULI = (8388593, 8388587)
"""Two primes below 2^23, so that every residue is exact in float32 and none repeats within a parameter of that size."""

Read = Callable[[Mapping[str, np.ndarray]], Graph]


def traced(
    read: Read, sources: Mapping[str, Source], values: Mapping[str, np.ndarray]
) -> tuple[Graph, dict[str, Source], list[str]]:
    """The graph of the real values, its constants' sources by name, and the names of those that are neither constant
    nor a parameter's elements in another order."""
    marked = {n: a for n, a in values.items() if a.dtype == np.float32 and not isinstance(sources[n], Fixed) and a.size}
    first, numbers = 1, list[tuple[int, str]]()
    for name, array in marked.items():
        numbers.append((first, name))
        first += array.size
    twins = [read({**values, **_numbered(numbers, marked, modulus)}) for modulus in _MODULI]
    graph = read(values)
    a, b = ({t.name: t for t in twin.constants()} for twin in twins)
    joined = np.concatenate([np.zeros(1, np.float32), *(marked[name].reshape(-1) for _, name in numbers)])
    constants: dict[str, Source] = {}
    free: list[str] = []
    for t in graph.constants():
        if t.dtype != np.float32 or not t.value.size:
            continue
        found = _elements(t, a.get(t.name), b.get(t.name), len(joined))
        if found is None:
            constants[t.name] = Fixed(t.value)
            if not _alike(t, a.get(t.name)):
                free.append(t.name)
        elif not np.array_equal(joined[found].view(np.int32), t.value.view(np.int32)):
            constants[t.name] = Fixed(t.value)
            free.append(t.name)
        else:
            constants[t.name] = _moved(found, numbers, marked, sources)
    return graph, constants, free


def _numbered(numbers: list[tuple[int, str]], marked: Mapping[str, np.ndarray], modulus: int) -> dict[str, np.ndarray]:
    return {
        name: ((np.arange(start, start + marked[name].size, dtype=np.int64) % modulus).astype(np.float32)).reshape(
            marked[name].shape
        )
        for start, name in numbers
    }


def _alike(t: Tensor, twin: Tensor | None) -> bool:
    return twin is not None and twin.data is not None and np.array_equal(t.value, twin.data, equal_nan=True)


def _elements(t: Tensor, a: Tensor | None, b: Tensor | None, count: int) -> np.ndarray | None:
    """The number of each element, None where the values are none."""
    if a is None or b is None or a.data is None or b.data is None or not a.data.shape == b.data.shape == t.value.shape:
        return None
    p, q = _MODULI
    residues = [x.data.astype(np.float64) for x in (a, b)]  # pyright: ignore[reportOptionalMemberAccess]
    if any(not np.isfinite(r).all() or (r != np.rint(r)).any() or (r < 0).any() for r in residues):
        return None
    x, y = (r.astype(np.int64) for r in residues)
    # The Chinese remainder: x + p·((y - x)/p mod q).
    number = x + p * (((y - x) * pow(p, -1, q)) % q)
    return number if (number > 0).all() and (number < count).all() else None


def _moved(
    found: np.ndarray, numbers: list[tuple[int, str]], marked: Mapping[str, np.ndarray], sources: Mapping[str, Source]
) -> Source:
    starts = np.array([start for start, _ in numbers])
    place = np.searchsorted(starts, found, side="right") - 1
    index, parts, offset = np.empty(found.shape, np.int64), list[Source](), 0
    for k in np.unique(place):
        start, name = numbers[k]
        here = place == k
        index[here] = found[here] - start + offset
        offset += marked[name].size
        parts.append(sources[name])
    only = marked[numbers[int(place.flat[0])][1]] if len(parts) == 1 else None
    axes = None if only is None or only.size != found.size else _permutation(index, only.shape)
    if axes == tuple(range(index.ndim)) and only is not None and only.shape == index.shape:
        return parts[0]
    return Moved(tuple(parts), index, axes)


def _permutation(index: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The permutation of the axes of `shape` after which the elements lie in the order of `index`."""
    plain = np.arange(index.size).reshape(shape)
    if len(shape) > 6:
        return None
    for axes in itertools.permutations(range(len(shape))):
        if np.array_equal(plain.transpose(axes).reshape(-1), index.reshape(-1)):
            return axes
    return None
