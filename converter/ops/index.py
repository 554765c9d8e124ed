"""Where values stand, and what stands there: NonZero, Unique, Compress."""

from __future__ import annotations

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.types import dtype_from, fail, known_size, need, normal_axis, value_dtype


def infer_non_zero(node: Node) -> Inferred:
    x = node.required(0)
    need(node, x, "biuf", "the input")
    return [(np.dtype(np.int64), (None if x.shape is None else max(len(x.shape), 1), None))]


@op(
    "NonZero",
    infer=infer_non_zero,
    quant=Quant(int8=False),
    cases=[Case((np.array([[1, 0], [0, 2]], np.float32),)), Case((np.array([True, False, True]),))],
)
def non_zero(x: np.ndarray) -> np.ndarray:
    """int64 [rank, n]: the places of the n values that are not 0, in row-major order."""
    return np.stack(np.nonzero(np.atleast_1d(x))).astype(np.int64)


@reads("onnx", "NonZero")
@reads("ms", "NonZero")
def read_non_zero(r: Reading) -> Tensor:
    return r.emit("NonZero", r.input(0))


@reads("tflite", "WHERE")
def read_tflite_where(r: Reading) -> Tensor:
    return r.emit("Transpose", r.emit("NonZero", r.input(0)), perm=[1, 0])


@reads("ms", "Where")
def read_ms_where(r: Reading) -> Tensor:
    if len(r.inputs) == 3:
        return r.emit("Where", r.input(0), r.input(1), r.input(2))
    return read_tflite_where(r)


@writes("onnx", "NonZero")
def write_onnx_non_zero(w: Writing, node: Node) -> None:
    w.node("NonZero", node, node.inputs)


@writes("tflite", "NonZero")
def write_tflite_non_zero(w: Writing, node: Node) -> None:
    y = node.outputs[0]
    rows = w.between(y, None if y.shape is None else y.shape[::-1], f"{y.name}/rows")
    w.node("WHERE", node, node.inputs, [rows])
    w.node("TRANSPOSE", node, [rows, w.constant([1, 0], np.int32, f"{node.name}/perm")], [y])


def infer_unique(node: Node) -> Inferred:
    x, axis = node.required(0), node.attrs["axis"]
    dtype, index = value_dtype(x), np.dtype(node.attrs["dtype"])
    entries = (None,)
    if axis is None or x.shape is None:
        first = (None,) if axis is None else None
    else:
        axis = normal_axis(node, axis, len(x.shape))
        first = tuple(None if i == axis else n for i, n in enumerate(x.shape))
    whole = known_size(x.shape) if axis is None or x.shape is None else x.shape[axis]
    return [(dtype, first), (index, entries), (index, (whole,)), (index, entries)]


@op(
    "Unique",
    attrs={"axis": None, "sorted": True, "dtype": "int64"},
    infer=infer_unique,
    outputs=4,
    quant=Quant(int8=False),
    cases=[
        Case((np.array([2, 1, 1, 3, 4, 3], np.float32),)),
        Case((np.array([[1, 0, 0], [1, 0, 0], [2, 3, 4]], np.int32),), {"axis": 0}),
        Case((np.array([2, 1, 1, 3], np.int32),), {"sorted": False, "dtype": "int32"}),
    ],
)
def unique(x: np.ndarray, *, axis: int | None, sorted: bool, dtype: str) -> tuple[np.ndarray, ...]:
    """The different values (or slices along `axis`), where each first stands, which one each entry is, how often it is.

    Not `sorted`: in the order of first appearance.
    """
    y, first, inverse, counts = np.unique(x, True, True, True, axis)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first, kind="stable")
        y = np.take(y, order, 0 if axis is None else axis)
        first, counts = first[order], counts[order]
        inverse = np.argsort(order, kind="stable")[inverse]
    return y, first.astype(dtype), inverse.astype(dtype), counts.astype(dtype)


@reads("onnx", "Unique")
def read_onnx_unique(r: Reading) -> list[Tensor]:
    return r.emit_many("Unique", [r.input(0)], axis=r.attr("axis", None), sorted=bool(r.attr("sorted", 1)))


@reads("tflite", "UNIQUE")
@reads("ms", "Unique")
def read_unique(r: Reading) -> list[Tensor]:
    """The values in the order of first appearance, and which of them each entry is."""
    dtype = dtype_from("tflite", r.attr("idx_out_type", 2), r) if "idx_out_type" in r.options else "int32"
    results = r.emit_many("Unique", [r.input(0)], sorted=False, dtype=dtype)
    return [results[0], results[2]]


@writes("onnx", "Unique")
def write_onnx_unique(w: Writing, node: Node) -> None:
    if node.attrs["dtype"] != "int64":
        w.refuse(node, "its indices are not int64")
    fields = {"sorted": int(node.attrs["sorted"])} | (
        {} if node.attrs["axis"] is None else {"axis": node.attrs["axis"]}
    )
    w.node("Unique", node, node.inputs, fields=fields)


def infer_compress(node: Node) -> Inferred:
    x, condition, axis = node.required(0), node.required(1), node.attrs["axis"]
    if condition.dtype != np.bool_:
        fail(node, f"the condition must be bool, not {condition.dtype}")
    if condition.shape is not None and len(condition.shape) != 1:
        fail(node, f"the condition must be a list, not of shape {condition.shape}")
    dtype = value_dtype(x)
    if axis is None:
        return [(dtype, (None,))]
    if x.shape is None:
        return [(dtype, None)]
    axis = normal_axis(node, axis, len(x.shape))
    return [(dtype, tuple(None if i == axis else n for i, n in enumerate(x.shape)))]


@op(
    "Compress",
    attrs={"axis": None},
    infer=infer_compress,
    arity=2,
    quant=Quant(int8=False),
    cases=[
        Case(((3, 2), np.array([False, True, True])), {"axis": 0}),
        Case(((3, 2), np.array([False, True, False, False, True]))),
    ],
)
def compress(x: np.ndarray, condition: np.ndarray, *, axis: int | None) -> np.ndarray:
    """x's entries along `axis` (of all values when None) where the condition, which may be shorter, is true."""
    n = x.size if axis is None else x.shape[axis]
    return np.compress(condition[:n], x, axis)


@reads("onnx", "Compress")
def read_onnx_compress(r: Reading) -> Tensor:
    return r.emit("Compress", r.input(0), r.input(1), axis=r.attr("axis", None))


@writes("onnx", "Compress")
def write_onnx_compress(w: Writing, node: Node) -> None:
    w.node("Compress", node, node.inputs, fields={} if node.attrs["axis"] is None else {"axis": node.attrs["axis"]})
