"""Arithmetic of axis orders: composing transpositions, and which of them a Reshape lets through.

`perm` is always an order: axis j of the result is axis perm[j] of the operand.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Shape

Perm = tuple[int, ...]
Group = tuple[list[int], list[int]]

# Stands for the one unknown size (the batch) while sizes are factored; larger than any real size, and prime.
_UNKNOWN = 2**61 - 1


def inverse(perm: Sequence[int]) -> Perm:
    return tuple(list(perm).index(k) for k in range(len(perm)))


def composed(first: Sequence[int], second: Sequence[int]) -> Perm:
    """The order that transposing by `first` and then by `second` comes to."""
    return tuple(first[k] for k in second)


def is_identity(perm: Sequence[int]) -> bool:
    return list(perm) == list(range(len(perm)))


def keeps_memory(perm: Sequence[int], shape: Shape | None) -> bool:
    """Whether transposing a value of this shape only moves axes of size 1, so that its elements stay where they are.

    Axis 0 does not count as one: a batch of 1 may be another at run time.
    """
    if is_identity(perm):
        return True
    if shape is None:
        return False
    moved = [p for p in perm if shape[p] != 1 or p == 0]
    return moved == sorted(moved)


def reshape_groups(source: Shape | None, target: Shape | None) -> list[Group] | None:
    """Splits a Reshape into its smallest independent parts: (axes of the source, axes of the target) per part.

    Axes of size 1 belong to no part. None when sizes are unknown beyond one that both share, or zero.
    """
    if source is None or target is None or 0 in source or 0 in target:
        return None
    if source.count(None) > 1 or source.count(None) != target.count(None):
        return None
    a = [(k, n or _UNKNOWN) for k, n in enumerate(source) if n != 1]
    b = [(k, n or _UNKNOWN) for k, n in enumerate(target) if n != 1]
    groups: list[Group] = []
    i = j = 0
    while i < len(a) and j < len(b):
        left, right = [a[i][0]], [b[j][0]]
        size, wanted = a[i][1], b[j][1]
        i, j = i + 1, j + 1
        while size != wanted:
            if size < wanted:
                if i == len(a):
                    return None
                size *= a[i][1]
                left.append(a[i][0])
                i += 1
            else:
                if j == len(b):
                    return None
                wanted *= b[j][1]
                right.append(b[j][0])
                j += 1
        groups.append((left, right))
    return groups if i == len(a) and j == len(b) else None


def _ordered(groups: list[list[int]], position: Sequence[int]) -> list[int] | None:
    """The groups' indices by where their axes stand; None unless each stands as one ascending run (size 1 aside)."""
    places = [[position[axis] for axis in group] for group in groups]
    order = sorted(range(len(groups)), key=lambda g: places[g][0])
    flat = [p for g in order for p in places[g]]
    return order if flat == sorted(flat) else None


def _with_ones(order: list[int], shape: Shape) -> list[int]:
    """`order` of the axes above size 1, with each axis of size 1 put behind the one it follows in `shape`."""
    behind: dict[int, list[int]] = {}
    last = -1
    for axis, n in enumerate(shape):
        if n == 1:
            behind.setdefault(last, []).append(axis)
        else:
            last = axis
    full = list(behind.get(-1, []))
    for axis in order:
        full += [axis, *behind.get(axis, [])]
    return full


def sink_through_reshape(before: Shape, perm: Sequence[int], target: Shape | None) -> tuple[list[int], Perm] | None:
    """Reshape(Transpose(x, perm), target) as Transpose(Reshape(x, shape'), perm').

    Args:
        before: the shape of x.

    Returns:
        (shape' with -1 for the unknown size, perm'), or None when the Reshape merges axes that are apart in x.
    """
    groups = reshape_groups(tuple(before[p] for p in perm), target)
    if groups is None or target is None:
        return None
    # Axis a of the transposed value is axis perm[a] of x.
    order = _ordered([left for left, _ in groups], perm)
    if order is None:
        return None
    axes = _with_ones([axis for g in order for axis in groups[g][1]], target)
    return [-1 if target[k] is None else int(target[k] or 0) for k in axes], inverse(axes)


def hoist_through_reshape(source: Shape | None, target: Shape | None, perm: Sequence[int]) -> Perm | None:
    """The order s for which Transpose(Reshape(x, target), perm) is a Reshape of Transpose(x, s); None if there is none.

    Args:
        source: the shape of x.
    """
    groups = reshape_groups(source, target)
    if groups is None or source is None or target is None:
        return None
    order = _ordered([right for _, right in groups], inverse(perm))
    if order is None:
        return None
    return tuple(_with_ones([axis for g in order for axis in groups[g][0]], source))
