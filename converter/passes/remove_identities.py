"""Removes nodes that give back what they get, and the first of two of which the second decides alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..ir import Graph, Node, Tensor
from ..ops import row
from .edit import Edit, is_float_node, trail
from .match import clamp_of, int_list, narrowed, output_bounds
from .record import Change, Record, Refusal


def remove_identities(graph: Graph) -> Iterator[Record]:
    """x → Identity ⇒ x, and likewise for every node whose attributes make it one.

    Identity, Dropout; a Reshape, Squeeze, ExpandDims or Tile that keeps the shape; a Transpose that keeps the order; a
    Cast to the same type; a Pad by nothing; a Slice of everything; a Concat or Split of one; + 0, - 0, · 1, / 1; a
    clamp of values already inside its bounds. Of two Reshapes or Casts in a row the first goes, as does a clamp before
    a tighter one; ExpandDims and Squeeze of the same axes both go. Empty parts leave a Concat. Quantize after
    Dequantize with the same parameters gives the same codes.

    Not when both names must stay (a graph input that is also an output), when the tensors differ in quantization, or
    when a first Cast loses what the second would keep.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        why = _reason(edit, node)
        if why and node.inputs[0] is not None:
            x, y = node.inputs[0], node.outputs[0]
            if x.quant != y.quant or x.dtype != y.dtype:
                continue
            if edit.bypass(node):
                yield Change("remove_identities", node.name, f"{node.op} {why}")
            else:
                yield Refusal(
                    "remove_identities", node.name, f"{y.name!r} and {x.name!r} are both names that must stay"
                )
            continue
        merged = _merge(edit, node) or _fewer_parts(edit, node)
        if merged:
            yield Change("remove_identities", node.name, merged)
    edit.finish()


def _reason(edit: Edit, node: Node) -> str:
    """Why the node's output 0 is its input 0, "" when it is not."""
    test = _TESTS.get(node.op)
    if test is None or not node.inputs or node.inputs[0] is None:
        return ""
    if any(edit.readers(t) or edit.is_output(t) for t in node.outputs[1:]):
        return ""
    return test(edit, node)


def same_shape(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors of the same element count have the same shape; one unknown size is decided by the others."""
    if x.shape is None or x.shape != y.shape or 0 in x.shape:
        return False
    return x.shape.count(None) <= 1


def _reshape(edit: Edit, node: Node) -> str:
    return "keeps the shape" if same_shape(node.required(0), node.outputs[0]) else ""


def _transpose(edit: Edit, node: Node) -> str:
    perm = node.attrs["perm"]
    return "keeps the order of axes" if list(perm) == list(range(len(perm))) else ""


def _cast(edit: Edit, node: Node) -> str:
    x, y = node.required(0), node.outputs[0]
    return f"to its own type {x.dtype}" if x.dtype == y.dtype and x.quant is None and y.quant is None else ""


def _pad(edit: Edit, node: Node) -> str:
    pads = int_list(node.input(1)) if "pads" not in node.attrs else node.attrs["pads"]
    return "by nothing" if pads is not None and not any(pads) else ""


def _slice(edit: Edit, node: Node) -> str:
    """Same static shape and steps of one: nothing can be left out."""
    x, y = node.required(0), node.outputs[0]
    steps = node.attrs.get("step") or node.attrs.get("steps") or []
    for index, key in row(node.op).const_inputs.items():
        if key in ("step", "steps", "strides") and node.input(index) is not None:
            ints = int_list(node.input(index))
            if ints is None:
                return ""
            steps = ints
    whole = x.is_static and x.shape == y.shape and all(s == 1 for s in steps)
    return "takes everything" if whole else ""


def _tile(edit: Edit, node: Node) -> str:
    x, y = node.required(0), node.outputs[0]
    return "repeats once" if x.is_static and x.shape == y.shape else ""


def _one_part(edit: Edit, node: Node) -> str:
    if node.attrs.get("act", "none") != "none":
        return ""
    return "of one part" if len(node.inputs if node.op == "Concat" else node.outputs) == 1 else ""


def _neutral(value: float, sides: tuple[int, ...]) -> Callable[[Edit, Node], str]:
    def test(edit: Edit, node: Node) -> str:
        x, y = node.inputs[0], node.outputs[0]
        operand = node.input(1)
        if node.attrs.get("act", "none") != "none" or operand is None or x is None:
            return ""
        if x.is_const and 0 in sides and not operand.is_const:
            node_x, constant = operand, x
        else:
            node_x, constant = x, operand
        if constant.data is None or constant.quant is not None or constant.data.dtype.kind not in "fiu":
            return ""
        if node_x.shape is None or node_x.shape != y.shape or not np.all(constant.data == value):
            return ""
        if node_x is not x:
            # A commutative operand order is not part of the value; the data come first from here on.
            edit.set_inputs(node, [node_x, constant])
        return f"with {value:g}"

    return test


def _clamp(edit: Edit, node: Node) -> str:
    """A clamp of what its producer (or the producer's fused act) has clamped at least as tightly."""
    bounds = clamp_of(node)
    if bounds is None or not is_float_node(node):
        return ""
    source = edit.producer(node.inputs[0])
    if bounds == (None, None):
        return "without bounds"
    inner = output_bounds(source) if source is not None and is_float_node(source) else None
    if inner is None or source is None:
        return ""
    inside = narrowed(inner, bounds)
    return f"of values that {source.op} has bounded" if inside == inner else ""


_RESHAPES = ("Reshape", "Squeeze", "ExpandDims")
_TESTS: dict[str, Callable[[Edit, Node], str]] = {
    "Identity": lambda edit, node: "passes its input on",
    "Dropout": lambda edit, node: "does nothing at inference",
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "ExpandDims": _reshape,
    "Transpose": _transpose,
    "Cast": _cast,
    "Pad": _pad,
    "Slice": _slice,
    "Tile": _tile,
    "BroadcastTo": _tile,
    "Expand": _tile,
    "Concat": _one_part,
    "Split": _one_part,
    "Add": _neutral(0.0, (0, 1)),
    "Sub": _neutral(0.0, (1,)),
    "Mul": _neutral(1.0, (0, 1)),
    "Div": _neutral(1.0, (1,)),
    "Relu": _clamp,
    "Relu6": _clamp,
    "Clip": _clamp,
}


def _merge(edit: Edit, node: Node) -> str:
    """Lets the node read its producer's input where the producer makes no difference; returns what was done."""
    source = edit.producer(node.inputs[0]) if node.inputs else None
    if source is None or not source.inputs or source.inputs[0] is None:
        return ""
    x = source.inputs[0]
    rest = node.inputs[1:]
    if node.op == "Reshape" and source.op in _RESHAPES and x.quant == node.outputs[0].quant:
        target = int_list(node.input(1))
        if target is None or (0 in target and node.attrs.get("zero_copies")):
            return ""
    elif node.op == "Cast" and source.op == "Cast":
        middle = source.outputs[0].dtype
        if x.quant is not None or not np.can_cast(x.dtype, middle, "safe") or not _keeps_value(x.dtype, middle):
            return ""
    elif node.op in _RESHAPES and source.op in _RESHAPES and not _data_dependent(node, source):
        # One axis comes and another goes: together they may be nothing.
        y = node.outputs[0]
        if not (x.is_static and same_shape(x, y)) or x.dtype != y.dtype or not edit.alias(y, x):
            return ""
        edit.drop(node)
        return f"undoes {source.op} {source.name!r}"
    elif (inner := clamp_of(source)) is not None and (outer := clamp_of(node)) is not None:
        if not is_float_node(node) or not is_float_node(source) or narrowed(inner, outer) != outer:
            return ""
    elif node.op == "Quantize" and source.op == "Dequantize":
        y = node.outputs[0]
        if x.is_const or x.quant is None or x.quant != y.quant or x.dtype != y.dtype:
            return ""
        return "Quantize gives the codes that Dequantize took" if edit.alias(y, x) and edit.drop(node) else ""
    else:
        return ""
    node.origin = trail(source, node)
    edit.set_inputs(node, [x, *rest])
    return f"{source.op} {source.name!r} before {node.op} makes no difference"


def _fewer_parts(edit: Edit, node: Node) -> str:
    """Takes empty parts out of a Concat."""
    if node.op != "Concat":
        return ""
    axis = node.attrs["axis"]
    kept = [t for t in node.inputs if t is None or not t.shape or t.shape[axis] != 0]
    if len(kept) == len(node.inputs) or not kept or {t.dtype for t in kept if t} != {node.outputs[0].dtype}:
        return ""
    gone = len(node.inputs) - len(kept)
    edit.set_inputs(node, kept)
    return f"Concat without {gone} empty part{'s' if gone > 1 else ''}"


def _data_dependent(*nodes: Node) -> bool:
    return any(t is not None and not t.is_const for node in nodes for t in node.inputs[1:])


def _keeps_value(source: np.dtype, middle: np.dtype) -> bool:
    """bool → int → bool and the like keep the value; a kind change towards bool would not."""
    return middle.kind != "b" or source.kind == "b"
