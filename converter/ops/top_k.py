"""TopK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor, is_quantized
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.layout import remap_axis
from ._support.mindir import numbers_or_tensor
from ._support.params import emit_cast, int64_param, write_cast
from ._support.types import const_ints, fail, length, need, normal_axis, value_dtype


def infer_top_k(node: Node) -> Inferred:
    x, k = node.required(0), node.required(1)
    need(node, x, "iuf", "the input")
    if length(node, k, "k") not in (None, 1):
        fail(node, f"k must be one number, not of shape {k.shape}")
    indices = np.dtype(node.attrs["dtype"])
    if x.shape is None:
        return [(value_dtype(x), None), (indices, None)]
    axis, wanted = normal_axis(node, node.attrs["axis"], len(x.shape)), const_ints(k)
    n = None if wanted is None else wanted[0]
    size = x.shape[axis]
    if n is not None and (n < 0 or (size is not None and n > size)):
        fail(node, f"k is {n}, axis {axis} of {x.shape} has fewer entries")
    shape = tuple(n if i == axis else m for i, m in enumerate(x.shape))
    return [(value_dtype(x), shape), (indices, shape)]


def _top_k_codes(node: Node, arrays: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    x, y = node.required(0), node.outputs[0]
    if not is_quantized(x) or x.quant != y.quant or x.dtype != y.dtype or x.qparams.axis is not None:
        return None
    return top_k(*arrays, **node.attrs)


@op(
    "TopK",
    attrs={"axis": -1, "largest": True, "sorted": True, "dtype": "int64"},
    infer=infer_top_k,
    arity=2,
    outputs=2,
    quant=Quant(output="same"),
    const_inputs={1: "k"},
    permute=remap_axis("axis"),
    integer=_top_k_codes,
    cases=[
        Case(((3, 7), np.array([3]))),
        Case(((2, 5, 3), np.array([2])), {"axis": 1, "largest": False}),
        Case((np.array([[1, 3, 3, 2, 3]]), np.array([2])), {"dtype": "int32"}),
    ],
)
def top_k(
    x: np.ndarray, k: np.ndarray, *, axis: int, largest: bool, sorted: bool, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest (or smallest) values along `axis` in order, and where they stand; of equal ones the first."""
    n = int(np.reshape(k, -1)[0])
    if largest:
        # Backwards, so that after the last turn equal values keep their order.
        at = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        at = np.argsort(x, axis, kind="stable")
    at = np.take(at, range(n), axis)
    return np.take_along_axis(x, at, axis), at.astype(dtype)


@reads("onnx", "TopK")
def read_onnx_top_k(r: Reading) -> list[Tensor]:
    """k: an attribute before opset 10, an input since."""
    k = r.constant([r.attr("k")], np.int64) if r.version < 10 else int64_param(r, r.input(1))
    attrs = {"axis": r.attr("axis", -1), "largest": bool(r.attr("largest", 1)), "sorted": bool(r.attr("sorted", 1))}
    return r.emit_many("TopK", [r.input(0), k], **attrs)


@reads("tflite", "TOPK_V2")
def read_tflite_top_k(r: Reading) -> list[Tensor]:
    dtype = r.outputs[1].dtype.name if len(r.outputs) > 1 else "int32"
    return r.emit_many("TopK", [r.input(0), int64_param(r, r.input(1))], dtype=dtype)


@reads("ms", "TopKFusion")
def read_ms_top_k(r: Reading) -> list[Tensor]:
    """`largest` is not read: files leave it 0, and the runtime always takes the largest."""
    attrs = {"axis": r.attr("axis", -1), "sorted": bool(r.attr("sorted", True)), "dtype": "int32"}
    return r.emit_many("TopK", [r.input(0), int64_param(r, r.input(1))], **attrs)


def _int32_indices(w: Writing, node: Node, index: int) -> tuple[list[Tensor], Tensor | None]:
    """The node's outputs with int32 at `index`, and the one to cast afterwards when the IR has another type."""
    outs = list(node.outputs)
    if outs[index].dtype == np.int32:
        return outs, None
    outs[index] = w.between(node.outputs[index], name=f"{node.outputs[index].name}/int32")
    outs[index].dtype = np.dtype(np.int32)
    return outs, outs[index]


@reads("mindir", "TopK", "TopkExt")
def read_mindir_top_k(r: Reading) -> list[Tensor]:
    k = numbers_or_tensor(r, 1, "k", "k")
    if r.op == "TopK":
        return r.emit_many("TopK", [r.input(0), k], sorted=bool(r.attr("sorted", True)), dtype="int32")
    attrs = {"axis": r.whole(2, "dim", -1), "largest": bool(r.arg(3, "largest", True))}
    return r.emit_many("TopK", [r.input(0), k], **attrs, sorted=bool(r.arg(4, "sorted", True)))


@writes("tflite", "TopK")
@writes("ms", "TopK")
def write_top_k(w: Writing, node: Node) -> None:
    x, k = node.required(0), node.required(1)
    if not node.attrs["largest"]:
        w.refuse(node, "it takes the smallest values")
    rank = x.rank
    if w.container == "tflite" and node.attrs["axis"] != -1 and (rank is None or node.attrs["axis"] % rank != rank - 1):
        w.refuse(node, f"axis {node.attrs['axis']} is not the last one")
    outs, cast = _int32_indices(w, node, 1)
    if k.data is not None:
        shape = () if w.container == "tflite" else (1,)
        k = w.constant(k.data.reshape(shape), np.int32, f"{node.name}/k")
    else:
        k = write_cast(w, node, k, np.dtype(np.int32), "k")
    if w.container == "tflite":
        w.node("TOPK_V2", node, [x, k], outs)
    else:
        fields = {"sorted": node.attrs["sorted"], "axis": node.attrs["axis"], "largest": 1}
        w.node("TopKFusion", node, [x, k], outs, fields=fields)
    if cast is not None:
        emit_cast(w, node, cast, node.outputs[1])


@writes("onnx", "TopK")
def write_onnx_top_k(w: Writing, node: Node) -> None:
    k, outs = node.required(1), list(node.outputs)
    if outs[1].dtype != np.int64:
        outs[1] = w.between(outs[1], name=f"{outs[1].name}/int64")
        outs[1].dtype = np.dtype(np.int64)
    if k.data is not None:
        k = w.constant(k.data.reshape(1), np.int64, f"{node.name}/k")
    fields = {"axis": node.attrs["axis"], "largest": int(node.attrs["largest"]), "sorted": int(node.attrs["sorted"])}
    w.node("TopK", node, [node.inputs[0], k], outs, fields=fields)
    if outs[1] is not node.outputs[1]:
        emit_cast(w, node, outs[1], node.outputs[1])
