"""y = a·x + b per channel, and how a linear layer takes it in: what folding a BatchNorm, a Mul or an Add comes to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir import Node, Tensor
from ..schema.node import own_attrs
from .edit import Edit, is_float_node, trail
from .match import along_last_axis, constant_operand, float_constant

LINEAR = ("Conv", "ConvTranspose", "FullyConnected", "MatMul")
"""Layers with a weight at input 1, a bias at input 2 and their channels last."""


@dataclass(frozen=True, slots=True)
class Affine:
    """y = scale · x + offset along the last axis; float64[channels]."""

    data: Tensor
    scale: np.ndarray
    offset: np.ndarray

    @property
    def only_offset(self) -> bool:
        return bool(np.all(self.scale == 1.0))


def affine_of(node: Node, ops: tuple[str, ...]) -> Affine | None:
    """The per-channel affine map that a BatchNorm, Mul, Div, Add or Sub by constants is; None when it is not one."""
    if node.op not in ops or not is_float_node(node):
        return None
    if node.op == "BatchNorm":
        return _of_batch_norm(node)
    operands = constant_operand(node)
    if operands is None or operands[0].shape != node.outputs[0].shape:
        return None
    x, operand = operands
    channels = x.shape[-1] if x.shape else None
    value = float_constant(operand)
    if value is None or x.shape is None or channels is None or value.dtype != x.dtype:
        return None
    c = along_last_axis(value, len(x.shape), channels)
    if c is None:
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    if node.op == "Mul":
        return Affine(x, c, zero)
    if node.op == "Add":
        return Affine(x, one, c)
    if node.op == "Div" and x is node.inputs[0] and np.all(c != 0):
        return Affine(x, 1.0 / c, zero)
    if node.op == "Sub":
        return Affine(x, one, -c) if x is node.inputs[0] else Affine(x, -one, c)
    return None


def _of_batch_norm(node: Node) -> Affine | None:
    x = node.inputs[0]
    values = [float_constant(t) for t in node.inputs[1:5]]
    if x is None or len(values) != 4 or any(v is None for v in values):
        return None
    gamma, beta, mean, variance = (v.astype(np.float64).reshape(-1) for v in values if v is not None)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = gamma / np.sqrt(variance + float(node.attrs["epsilon"]))
    return Affine(x, scale, beta - mean * scale)


def out_channels(node: Node) -> int | None:
    """Channels of a linear layer's output."""
    shape = node.outputs[0].shape
    if node.op == "MatMul" and (node.inputs[1] is None or node.inputs[1].rank != 2):
        return None
    return None if not shape else shape[-1]


def weight_scaled(node: Node, w: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The weight w with output channel k multiplied by scale[k], in float64."""
    if node.op == "ConvTranspose":
        wide, group = w.shape[-1], node.attrs["group"]
        parts = scale.reshape(group, 1, wide).repeat(w.shape[0] // group, 1).reshape(w.shape[0], wide)
        return w * parts.reshape(w.shape[0], *[1] * (w.ndim - 2), wide)
    if node.op == "MatMul" and not node.attrs.get("transpose_b"):
        return w * scale
    return w * scale.reshape(-1, *[1] * (w.ndim - 1))


def linear_producer(edit: Edit, affine: Affine) -> tuple[Node, str] | None:
    """The linear layer that makes the affine map's data, with the reason why it cannot take it in ("" when it can)."""
    layer = edit.producer(affine.data)
    if layer is None or layer.op not in LINEAR or layer.input(1) is None:
        return None
    channels = out_channels(layer)
    if channels != len(affine.scale) or not is_float_node(layer):
        return None
    w, b = layer.required(1), layer.input(2)
    if layer.op == "MatMul" and not w.is_const and not affine.only_offset:
        return None
    if layer.attrs.get("act", "none") != "none":
        return layer, f"{layer.name!r} has the activation {layer.attrs['act']} in between"
    if edit.is_output(affine.data):
        return layer, f"{affine.data.name!r} is a graph output"
    if edit.only_reader(affine.data) is None:
        others = ", ".join(repr(n.name) for n in edit.readers(affine.data)[:3])
        return layer, f"the output of {layer.name!r} is read by several: {others}"
    if b is not None and float_constant(b) is None:
        return layer, f"the bias of {layer.name!r} is not a float constant"
    return layer, "" if affine.only_offset else _weight_reason(edit, layer, w)


def _weight_reason(edit: Edit, layer: Node, w: Tensor) -> str:
    """Why the weight cannot be multiplied."""
    if w.data is None:
        return f"the weight of {layer.name!r} is not a constant"
    if w.quant is not None or w.data.dtype.kind != "f":
        return f"the weight of {layer.name!r} is quantized"
    if w.data.dtype.itemsize < 4:
        return f"the weight of {layer.name!r} is {w.data.dtype}, which products would round"
    shared = [n for n in edit.readers(w) if n is not layer]
    if shared or layer.inputs.count(w) > 1:
        return f"the weight of {layer.name!r} is shared with {(shared or [layer])[0].name!r}"
    return ""


def scaled_inputs(edit: Edit, layer: Node, affine: Affine) -> tuple[list[Tensor | None], str]:
    """Inputs with which `layer` gives the affine map of its output, and the reason when the numbers forbid it."""
    w, b = layer.required(1), layer.input(2)
    bias = np.zeros(len(affine.scale)) if b is None or b.data is None else b.data.astype(np.float64)
    dtype = layer.outputs[0].dtype
    with np.errstate(over="ignore", invalid="ignore"):
        new_bias = (bias * affine.scale + affine.offset).astype(dtype)
        scaled = None
        if not affine.only_offset:
            scaled = weight_scaled(layer, w.value.astype(np.float64), affine.scale).astype(w.value.dtype)
    if not np.isfinite(new_bias).all() or (scaled is not None and not np.isfinite(scaled).all()):
        return [], "the folded weight or bias would not be finite"
    weight = w if scaled is None else edit.constant(scaled, w.name)
    return [layer.inputs[0], weight, edit.constant(new_bias, b.name if b is not None else f"{layer.name}/bias")], ""


def fold_into(edit: Edit, layer: Node, node: Node, affine: Affine) -> str:
    """Makes `layer` compute `node`'s output; returns the reason when the numbers forbid it."""
    inputs, reason = scaled_inputs(edit, layer, affine)
    if reason:
        return reason
    act = node.attrs.get("act", "none")
    layer.attrs = own_attrs(layer.attrs) | ({"act": act} if act != "none" else {})
    absorb(edit, layer, node, inputs)
    return ""


def absorb(edit: Edit, first: Node, second: Node, inputs: list[Tensor | None]) -> None:
    """`first` with these inputs computes what `second` did: it keeps its name and takes the second's output tensor."""
    first.origin = trail(first, second)
    outputs = second.outputs
    edit.set_inputs(first, inputs)
    edit.take_outputs(first, outputs)
    edit.drop(second)
