"""PRelu: an activation with a slope input."""

from __future__ import annotations

import numpy as np

from ..formats.reading import Reading
from ..formats.writing import Writing
from ..ir import Node, Tensor
from ..opdef import Case, Inferred, Quant, op, reads, writes
from .layout import same_layout
from .types import broadcasts_to, fail, joint_dtype, need


def infer_prelu(node: Node) -> Inferred:
    x, slope = node.inputs[0], node.inputs[1]
    assert x is not None and slope is not None
    need(node, x, "iuf", "the input")
    need(node, slope, "iuf", "the slope")
    if x.shape is not None and slope.shape is not None and not broadcasts_to(slope.shape, x.shape):
        fail(node, f"slope {slope.shape} does not broadcast to {x.shape}")
    return [(joint_dtype(node, x, slope), x.shape)]


@op(
    "PRelu",
    infer=infer_prelu,
    arity=2,
    kernel="prelu",
    quant=Quant(int8=False),
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
    if slope.is_const and slope.data.ndim > 1 and slope.quant is None:  # pyright: ignore
        slope = r.constant(slope.data.reshape(-1), name=slope.name)  # pyright: ignore
    return r.emit("PRelu", x, slope)


@writes("ms", "PRelu")
def write_ms_prelu(w: Writing, node: Node) -> None:
    x, slope = node.inputs[0], node.inputs[1]
    assert x is not None and slope is not None
    if slope.data is None or slope.data.size not in (1, (x.shape or (None,))[-1]) or slope.data.size != slope.shape[-1]:  # pyright: ignore
        w.refuse(node, f"a slope of shape {slope.shape}; MindSpore Lite has one for all or one per channel")
    flat = w.constant(slope.real().reshape(-1), np.float32, slope.name)
    w.node("PReLUFusion", node, [x, flat], fields={"channel_shared": slope.data.size == 1})


@writes("tflite", "PRelu")
def write_tflite_prelu(w: Writing, node: Node) -> None:
    w.node("PRELU", node, node.inputs)


@writes("onnx", "PRelu")
def write_onnx_prelu(w: Writing, node: Node) -> None:
    w.node("PRelu", node, node.inputs)
