"""How transposed data moves through a row: the helpers of the `permute` cell, and the axis orders NC… ↔ N…C.

A `permute` function gets a node and `perm`, the order in which every data input is going to be transposed (new axis j
is old axis perm[j]). It returns None when the node cannot compute its old outputs transposed by the same perm, else the
pair (new attributes, {input index: array that replaces this constant parameter input}).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import Node

Permuted = tuple[dict[str, Any], dict[int, np.ndarray]]
Permute = Callable[[Node, Sequence[int]], "Permuted | None"]


def same_layout(node: Node, perm: Sequence[int]) -> Permuted:
    """Elementwise rows: nothing but the data changes (the pass transposes what is broadcast)."""
    return dict(node.attrs), {}


def remap_axis(key: str = "axis") -> Permute:
    """Rows with one axis attribute."""

    def permute(node: Node, perm: Sequence[int]) -> Permuted:
        return dict(node.attrs) | {key: moved_axis(node.attrs[key], perm)}, {}

    return permute


def remap_axes(key: str = "axes", keep: str = "") -> Permute:
    """Rows with a list of axes, sorted again; `keep` names the attribute that must be true (reduced axes stay)."""

    def permute(node: Node, perm: Sequence[int]) -> Permuted | None:
        if keep and not node.attrs[keep]:
            return None
        axes = node.attrs[key]
        moved = None if axes is None else sorted(moved_axis(a, perm) for a in axes)
        return dict(node.attrs) | {key: moved}, {}

    return permute


def remap_const(index: int, each: int = 1) -> Permute:
    """Rows whose constant input `index` holds `each` entries for every axis (pads, repeats)."""

    def permute(node: Node, perm: Sequence[int]) -> Permuted | None:
        t = node.input(index)
        if t is None or t.data is None or t.data.size != each * len(perm):
            return None
        moved = moved_entries(t.data.reshape(-1).tolist(), perm, each)
        return dict(node.attrs), {index: np.asarray(moved, t.data.dtype).reshape(t.data.shape)}

    return permute


def moved_axis(axis: int, perm: Sequence[int]) -> int:
    """Where an axis (negative from the end) is after the transposition."""
    return list(perm).index(axis % len(perm))


def moved_entries(values: Sequence[Any], perm: Sequence[int], each: int = 1) -> list[Any]:
    """Entries per axis, `each` of them side by side, in the new order of axes."""
    return [values[p * each + k] for p in perm for k in range(each)]


def first_perm(rank: int) -> list[int]:
    """Axis order that makes N…C of this rank NC…"""
    return [0, rank - 1, *range(1, rank - 1)]


def last_perm(rank: int) -> list[int]:
    """Axis order that makes NC… of this rank N…C."""
    return [0, *range(2, rank), 1]


def permuted_shape(shape: Sequence[Any] | None, perm: Sequence[int]) -> tuple[Any, ...] | None:
    return None if shape is None else tuple(shape[p] for p in perm)
