"""Folds a constant offset per channel into the linear layer behind it, or what is in front of it past it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node
from .affine import Affine, affine_of
from .edit import Edit
from .folding import fold_in_front, pads_with_zeros
from .match import single_user
from .record import Change, Record, Refusal


def fold_offset(graph: Graph) -> Iterator[Record]:
    """Add → Conv ⇒ Conv, and Mul → Add → Conv that pads ⇒ Add → Conv.

    The Add, or Sub, is of a constant per channel, c, in front of Conv or FullyConnected: b' = b + Σ w·c. Where the
    layer pads with zeros, which the offset would change, a factor a in front of the offset still goes into it:
    w·(a·x + c) = (w·a)·(x + c/a), and what is padded is 0 in both. In float64, rounded once.

    Not where `fold_batch_norm` would not, nor past a factor of 0.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        affine = affine_of(node, ("Add", "Sub"))
        if affine is None or not affine.only_offset or not np.isfinite(affine.offset).all():
            continue
        layer = single_user(edit, node)
        if layer is None or layer.op not in ("Conv", "FullyConnected") or layer.inputs[0] is not node.outputs[0]:
            continue
        if not pads_with_zeros(layer):
            reason = fold_in_front(edit, node, layer, affine)
            taken = node
        else:
            factor = edit.producer(affine.data)
            if factor is None or edit.only_reader(affine.data) is not node:
                continue
            scale = affine_of(factor, ("Mul", "Div"))
            if scale is None:
                continue
            reason, taken = _past(edit, factor, scale, node, affine, layer), factor
        if reason:
            yield Refusal("fold_offset", taken.name, reason)
        else:
            yield Change("fold_offset", layer.name, f"took in {taken.op} {taken.name!r} before it")
    edit.finish()


def _past(edit: Edit, factor: Node, scale: Affine, node: Node, offset: Affine, layer: Node) -> str:
    """Gives the factor to the layer and the offset what was in front of it; returns the reason when that cannot be."""
    if factor.attrs["act"] != "none" or node.attrs["act"] != "none":
        return "an activation is in between"
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shift = (offset.offset / scale.scale).astype(node.outputs[0].dtype)
    if not np.isfinite(shift).all():
        return "the offset by the factor would not be finite"
    behind = Affine(node.outputs[0], scale.scale, np.zeros_like(scale.scale))
    if reason := fold_in_front(edit, factor, layer, behind):
        return reason
    one = np.all(shift == shift[0])
    name = next(t.name for t in node.inputs if t is not None and t is not offset.data)
    constant = edit.constant(shift[:1] if one else shift, name)
    node.op = "Add"
    edit.set_inputs(node, [scale.data, constant])
    return ""
