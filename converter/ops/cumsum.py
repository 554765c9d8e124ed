"""CumSum: running sums along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.layout import moved_axis
from ._support.types import (
    const_ints,
    fail,
    length,
    need,
    normal_axis,
    value_dtype,
)


def infer_cumsum(node: Node) -> Inferred:
    x, at = node.required(0), node.input(1)
    need(node, x, "iuf", "the input")
    count = length(node, at, "the axis")
    if count not in (None, 1):
        fail(node, f"one axis is needed, not {count}")
    axis = node.attrs["axis"] if at is None else (const_ints(at) or [0])[0]
    if x.shape is not None:
        normal_axis(node, axis, len(x.shape))
    return [(value_dtype(x), x.shape)]


def _permute_cumsum(node: Node, perm: Sequence[int]) -> Any:
    if node.input(1) is not None:
        return None
    return dict(node.attrs) | {"axis": moved_axis(node.attrs["axis"], perm)}, {}


@op(
    "CumSum",
    attrs={"axis": 0, "exclusive": False, "reverse": False},
    infer=infer_cumsum,
    arity=(1, 2),
    quant=Quant(int8=False),
    permute=_permute_cumsum,
    cases=[
        Case(((3, 4),), {"axis": 1}),
        Case(((3, 4),), {"axis": 0, "exclusive": True}),
        Case(((3, 4),), {"axis": -1, "exclusive": True, "reverse": True}),
    ],
)
def cumsum(x: np.ndarray, at: np.ndarray | None = None, *, axis: int, exclusive: bool, reverse: bool) -> np.ndarray:
    """Running sums along `axis`, backwards when `reverse`, without the entry itself when `exclusive`."""
    axis = axis if at is None else int(np.reshape(at, -1)[0])
    y = np.flip(x, axis) if reverse else x
    y = np.cumsum(y, axis, dtype=x.dtype)
    if exclusive:
        first = np.zeros_like(np.take(y, [0], axis)) if y.shape[axis] else y
        y = np.concatenate([first, np.take(y, range(y.shape[axis] - 1), axis)], axis) if y.shape[axis] else y
    return np.flip(y, axis) if reverse else y


@reads("tflite", "CUMSUM")
@reads("onnx", "CumSum")
@reads("ms", "CumSum")
def read_cumsum(r: Reading) -> Tensor:
    attrs = {"exclusive": bool(r.attr("exclusive", 0)), "reverse": bool(r.attr("reverse", 0))}
    if r.input(1).data is None:
        return r.emit("CumSum", r.input(0), r.input(1), **attrs)
    return r.emit("CumSum", r.input(0), **attrs, axis=r.ints(1)[0])


@reads("mindir", "CumSum")
def read_mindir_cumsum(r: Reading) -> Tensor:
    attrs = {k: bool(r.arg(i, k, False)) for i, k in ((2, "exclusive"), (3, "reverse"))}
    return r.emit("CumSum", r.input(0), **attrs, axis=r.whole(1, "axis"))


@writes("tflite", "CumSum")
@writes("onnx", "CumSum")
@writes("ms", "CumSum")
def write_cumsum(w: Writing, node: Node) -> None:
    at = node.input(1)
    dtype = np.int64 if w.container == "onnx" else np.int32
    at = w.constant(node.attrs["axis"], dtype, f"{node.name}/axis") if at is None else at
    fields: dict[str, Any] = {k: node.attrs[k] for k in ("exclusive", "reverse")}
    if w.container == "onnx":
        fields = {k: int(v) for k, v in fields.items()}
    w.node("CUMSUM" if w.container == "tflite" else "CumSum", node, [node.inputs[0], at], fields=fields)
