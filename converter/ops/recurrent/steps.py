"""Lstm, Gru and Rnn step by step: one product of all inputs, then each step's products with the state before it.

Sequence lengths become factors of 0 and 1: h = m·h' + (1 - m)·h. A sequence that is read backwards is reversed before
and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import Node, Tensor
from .cells import CELLS, Cell
from .parts import GraphEdit, LayerParts, Parts
from .rnn import Gate, gates_of

# Factors [1, N, 1] of the sequences that go on and of those that have ended; None where all go on.
Mask = tuple[Tensor, Tensor] | None


def write_steps(edit: GraphEdit, node: Node) -> None:
    """Emits the steps of a node of known sizes; its outputs become theirs."""
    parts, x, directions = LayerParts(edit, node), node.required(0), node.required(1).size(0)
    steps = x.size(0)
    gates, masks = gates_of(node.op, node.attrs, directions), _masks(parts, steps)
    results: list[tuple[Tensor, list[Tensor]]] = []
    for d in range(directions):
        backwards = node.attrs["direction"] == "reverse" or d == 1
        results.append(_direction(parts, d, x, backwards, gates[d], masks))
    parts.place = node.name
    if parts.used(node.outputs[0]):
        parts.end(0, [parts.make("ExpandDims", y, axes=[1]) for y, _ in results], 1)
    for k in range(1, len(node.outputs)):
        if parts.used(node.outputs[k]):
            parts.end(k, [states[k - 1] for _, states in results], 0)


def _masks(parts: LayerParts, steps: int) -> list[Mask]:
    """The mask of each step; None where no sequence has ended."""
    lengths = parts.node.input(4)
    if lengths is None:
        return [None] * steps
    if lengths.data is None:
        return masks_at(parts, parts.constant(np.arange(steps)[:, None], "at", lengths.dtype), lengths, steps)
    masks: list[Mask] = []
    for k in range(steps):
        on = (k < lengths.data).astype(np.float32)[None, :, None]
        mask = masks[-1] if masks else None
        if mask is None or not np.array_equal(mask[0].value, on):
            mask = parts.constant(on, f"on_{k}"), parts.constant(1 - on, f"off_{k}")
        masks.append(None if on.all() else mask)
    return masks


def masks_at(parts: Parts[Any], at: Tensor, lengths: Tensor, steps: int) -> list[Mask]:
    """The masks of steps whose numbers are `at` [steps, 1], of sequences of `lengths` [N]."""
    if at.dtype != lengths.dtype:
        at = parts.make("Cast", at, dtype=lengths.dtype.name)
    on = parts.make("Cast", parts.make("Less", at, lengths), dtype="float32")
    on = parts.make("ExpandDims", on, axes=[2])
    off = parts.make("Sub", parts.constant(1.0, "one"), on)
    return list(zip(parts.split(on, 0, [1] * steps), parts.split(off, 0, [1] * steps)))


def _direction(
    parts: LayerParts, d: int, x: Tensor, backwards: bool, gates: list[Gate], masks: list[Mask]
) -> tuple[Tensor, list[Tensor]]:
    """One direction over x [T, N, I]: outputs [T, N, H], and the last states [1, N, H]."""
    node = parts.node
    parts.place, lengths = f"{node.name}/{d}", node.input(4)
    ended = any(m is not None for m in masks)
    if backwards and ended:
        x = parts.make("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)
    cell, w = CELLS[node.op].of_layer(parts, d, gates), node.required(1)
    xs = parts.split(cell.product(x, parts.weight(w, d), cell.weights.input_bias), 0, [1] * len(masks))
    states = [parts.state(5 + k, d, w.size(0)) for k in range(cell.states)]
    order = list(range(len(masks)))
    if backwards and not ended:
        order.reverse()
    ys, last = take_steps(cell, [xs[k] for k in order], [masks[k] for k in order], states)
    outputs = ys if order[0] == 0 else ys[::-1]
    y = outputs[0] if len(outputs) == 1 else parts.make("Concat", *outputs, axis=0)
    if backwards and ended:
        y = parts.make("ReverseSequence", y, lengths, time_axis=0, batch_axis=1)
    return y, last


def take_steps(
    cell: Cell, xs: Sequence[Tensor], masks: Sequence[Mask], states: Sequence[Tensor | None]
) -> tuple[list[Tensor], list[Tensor]]:
    """Steps of a cell on the input's products [1, N, gates·H], in order: each one's output [1, N, H], and the states
    after the last. Of a sequence that has ended the states stay and the output is 0."""
    parts, place, ys, last = cell.parts, cell.parts.place, list[Tensor](), list[Tensor]()
    for k, (x, mask) in enumerate(zip(xs, masks)):
        parts.place = f"{place}_{k}"
        last = list(cell.step(x, *states))
        ys.append(last[0])
        if mask is not None:
            on, off = mask
            kept = [None if old is None else parts.make("Mul", old, off) for old in states]
            alive = [parts.make("Mul", new, on) for new in last]
            ys[-1] = alive[0]
            last = [parts.sum(new, old) for new, old in zip(alive, kept)]
        states = list[Tensor | None](last)
    parts.place = place
    return ys, last
