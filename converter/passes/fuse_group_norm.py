"""Finds GroupNorm in its parts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node, Tensor
from ..ops._support.layout import first_perm, last_perm, permuted_shape
from .edit import Edit, is_float_node, trail
from .match import along_last_axis, constant_operand, float_constant, made_by
from .record import Change, Record

_NAME = "fuse_group_norm"


def fuse_group_norm(graph: Graph) -> Iterator[Record]:
    """Reshape [N, G, …] → InstanceNorm → Reshape [N, C, …] ⇒ GroupNorm(G groups), and GroupNorm · γ + β ⇒ GroupNorm.

    As exporters of PyTorch write it: the InstanceNorm standardizes each group as one channel, per-channel scale and
    offset follow. In the IR it stands between Transposes, and the GroupNorm is set between others that cancel outside.

    Not when a value in between has other readers, or the InstanceNorm scales its groups.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op == "Reshape":
            done = _group(edit, node)
        elif node.op in ("Mul", "Add"):
            done = _parameter(edit, node)
        else:
            continue
        if done:
            yield Change(_NAME, node.name, done)
    edit.finish()


def _group(edit: Edit, node: Node) -> str:
    y = node.outputs[0]
    back = made_by(edit, node.inputs[0], "Transpose")
    norm = made_by(edit, back.inputs[0], "InstanceNorm") if back is not None else None
    there = made_by(edit, norm.inputs[0], "Transpose") if norm is not None else None
    split = made_by(edit, there.inputs[0], "Reshape") if there is not None else None
    if back is None or norm is None or there is None or split is None or not is_float_node(norm):
        return ""
    x, parts = split.inputs[0], split.outputs[0]
    if x is None or x.shape is None or x.shape != y.shape or len(x.shape) < 3 or parts.rank != 3 or x.is_const:
        return ""
    groups, channels = parts.known_shape[1], x.known_shape[1]
    plain = [float_constant(norm.input(1)), float_constant(norm.input(2))]
    if there.attrs["perm"] != [0, 2, 1] or back.attrs["perm"] != [0, 2, 1] or parts.known_shape[0] != x.known_shape[0]:
        return ""
    if groups is None or channels is None or channels % groups or None in x.shape[1:]:
        return ""
    if any(p is None for p in plain) or np.any(plain[0] != 1) or np.any(plain[1] != 0):
        return ""
    rank = len(x.shape)
    last = edit.emit("Transpose", [x], {"perm": last_perm(rank)}, at=split).outputs[0]
    one = edit.constant(np.ones(channels, x.dtype), f"{norm.name}/scale")
    zero = edit.constant(np.zeros(channels, x.dtype), f"{norm.name}/offset")
    attrs = {"groups": int(groups), "epsilon": norm.attrs["epsilon"]}
    origin = trail(split, norm, node)
    normalized = edit.emit("GroupNorm", [last, one, zero], attrs, at=node, name=norm.name, origin=origin).outputs[0]
    normalized.shape = permuted_shape(x.shape, last_perm(rank))
    edit.emit("Transpose", [normalized], {"perm": first_perm(rank)}, at=node, outputs=[y], origin=origin)
    edit.drop(node)
    return f"{groups} groups of channels are standardized"


def _parameter(edit: Edit, node: Node) -> str:
    """γ or β behind a GroupNorm."""
    operands = constant_operand(node)
    norm = made_by(edit, operands[0], "GroupNorm") if operands is not None else None
    if operands is None or norm is None or node.attrs["act"] != "none" or not is_float_node(node):
        return ""
    x, constant = operands[0], float_constant(operands[1])
    scale, offset = float_constant(norm.input(1)), float_constant(norm.input(2))
    if constant is None or scale is None or offset is None or x.shape != node.outputs[0].shape or not x.shape:
        return ""
    c = along_last_axis(constant, len(x.shape), len(scale))
    if c is None:
        return ""
    names: list[Tensor] = [t for t in norm.inputs[1:3] if t is not None]
    if node.op == "Mul":
        scale, offset = scale * c, offset * c
    else:
        offset = offset + c
    values = [edit.constant(v.astype(x.dtype), t.name) for v, t in zip((scale, offset), names)]
    norm.origin = trail(norm, node)
    edit.set_inputs(norm, [norm.inputs[0], *values])
    edit.take_outputs(norm, node.outputs)
    edit.drop(node)
    return f"took into GroupNorm {norm.name!r}"
