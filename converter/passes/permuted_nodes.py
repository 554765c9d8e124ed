"""What a node becomes on data whose axes are in another order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import GraphError
from ..ir import Node, Shape, Tensor
from ..numeric.qparams import QuantParam
from ..ops import infer, row
from ..ops._support.layout import moved_axis, same_layout
from ..schema.node import own_attrs
from .axes import (
    Perm,
    hoist_through_reshape,
    inverse,
    sink_through_reshape,
)

_RESHAPES = ("Reshape", "Squeeze", "ExpandDims")


@dataclass(slots=True)
class Permuted:
    """A node on data that are transposed differently: what it becomes, and how its outputs then stand.

    `outs` are the orders that give the old outputs back from the new ones.
    """

    attrs: dict[str, Any]
    inputs: dict[int, np.ndarray] = field(default_factory=dict)
    outs: list[Perm] = field(default_factory=list)
    shape: list[int] | None = None


def outputs_agree(trial: Node, wanted: list[Shape | None]) -> bool:
    """Whether the row gives the rewritten node outputs of these shapes, as far as both are known."""
    half = [t is not None and t.is_const and t.dtype == np.float16 for t in trial.inputs]
    if any(half):
        # A constant stored in float16 meets float32 data as float32.
        trial.inputs = [
            Tensor(t.name, np.dtype(np.float32), t.shape, t.data) if h and t is not None else t
            for t, h in zip(trial.inputs, half)
        ]
    try:
        inferred = infer(trial)
    except GraphError:
        return False
    for (_, a), b in zip(inferred, wanted):
        if a is None or b is None:
            continue
        if len(a) != len(b) or any(n != m for n, m in zip(a, b) if n is not None and m is not None):
            return False
    return True


def permuted_quant(quant: QuantParam | None, perm: Sequence[int]) -> QuantParam | None:
    if quant is None or quant.axis is None:
        return quant
    return dataclasses.replace(quant, axis=moved_axis(quant.axis, perm))


def data_inputs(node: Node, through: Permuted) -> list[int]:
    """The inputs that carry data, as opposed to parameters."""
    parameters = row(node.op).const_inputs
    if through.shape is not None:
        return [0]
    return [i for i in range(len(node.inputs)) if i not in parameters and i not in through.inputs]


def operands_fit(node: Node, data: list[int], rank: int) -> bool:
    """Elementwise operands broadcast from the last axis; all others must have the rank of the order."""
    elementwise = row(node.op).permute is same_layout
    for i in data:
        t = node.inputs[i]
        if t is None:
            continue
        if t.shape is None or len(t.shape) > rank or (len(t.shape) != rank and not elementwise):
            return False
        if elementwise and len(t.shape) < rank and t.shape.count(None) > 1:
            return False
    return True


def permuted_node(node: Node, perm: Perm) -> Permuted | None:
    """The node fed with its data transposed by `perm`; None when it cannot be."""
    function = row(node.op).permute
    if node.op in _RESHAPES:
        return _reshape_through(node, perm)
    if function is None:
        return None
    permuted = function(node, list(perm))
    if permuted is not None:
        attrs, inputs = permuted
        return Permuted(attrs, inputs, [inverse(perm)] * len(node.outputs))
    if node.attrs.get("keep_dims") is False:
        return _reduced_through(node, function, perm)
    return None


def _reshape_through(node: Node, perm: Perm) -> Permuted | None:
    shapes = _batch_open(node)
    if shapes is None or len(shapes[0]) != len(perm):
        return None
    before, target = shapes
    sunk = sink_through_reshape(tuple(before[p] for p in perm), inverse(perm), target)
    if sunk is None:
        return None
    shape, out = sunk
    return Permuted({"zero_copies": False}, {}, [out], shape)


def _batch_open(node: Node) -> tuple[Shape, Shape] | None:
    """Shapes of a Reshape's input and output, with the size of axis 0 left open if the node leaves it open.

    A model for a batch of 1 may be run with another: what is true of a batch of 1 alone must not be used.
    """
    x, y = node.inputs[0], node.outputs[0]
    if (
        x is None
        or x.shape is None
        or y.shape is None
        or any(t is not None and not t.is_const for t in node.inputs[1:])
    ):
        return None
    if not x.shape or None in x.shape:
        return x.shape, y.shape
    opened = Tensor(x.name, x.dtype, (None, *x.shape[1:]))
    try:
        ((_, shape),) = infer(Node(node.op, node.name, [opened, *node.inputs[1:]], [], own_attrs(node.attrs)))
    except GraphError:
        return x.shape, y.shape
    return (x.shape, y.shape) if shape is None or None not in shape else ((None, *x.shape[1:]), shape)


def _reduced_through(node: Node, function: Callable[..., Any], perm: Perm) -> Permuted | None:
    """A reduction that drops its axes: the axes that stay are in another order."""
    trial = Node(node.op, node.name, node.inputs, node.outputs, own_attrs(node.attrs) | {"keep_dims": True})
    permuted = function(trial, list(perm))
    x = node.inputs[0]
    if permuted is None or x is None or x.shape is None:
        return None
    attrs, inputs = permuted
    named = node.attrs.get("axes", node.attrs.get("axis"))
    if node.input(1) is not None:
        return None
    named = range(len(perm)) if named is None else [named] if isinstance(named, int) else named
    gone = {a % len(perm) for a in named}
    stay = [a for a in range(len(perm)) if a not in gone]
    order = [stay.index(p) for p in perm if p not in gone]
    return Permuted(attrs | {"keep_dims": False}, inputs, [inverse(order)] * len(node.outputs))


def node_before(node: Node, perm: Perm) -> tuple[Perm, list[int]] | None:
    """(order for the operands, data inputs) so that the node's output comes in the order `perm`."""
    x = node.inputs[0]
    if x is None:
        return None
    if node.op in _RESHAPES:
        shapes = _batch_open(node)
        order = None if shapes is None else hoist_through_reshape(*shapes, perm)
        return None if order is None else (order, [0])
    through = permuted_node(node, perm)
    if through is None or through.outs != [inverse(perm)]:
        return None
    return perm, data_inputs(node, through)
