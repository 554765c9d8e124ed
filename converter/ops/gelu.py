"""Gelu and Swish in the containers."""

from __future__ import annotations

import math

import numpy as np

from ..ir import Node, Tensor
from ..numeric.qparams import QuantParam
from ..schema.op import reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.types import value_dtype
from .activation import TANH_GELU


@reads("tflite", "GELU")
def read_tflite_gelu(r: Reading) -> Tensor:
    return r.emit("Gelu", r.input(0), approximate=bool(r.attr("approximate", False)))


@writes("tflite", "Gelu")
def write_tflite_gelu(w: Writing, node: Node) -> None:
    w.node("GELU", node, node.inputs, fields={"approximate": node.attrs["approximate"]})


@reads("onnx", "Gelu")
def read_onnx_gelu(r: Reading) -> Tensor:
    return r.emit("Gelu", r.input(0), approximate=r.attr("approximate", "none") == "tanh")


@reads("onnx", "com.microsoft::Gelu")
def read_ort_gelu(r: Reading) -> Tensor:
    return r.emit("Gelu", r.input(0))


@reads("onnx", "com.microsoft::FastGelu", "com.microsoft::BiasGelu")
def read_ort_bias_gelu(r: Reading) -> Tensor:
    x, bias = r.input(0), r.optional(1)
    if bias is not None:
        x = r.emit("Add", x, bias)
    return r.emit("Gelu", x, approximate=r.op.endswith("FastGelu"))


def _scaled_swish(r: Reading, alpha: float) -> Tensor:
    """x · sigmoid(alpha · x)."""
    x = r.input(0)
    if alpha == 1:
        return r.emit("Swish", x)
    return r.emit("Mul", x, r.emit("Sigmoid", r.emit("Mul", x, r.constant(alpha, value_dtype(x)))))


@reads("onnx", "com.microsoft::QuickGelu")
def read_ort_quick_gelu(r: Reading) -> Tensor:
    return _scaled_swish(r, float(r.attr("alpha", 1.702)))


@reads("onnx", "Swish")
def read_onnx_swish(r: Reading) -> Tensor:
    return _scaled_swish(r, float(r.attr("alpha", 1.0)))


@writes("onnx", "Gelu")
def write_onnx_gelu(w: Writing, node: Node) -> None:
    """Opset 20 knows Gelu; before, its formula is written out."""
    x, y = node.required(0), node.outputs[0]
    if w.options.get("opset", 17) >= 20:
        w.node("Gelu", node, [x], fields={"approximate": "tanh" if node.attrs["approximate"] else "none"})
        return

    def const(value: float) -> Tensor:
        return w.constant(value, x.dtype, f"{node.name}/const")

    def step(name: str, *ins: Tensor, out: Tensor | None = None) -> Tensor:
        result = out or w.between(y, name=f"{node.name}/{name}")
        w.node(name, node, list(ins), [result])
        return result

    if node.attrs["approximate"]:
        cube = step("Mul", step("Mul", x, x), x)
        inner = step("Tanh", step("Mul", step("Add", x, step("Mul", cube, const(0.044715))), const(TANH_GELU)))
    else:
        inner = step("Erf", step("Mul", x, const(math.sqrt(0.5))))
    step("Mul", step("Mul", x, const(0.5)), step("Add", inner, const(1.0)), out=y)


@writes("onnx", "Swish")
def write_onnx_swish(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    gate = w.between(y, name=f"{node.name}/gate")
    w.node("Sigmoid", node, [x], [gate])
    w.node("Mul", node, [x, gate])


@writes("tflite", "Swish")
def write_tflite_swish(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    gate = w.between(y, name=f"{node.name}/gate")
    if gate.quant is not None:
        low = -128 if gate.dtype == np.int8 else 0
        gate.quant = QuantParam(np.array([1 / 256]), np.array([low]))
    w.node("LOGISTIC", node, [x], [gate])
    w.node("MUL", node, [x, gate], fields={"fused_activation_function": 0})
