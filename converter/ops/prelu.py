"""PRelu: an activation with a slope input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..numeric.qparams import code_range, requantize_rne_f32
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.caffe import flat_blob
from ._support.integer import centred, is_byte, per_tensor
from ._support.layout import same_layout
from ._support.types import broadcasts_to, fail, joint_dtype, need


def infer_prelu(node: Node) -> Inferred:
    x, slope = node.required(0), node.required(1)
    need(node, x, "iuf", "the input")
    need(node, slope, "iuf", "the slope")
    if x.shape is not None and slope.shape is not None and not broadcasts_to(slope.shape, x.shape):
        fail(node, f"slope {slope.shape} does not broadcast to {x.shape}")
    return [(joint_dtype(node, x, slope), x.shape)]


def prelu_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    """clamp(rne(v) + zy): v = float32(x - zx) · float32(sx/sy) where that is not negative, else
    float32((x - zx)(a - za)) · float32(sx·sa/sy)."""
    x, slope, y = node.inputs[0], node.inputs[1], node.outputs[0]
    if not (per_tensor(x) and per_tensor(slope) and per_tensor(y)):
        return None
    qx, qa, qy = x.qparams, slope.qparams, y.qparams
    low, high = code_range(min(qy.bits, 8), unsigned=y.dtype == np.uint8)
    zero = int(qy.zero_point[0])
    p, a = centred(arrays[0], qx).astype(np.int32), centred(arrays[1], qa).astype(np.int32)
    above = requantize_rne_f32(p, qx.scale / qy.scale, zero, low, high, y.dtype)
    below = requantize_rne_f32(p * a, qx.scale * qa.scale / qy.scale, zero, low, high, y.dtype)
    return np.where(p >= 0, above, below)


@op(
    "PRelu",
    infer=infer_prelu,
    arity=2,
    kernel="prelu",
    quant=Quant(clamps=True),
    integer=prelu_codes,
    permute=same_layout,
    cases=[
        Case(((2, 3, 3, 4), (4,)), const=(1,)),
        Case(((2, 5), (1,)), const=(1,)),
        Case(((2, 3, 4), (3, 1)), const=(1,)),
    ],
)
def prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """x where it is not negative, else x · slope (broadcast to x)."""
    return np.where(x >= 0, x, x * slope).astype(x.dtype, copy=False)


@reads("tflite", "PRELU")
def read_tflite_prelu(r: Reading) -> Tensor:
    return r.emit("PRelu", r.input(0), r.input(1))


@reads("onnx", "PRelu")
def read_onnx_prelu(r: Reading) -> Tensor:
    return r.emit("PRelu", r.input(0), r.input(1))


@reads("ms", "PReLUFusion")
def read_ms_prelu(r: Reading) -> Tensor:
    """One slope per channel, the last axis; exporters also store it as [C, 1, 1]."""
    x, slope = r.input(0), r.input(1)
    if slope.is_const and slope.value.ndim > 1 and slope.quant is None:
        slope = r.constant(slope.value.reshape(-1), name=slope.name)
    return r.emit("PRelu", x, slope)


@reads("mindir", "PReLU")
def read_mindir_prelu(r: Reading) -> Tensor:
    return r.channels_first(r.emit("PRelu", r.channels_last(r.input(0)), r.input(1)))


@reads("caffe", "PReLU")
def read_caffe_prelu(r: Reading) -> Tensor:
    return r.channels_first(r.emit("PRelu", r.channels_last(r.input(0)), flat_blob(r, 0)))


@writes("ms", "PRelu")
def write_ms_prelu(w: Writing, node: Node) -> None:
    x, slope = node.required(0), node.required(1)
    if node.outputs[0].quant is None:
        if not _by_channel(x, slope):
            _write_ms_parts(w, node, x, slope)
            return
        if slope.data is None:
            w.node("PReLUFusion", node, [x, slope], fields={"channel_shared": False})
            return
    if (
        slope.data is None
        or slope.value.size not in (1, (x.shape or (None,))[-1])
        or slope.value.size != slope.known_shape[-1]
    ):
        w.refuse(node, f"a slope of shape {slope.shape}; MindSpore Lite has one for all or one per channel")
    if is_byte(slope) and is_byte(x):
        flat = w.constant(slope.data.reshape(-1), slope.dtype, slope.name)
        flat.quant = slope.quant
    else:
        flat = w.constant(slope.real().reshape(-1), np.float32, slope.name)
    w.node("PReLUFusion", node, [x, flat], fields={"channel_shared": slope.data.size == 1})


def _by_channel(x: Tensor, slope: Tensor) -> bool:
    """Whether the kernel takes a slope of this shape: an image's, one for each channel."""
    channels = (x.shape or (0,))[-1]
    return x.rank == 4 and slope.is_static and math.prod(slope.static_shape) == channels in slope.known_shape[-1:]


def _write_ms_parts(w: Writing, node: Node, x: Tensor, slope: Tensor) -> None:
    """What its kernel does not take (other ranks, other shapes of the slope): relu(x) + slope · min(x, 0)."""
    y = node.outputs[0]
    above, below, scaled = (w.between(y, name=f"{y.name}/{part}") for part in ("above", "below", "scaled"))
    w.node("Activation", node, [x], [above], fields={"activation_type": 1})
    w.node("Minimum", node, [x, w.constant(0, y.dtype, f"{node.name}/zero")], [below])
    w.node("MulFusion", node, [below, slope], [scaled], fields={"activation_type": 0})
    w.node("AddFusion", node, [above, scaled], fields={"activation_type": 0})


@writes("tflite", "PRelu")
def write_tflite_prelu(w: Writing, node: Node) -> None:
    w.node("PRELU", node, node.inputs)


@writes("onnx", "PRelu")
def write_onnx_prelu(w: Writing, node: Node) -> None:
    w.node("PRelu", node, node.inputs)
