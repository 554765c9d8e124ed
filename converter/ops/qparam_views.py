"""Stored integers between two views: plain numbers, and codes of reals with a scale and a zero point.

ONNX tensors are plain integers; only the operators around them (QuantizeLinear, QLinearConv …) know scales. So a reader
takes `as_codes(r, x, …)` before such an operator and gives `as_plain(r, y)` after it. Where both meet, nothing is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..numeric.qparams import QuantParam
from ..schema.op import Case, Inferred, Quant, op, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.layout import same_layout


def _infer(node: Node) -> Inferred:
    x = node.required(0)
    return [(x.dtype, x.shape)]


def _same(node: Node, arrays: Sequence[Any]) -> np.ndarray:
    return arrays[0]


@op(
    "Reinterpret",
    infer=_infer,
    kernel="identity",
    quant=Quant(int8=False),
    permute=same_layout,
    foldable=False,
    integer=_same,
    cases=[Case((np.array([[1, -2], [3, 4]], np.int8),)), Case((np.array([200], np.uint8),))],
)
def reinterpret(x: np.ndarray) -> np.ndarray:
    """The same stored integers; what they stand for is the output tensor's `quant`, or nothing."""
    return x


def parameters(r: Reading, scale: int, zero_point: int, axis: int | None, dtype: Any) -> QuantParam:
    """The QuantParam of constant scale and zero point inputs; `axis` counts when there are several."""
    s = r.const(scale, "the scale").astype(np.float64).reshape(-1)
    z = r.optional(zero_point)
    zeros = np.zeros(1, np.int64) if z is None else r.const(zero_point, "the zero point").astype(np.int64).reshape(-1)
    if not np.isfinite(s).all() or (s <= 0).any():
        r.refuse("a scale is not a positive number")
    if abs(zeros).max(initial=0) >= 2**31 or len(zeros) not in (1, len(s)):
        r.refuse(f"{len(zeros)} zero points for {len(s)} scales")
    if len(s) > 1 and axis is None:
        r.refuse(f"{len(s)} scales where one is allowed")
    # One scale on an axis of size 1 is a scale per tensor.
    return QuantParam(s, zeros.astype(np.int32), axis if len(s) > 1 else None, 8 * np.dtype(dtype).itemsize)


def as_codes(r: Reading, x: Tensor, quant: QuantParam) -> Tensor:
    """x as codes with these parameters."""
    x = r.build.codes.get(x, x)
    if x.quant == quant:
        return x
    if x.data is not None:
        return Tensor(x.name, x.dtype, x.shape, x.data, quant)
    y = r.emit("Reinterpret", x)
    y.quant = quant
    return y


def as_plain(r: Reading, y: Tensor) -> Tensor:
    """The stored integers of y as plain numbers; `as_codes` gets y itself back."""
    if y.quant is None:
        return y
    plain = r.emit("Reinterpret", y)
    r.build.codes[plain] = y
    return plain


def stored(r: Reading, x: Tensor) -> Tensor:
    """The stored integers of x as plain numbers, for operators that TFLite runs on them whatever they stand for."""
    if x.data is not None and x.quant is not None:
        return Tensor(x.name, x.dtype, x.shape, x.data)
    return as_plain(r, x)


def typed(x: Tensor, quant: QuantParam, dtype: Any = None) -> Tensor:
    """x, just emitted, with its output parameters."""
    x.quant = quant
    if dtype is not None:
        x.dtype = np.dtype(dtype)
    return x


@writes("onnx", "Reinterpret")
def write_onnx(w: Writing, node: Node) -> None:
    w.node("Identity", node, node.inputs)
