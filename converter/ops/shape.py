"""Facts about shapes as values: Shape, Size, Rank."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, evaluate, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.params import emit_cast
from ._support.types import dtype_from, dtype_number


def infer_shape(node: Node) -> Inferred:
    x = node.required(0)
    dtype = np.dtype(node.attrs["dtype"])
    if x.shape is None:
        return [(dtype, (None,))]
    return [(dtype, (len(range(len(x.shape))[slice(node.attrs["start"], node.attrs["end"])]),))]


def _known_shape(node: Node) -> tuple[np.ndarray, ...] | None:
    x = node.required(0)
    if x.shape is None:
        return None
    part = x.shape[slice(node.attrs["start"], node.attrs["end"])]
    return None if None in part else (np.asarray(part, node.attrs["dtype"]),)


@op(
    "Shape",
    attrs={"dtype": "int64", "start": 0, "end": None},
    infer=infer_shape,
    quant=Quant(int8=False),
    known_value=_known_shape,
    integer=evaluate,
    cases=[Case(((2, 3, 4),)), Case(((2, 3, 4),), {"dtype": "int32", "start": 1, "end": -1})],
)
def shape(x: np.ndarray, *, dtype: str, start: int, end: int | None) -> np.ndarray:
    """The sizes of x's axes start … end."""
    return np.asarray(x.shape[slice(start, end)], dtype)


@reads("tflite", "SHAPE")
def read_tflite_shape(r: Reading) -> Tensor:
    return r.emit("Shape", r.input(0), dtype=dtype_from("tflite", r.attr("out_type", 2) or 2, r))


@reads("onnx", "Shape")
def read_onnx_shape(r: Reading) -> Tensor:
    return r.emit("Shape", r.input(0), start=r.attr("start", 0), end=r.attr("end", None))


@reads("ms", "Shape")
def read_ms_shape(r: Reading) -> Tensor:
    return r.emit("Shape", r.input(0), dtype="int32")


def _whole(w: Writing, node: Node) -> None:
    if node.attrs["start"] != 0 or node.attrs["end"] is not None:
        w.refuse(node, "it takes a part of the shape")


@writes("tflite", "Shape")
def write_tflite_shape(w: Writing, node: Node) -> None:
    _whole(w, node)
    w.node("SHAPE", node, node.inputs, fields={"out_type": dtype_number("tflite", node.attrs["dtype"])})


@writes("ms", "Shape")
def write_ms_shape(w: Writing, node: Node) -> None:
    """MindSpore Lite's shapes are int32."""
    _whole(w, node)
    _typed(w, node, "Shape", np.dtype(np.int32))


def _typed(w: Writing, node: Node, name: str, dtype: np.dtype, **fields: Any) -> None:
    """An operator whose container's result type is fixed, and a cast where the IR has another."""
    y = node.outputs[0]
    if y.dtype == dtype:
        w.node(name, node, node.inputs, fields=fields)
        return
    raw = w.between(y, name=f"{y.name}/{dtype}")
    raw.dtype = dtype
    w.node(name, node, node.inputs, [raw], fields=fields)
    emit_cast(w, node, raw, y)


@writes("onnx", "Shape")
def write_onnx_shape(w: Writing, node: Node) -> None:
    part = {k: node.attrs[k] for k in ("start", "end") if node.attrs[k]}
    _typed(w, node, "Shape", np.dtype(np.int64), **part)


def _known_size(node: Node) -> tuple[np.ndarray, ...] | None:
    x = node.required(0)
    if x.shape is None or None in x.shape:
        return None
    return (np.asarray(math.prod(x.static_shape), node.attrs["dtype"]),)


def _infer_scalar(node: Node) -> Inferred:
    return [(np.dtype(node.attrs["dtype"]), ())]


@op(
    "Size",
    attrs={"dtype": "int64"},
    infer=_infer_scalar,
    quant=Quant(int8=False),
    known_value=_known_size,
    integer=evaluate,
    cases=[Case(((2, 3, 4),))],
)
def size(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """The number of elements, a scalar."""
    return np.asarray(x.size, dtype)


def _known_rank(node: Node) -> tuple[np.ndarray, ...] | None:
    x = node.required(0)
    return None if x.shape is None else (np.asarray(len(x.shape), node.attrs["dtype"]),)


@op(
    "Rank",
    attrs={"dtype": "int32"},
    infer=_infer_scalar,
    quant=Quant(int8=False),
    known_value=_known_rank,
    integer=evaluate,
    cases=[Case(((2, 3, 4),))],
)
def rank(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """The number of axes, a scalar."""
    return np.asarray(x.ndim, dtype)


@reads("onnx", "Size")
def read_onnx_size(r: Reading) -> Tensor:
    return r.emit("Size", r.input(0))


@reads("ms", "Size")
def read_ms_size(r: Reading) -> Tensor:
    return r.emit("Size", r.input(0), dtype="int32")


@reads("tflite", "RANK")
@reads("ms", "Rank")
def read_rank(r: Reading) -> Tensor:
    return r.emit("Rank", r.input(0))


@writes("onnx", "Size")
def write_onnx_size(w: Writing, node: Node) -> None:
    _typed(w, node, "Size", np.dtype(np.int64))


@writes("onnx", "Rank")
def write_onnx_rank(w: Writing, node: Node) -> None:
    """The size of the shape."""
    y = node.outputs[0]
    sizes = w.between(y, (None,), f"{node.name}/shape")
    rank = y if y.dtype == np.int64 else w.between(y, name=f"{y.name}/int64")
    sizes.dtype = rank.dtype = np.dtype(np.int64)
    w.node("Shape", node, node.inputs, [sizes])
    w.node("Size", node, [sizes], [rank])
    if rank is not y:
        emit_cast(w, node, rank, y)


@writes("ms", "Size", "Rank")
def write_ms_size(w: Writing, node: Node) -> None:
    _typed(w, node, node.op, np.dtype(np.int32))


@writes("tflite", "Rank")
def write_tflite_rank(w: Writing, node: Node) -> None:
    _typed(w, node, "RANK", np.dtype(np.int32))
