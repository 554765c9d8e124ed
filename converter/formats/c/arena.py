"""Memory of a generated model: one block in which values whose lifetimes do not meet share their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir import Tensor
from ...schema.writing import Emitted

ALIGNMENT = 4
_IN_PLACE = {"add_s8", "mul_s8", "maximum_s8", "minimum_s8", "binary_f32", "lookup_s8", "clip_f32", "unary_f32"}
"""Kernels that read an element of an operand of the output's shape before they write it."""


@dataclass(frozen=True)
class Memory:
    """Where values live: offsets in the arena by the value that owns the place, and the owner of each value."""

    offsets: Mapping[Tensor, int]
    owners: Mapping[Tensor, Tensor]
    size: int

    def owner(self, t: Tensor) -> Tensor:
        return self.owners.get(t, t)


def plan(steps: Sequence[Emitted], outside: Iterable[Tensor], kept: Iterable[Tensor]) -> Memory:
    """Places every value that the steps compute.

    Args:
        outside: inputs, which the caller holds. kept: outputs, whose memory the caller gives.
    """
    owners: dict[Tensor, Tensor] = {}
    for step in steps:
        if step.op == "view":
            x = step.required(0)
            owners[step.outputs[0]] = owners.get(x, x)
    fixed = {owners.get(t, t) for t in (*outside, *kept)}
    _share_in_place(steps, owners, fixed)
    lifetimes: dict[Tensor, tuple[int, int]] = {}
    for i, step in enumerate(steps):
        for t in (*step.inputs, *step.outputs):
            if t is None or t.is_const:
                continue
            owner = owners.get(t, t)
            if owner not in fixed:
                lifetimes[owner] = (lifetimes.get(owner, (i, i))[0], i)
    offsets, size = _place(lifetimes)
    return Memory(offsets, owners, size)


def _share_in_place(steps: Sequence[Emitted], owners: dict[Tensor, Tensor], fixed: set[Tensor]) -> None:
    last: dict[Tensor, int] = {}
    for i, step in enumerate(steps):
        for t in step.inputs:
            if t is not None:
                last[owners.get(t, t)] = i
    for i, step in enumerate(steps):
        if step.op not in _IN_PLACE:
            continue
        y = step.outputs[0]
        if owners.get(y, y) in fixed or y in owners:
            continue
        for x in step.inputs:
            owner = None if x is None else owners.get(x, x)
            if x is None or x.is_const or owner is None or owner in fixed or last[owner] != i:
                continue
            if x.nbytes == y.nbytes and x.shape == y.shape:
                last[owner] = max(last[owner], last.get(y, i))
                owners.update({t: owner for t, o in owners.items() if o is y} | {y: owner})
                break


def _place(lifetimes: Mapping[Tensor, tuple[int, int]]) -> tuple[dict[Tensor, int], int]:
    """The largest first, each at the lowest place that is free while it lives."""
    order = sorted(lifetimes, key=lambda t: (-t.nbytes, lifetimes[t]))
    offsets: dict[Tensor, int] = {}
    size = 0
    for t in order:
        first, end = lifetimes[t]
        met = sorted(
            (offsets[o], offsets[o] + o.nbytes) for o in offsets if lifetimes[o][0] <= end and first <= lifetimes[o][1]
        )
        at = 0
        for low, high in met:
            if at + t.nbytes <= low:
                break
            at = max(at, -(-high // ALIGNMENT) * ALIGNMENT)
        offsets[t] = at
        size = max(size, at + t.nbytes)
    return offsets, -(-size // ALIGNMENT) * ALIGNMENT
