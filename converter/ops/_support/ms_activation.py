"""Activations that MindSpore Lite names and has no kernel for, written as the operators that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import Node, Tensor
from ...schema.writing import Writing
from .params import emit_cast

_ELU, _SOFTPLUS, _TANH, _HARD_TANH = 4, 9, 10, 16  # of ActivationType


class _Steps:
    """Appends operators between a node's input and its output."""

    def __init__(self, w: Writing, node: Node) -> None:
        self.w, self.node, self.y = w, node, node.outputs[0]

    def number(self, value: float) -> Tensor:
        return self.w.constant(value, self.y.dtype, f"{self.node.name}/number")

    def step(self, op: str, *inputs: Tensor, last: bool = False, dtype: Any = None, **fields: Any) -> Tensor:
        result = self.y if last else self.w.between(self.y, name=f"{self.y.name}/{op}")
        if dtype is not None:
            result.dtype = np.dtype(dtype)
        if op in ("AddFusion", "SubFusion", "MulFusion", "DivFusion"):
            fields = {"activation_type": 0}
        self.w.node(op, self.node, list(inputs), [result], fields=fields)
        return result

    def flag(self, op: str, *inputs: Tensor) -> Tensor:
        """A comparison as 0 or 1."""
        truth, flags = self.step(op, *inputs, dtype=np.bool_), self.w.between(self.y, name=f"{self.y.name}/flags")
        emit_cast(self.w, self.node, truth, flags)
        return flags

    def elu(self, x: Tensor, alpha: float) -> Tensor:
        return self.act(x, _ELU, alpha=alpha)

    def act(self, x: Tensor, number: int, last: bool = False, **fields: float) -> Tensor:
        fields = {"alpha": 0.0, "min_val": 0.0, "max_val": 0.0} | fields
        return self.step("Activation", x, last=last, activation_type=number, **fields)


def _celu(s: _Steps, x: Tensor, alpha: float) -> None:
    unit = s.elu(s.step("MulFusion", x, s.number(1 / alpha)), 1.0)
    s.step("MulFusion", unit, s.number(alpha), last=True)


def _selu(s: _Steps, x: Tensor, alpha: float, gamma: float) -> None:
    s.step("MulFusion", s.elu(x, alpha), s.number(gamma), last=True)


def _softsign(s: _Steps, x: Tensor) -> None:
    s.step("DivFusion", x, s.step("AddFusion", s.step("Abs", x), s.number(1.0)), last=True)


def _sign(s: _Steps, x: Tensor) -> None:
    zero = s.number(0.0)
    s.step("SubFusion", s.flag("Greater", x, zero), s.flag("Less", x, zero), last=True)


def _thresholded(s: _Steps, x: Tensor, alpha: float) -> None:
    s.step("MulFusion", x, s.flag("Greater", x, s.number(alpha)), last=True)


def _mish(s: _Steps, x: Tensor) -> None:
    s.step("MulFusion", x, s.act(s.act(x, _SOFTPLUS), _TANH), last=True)


def _hard_sigmoid(s: _Steps, x: Tensor, alpha: float, beta: float) -> None:
    line = s.step("AddFusion", s.step("MulFusion", x, s.number(alpha)), s.number(beta))
    s.act(line, _HARD_TANH, last=True, min_val=0.0, max_val=1.0)


_FORMS: dict[str, Callable[..., None]] = {
    "Celu": _celu,
    "HardSigmoid": _hard_sigmoid,
    "Mish": _mish,
    "Selu": _selu,
    "Softsign": _softsign,
    "Sign": _sign,
    "ThresholdedRelu": _thresholded,
}


def write_in_parts(w: Writing, node: Node) -> bool:
    """Writes a float32 node whose activation type has no kernel; False where it is another, or has codes."""
    x, form = node.inputs[0], _FORMS.get(node.op)
    if form is None or x is None or x.dtype != np.float32 or node.outputs[0].quant is not None:
        return False
    form(_Steps(w, node), x, **node.attrs)
    return True
