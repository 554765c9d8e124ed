"""Clip and Relu6 in the containers: bounds as attributes, inputs or operators of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..numeric.qparams import ACT_BOUNDS
from ..schema.op import reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import clip_attrs
from ._support.caffe import param
from ._support.types import value_dtype
from .activation import bound


def clipped(r: Reading, x: Tensor, low: float | None, high: float | None) -> Tensor:
    """The node for given bounds: Relu and Relu6 where they are those."""
    low = None if low is None or low == -math.inf else low
    high = None if high is None or high == math.inf else high
    if (low, high) == ACT_BOUNDS["relu"]:
        return r.emit("Relu", x)
    return r.emit("Relu6", x) if (low, high) == ACT_BOUNDS["relu6"] else r.emit("Clip", x, min=low, max=high)


@reads("onnx", "Clip")
def read_onnx_clip(r: Reading) -> Tensor:
    """Bounds: attributes before opset 11, inputs since; a lower bound above the upper one gives the upper one."""
    x = r.input(0)
    if r.version < 11:
        low, high = r.attr("min", None), r.attr("max", None)
        limit = float(np.finfo(np.float32).max)
        return clipped(r, x, None if low == -limit else low, None if high == limit else high)
    low, high = r.optional(1), r.optional(2)
    if all(t is None or (t.is_const and t.value.size == 1) for t in (low, high)):
        bounds = [None if t is None else t.real().reshape(-1)[0].item() for t in (low, high)]
        if not any(b is not None and math.isnan(b) for b in bounds):
            return clipped(r, x, *bounds)
    y = x if low is None else r.emit("Maximum", x, low)
    return y if high is None else r.emit("Minimum", y, high)


def _bounds(node: Node) -> tuple[Any, Any]:
    """The bounds in the type of the data."""
    x = node.required(0)
    low, high = ACT_BOUNDS["relu6"] if node.op == "Relu6" else (node.attrs["min"], node.attrs["max"])
    like = np.zeros(0, value_dtype(x))
    return bound(like, low, low=True), bound(like, high, low=False)


@reads("mindir", "ClampScalar", "ClampTensor", "Hardtanh", "HardTanh", "ClipByValue")
def read_mindir_clamp(r: Reading) -> Tensor:
    names = ("min_val", "max_val") if "anh" in r.op else ("min", "max")
    low, high = (1.0, 1.0) if "anh" in r.op else (math.inf, math.inf)
    return clipped(r, r.input(0), r.real(1, names[0], -low), r.real(2, names[1], high))


@reads("caffe", "Clip")
def read_caffe_clip(r: Reading) -> Tensor:
    p = param(r, "clip_param")
    return clipped(r, r.input(0), p.min, p.max)


@writes("onnx", "Relu6", "Clip")
def write_onnx_clip(w: Writing, node: Node) -> None:
    x = node.required(0)
    bounds = _bounds(node)
    limits = [None if b is None else w.constant(b, value_dtype(x), f"{node.name}/bound") for b in bounds]
    w.node("Clip", node, [x, *limits])


# TFLite's operators that clamp by their names.
_TFLITE = {"relu": "RELU", "relu6": "RELU6", "relu_n1_to_1": "RELU_N1_TO_1", "relu_0_to_1": "RELU_0_TO_1"}
for _act in ("relu_n1_to_1", "relu_0_to_1"):
    reads("tflite", _TFLITE[_act])(lambda r, act=_act: r.emit("Clip", r.input(0), **clip_attrs(act)))

reads("ms", "Clip")(lambda r: clipped(r, r.input(0), r.attr("min", 0.0), r.attr("max", 0.0)))


@writes("tflite", "Clip")
def write_tflite_clip(w: Writing, node: Node) -> None:
    x, (low, high) = node.required(0), _bounds(node)
    name = next((op for act, op in _TFLITE.items() if ACT_BOUNDS[act] == (low, high)), None)
    if name is not None:
        w.node(name, node, node.inputs)
        return
    if node.outputs[0].quant is not None:
        w.refuse(node, f"a quantized clip to {low} … {high}")
    steps = [(n, b) for n, b in (("MAXIMUM", low), ("MINIMUM", high)) if b is not None]
    if not steps:
        w.refuse(node, "it has no bounds", hint="the general passes remove it")
    for i, (kind, limit) in enumerate(steps):
        y = node.outputs[0] if i == len(steps) - 1 else w.between(x, name=f"{node.name}/low")
        w.node(kind, node, [x, w.constant(limit, value_dtype(x), f"{node.name}/bound")], [y])
        x = y
