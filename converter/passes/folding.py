"""Taking an affine map per channel into the linear layer behind or in front of it: what the passes `fold_…` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..ir import Graph, Node
from ..schema.node import own_attrs
from .affine import Affine, affine_of, fold_into, linear_producer
from .edit import Edit, is_float_node, trail
from .match import float_constant, single_user
from .record import Change, Record, Refusal


def is_depthwise(layer: Node) -> bool:
    """A convolution of one input channel per group."""
    w = layer.input(1)
    return layer.op == "Conv" and layer.attrs["group"] > 1 and w is not None and bool(w.shape) and w.shape[-1] == 1


def fold_affine(graph: Graph, name: str, ops: tuple[str, ...], takes: Callable[[Node], bool]) -> Iterator[Record]:
    """Folds operators of `ops` that are affine per channel into the layer before, else into the one behind.

    Args:
        name: of the pass, for its records. takes: whether the pass is about this linear layer.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        affine = affine_of(node, ops)
        if affine is None or not np.isfinite(affine.scale).all() or not np.isfinite(affine.offset).all():
            if affine is not None and node.op == "BatchNorm":
                yield Refusal(name, node.name, "its parameters are not finite")
            continue
        linear = linear_producer(edit, affine)
        if linear is not None and takes(linear[0]):
            layer, reason = linear
            reason = reason or fold_into(edit, layer, node, affine)
            if reason:
                yield Refusal(name, node.name, reason)
            else:
                yield Change(name, layer.name, f"took in {node.op} {node.name!r}")
                continue
        layer = single_user(edit, node)
        if layer is None or layer.op not in ("Conv", "FullyConnected") or layer.inputs[0] is not node.outputs[0]:
            continue
        if not takes(layer):
            continue
        reason = fold_in_front(edit, node, layer, affine)
        if reason:
            yield Refusal(name, node.name, reason)
        else:
            yield Change(name, layer.name, f"took in {node.op} {node.name!r} before it")
    edit.finish()


def fold_in_front(edit: Edit, node: Node, layer: Node, affine: Affine) -> str:
    """Multiplies the layer's input channels; returns the reason when that is not possible."""
    w, b = layer.inputs[1], layer.input(2)
    weight = float_constant(w)
    if node.attrs.get("act", "none") != "none":
        return f"it has the activation {node.attrs['act']}"
    if w is None or weight is None or weight.dtype.itemsize < 4 or not is_float_node(layer):
        return f"the weight of {layer.name!r} behind it is not a float32 constant"
    if b is not None and float_constant(b) is None:
        return f"the bias of {layer.name!r} behind it is not a float constant"
    shared = [n for n in edit.readers(w) if n is not layer]
    if shared:
        return f"the weight of {layer.name!r} behind it is shared with {shared[0].name!r}"
    if layer.op == "FullyConnected" and len(affine.scale) != weight.shape[-1]:
        return f"{layer.name!r} behind it flattens its input"
    if pads_with_zeros(layer) and np.any(affine.offset != 0):
        return f"{layer.name!r} behind it pads with zeros, which the offset would change"
    scale, offset = _per_weight(layer, weight, affine.scale), _per_weight(layer, weight, affine.offset)
    w64 = weight.astype(np.float64)
    many = weight.shape[0]
    bias = np.zeros(many) if b is None or b.data is None else b.data.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (w64 * scale).astype(weight.dtype)
        bias = (bias + (w64 * offset).reshape(many, -1).sum(1)).astype(layer.outputs[0].dtype)
    if not np.isfinite(scaled).all() or not np.isfinite(bias).all():
        return "the folded weight or bias would not be finite"
    inputs = [affine.data, edit.constant(scaled, w.name), b]
    if np.any(affine.offset != 0):
        inputs[2] = edit.constant(bias, b.name if b is not None else f"{layer.name}/bias")
    layer.attrs, layer.origin = own_attrs(layer.attrs), trail(node, layer)
    edit.set_inputs(layer, inputs)
    return ""


def pads_with_zeros(layer: Node) -> bool:
    return layer.op == "Conv" and (any(layer.attrs["pad"]) or layer.attrs["pad_mode"].startswith("same"))


def _per_weight(layer: Node, weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """values per input channel, shaped to multiply the weight [O, …, C/group]."""
    group = layer.attrs.get("group", 1)
    rows = values.reshape(group, 1, -1).repeat(weight.shape[0] // group, 1).reshape(weight.shape[0], -1)
    return rows.reshape(weight.shape[0], *[1] * (weight.ndim - 2), -1)
