"""Normalizations operator by operator, for containers that have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import Setting
from ...ir import Node, Tensor
from ...schema.writing import Writing

_SIMPLE = {
    "onnx": {"mean": "ReduceMean", "sum": "ReduceSum", "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div",
             "sqrt": "Sqrt", "abs": "Abs", "max": "Max", "reshape": "Reshape"},
    "tflite": {"mean": "MEAN", "sum": "SUM", "add": "ADD", "sub": "SUB", "mul": "MUL", "div": "DIV",
               "sqrt": "SQRT", "abs": "ABS", "max": "MAXIMUM", "reshape": "RESHAPE"},
    "ms": {"mean": "ReduceFusion", "sum": "ReduceFusion", "mul": "MulFusion", "div": "DivFusion", "sqrt": "Sqrt",
           "abs": "Abs", "max": "Maximum"},
}  # fmt: skip
_MS_MODES = {"mean": 0, "sum": 4}


class Chain:
    """Emits the simple operators that a normalization is made of, in the container's own names."""

    def __init__(self, w: Writing, node: Node) -> None:
        self.w, self.node, self.names = w, node, _SIMPLE[w.container]

    def __call__(self, name: str, *inputs: Tensor, to: Tensor | None = None) -> Tensor:
        y = to if to is not None else self.w.between(inputs[0], name=f"{self.node.outputs[0].name}/{name}")
        self.w.node(self.names[name], self.node, inputs, [y])
        return y

    def reduce(self, name: str, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Over `axes`, which stay with size 1."""
        rank = len(x.shape or ())
        shape = (
            None if x.shape is None else tuple(1 if i in [a % rank for a in axes] else n for i, n in enumerate(x.shape))
        )
        y = self.w.between(x, shape, f"{self.node.outputs[0].name}/{name}")
        onnx = self.w.container == "onnx"
        fields: dict[str, Any] = {"keepdims": 1} if onnx else {"keep_dims": True}
        if self.w.container == "ms":
            fields["mode"] = _MS_MODES[name]
        inputs = [x]
        if onnx and name == "mean" and self.w.options.get("opset", 18) < 18:
            fields["axes"] = list(axes)
        else:
            inputs.append(self.w.constant(list(axes), np.int64 if onnx else np.int32, "axes"))
        self.w.node(self.names[name], self.node, inputs, [y], fields=fields)
        return y

    def number(self, value: float) -> Tensor:
        x = self.node.inputs[0]
        return self.w.constant(value, np.float32 if x is None else x.dtype, "number")

    def reshape(self, x: Tensor, shape: Sequence[int | None]) -> Tensor:
        y = self.w.between(x, tuple(shape), f"{self.node.outputs[0].name}/reshape")
        onnx = self.w.container == "onnx"
        sizes = [-1 if n is None else n for n in shape]
        target = self.w.constant(sizes, np.int64 if onnx else np.int32, "shape")
        self.w.node(self.names["reshape"], self.node, [x, target], [y], fields={} if onnx else {"new_shape": sizes})
        return y


def write_decomposed(w: Writing, node: Node) -> None:
    """(x - mean) / sqrt(mean of squares + epsilon) · scale + offset, operator by operator."""
    chain, x, y, a = Chain(w, node), node.required(0), node.outputs[0], node.attrs
    if x.shape is None:
        w.refuse(node, "its rank is not known", hint=Setting("input_shape"))
    rank, shape = len(x.shape), x.shape
    if node.op == "GroupNorm":
        if sum(n is None for n in shape) > 1 or shape[-1] is None:
            w.refuse(node, "its sizes are not known", hint=Setting("input_shape"))
        x = chain.reshape(x, (*shape[:-1], a["groups"], shape[-1] // a["groups"]))
        axes = [*range(1, rank - 1), rank]
    else:
        axes = list(range(1, rank - 1)) if node.op == "InstanceNorm" else list(range(a["axis"] % rank, rank))
    z = x if node.op == "RmsNorm" else chain("sub", x, chain.reduce("mean", x, axes))
    power = chain.reduce("mean", chain("mul", z, z), axes)
    deviation = chain("sqrt", chain("add", power, chain.number(a["epsilon"])))
    steps: list[tuple[str, Tensor]] = [("div", deviation)]
    if node.op == "GroupNorm":
        z = chain.reshape(chain("div", z, deviation), shape)
        steps = []
    steps += [(name, t) for name, t in zip(("mul", "add"), node.inputs[1:]) if t is not None]
    for k, (name, t) in enumerate(steps):
        z = chain(name, z, t, to=y if k == len(steps) - 1 else None)
