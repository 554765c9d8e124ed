"""Tensors made from numbers: Fill and Range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.mindir import mindir_dtype, numbers_or_tensor, operand
from ._support.params import emit_cast, int64_param, write_cast, write_param
from ._support.types import const_ints, dtype_from, dtype_number, fail, joint_dtype, length, one_number, value_dtype
from .qparam_views import stored


def infer_fill(node: Node) -> Inferred:
    dims, value = node.required(0), node.required(1)
    if not one_number(value):
        fail(node, f"the value must be one number, not of shape {value.shape}")
    count, wanted = length(node, dims, "the shape"), const_ints(dims)
    if wanted is not None and min(wanted, default=0) < 0:
        fail(node, f"shape {wanted} has a negative size")
    known = None if count is None else (None,) * count
    return [(value_dtype(value), known if wanted is None else tuple(wanted))]


@op(
    "Fill",
    infer=infer_fill,
    arity=2,
    quant=Quant(int8=False),
    cases=[Case((np.array([2, 3]), np.float32(1.5))), Case((np.array([], np.int64), np.array([7])))],
)
def fill(dims: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A tensor of shape `dims` (int64[n]) that holds `value` everywhere."""
    return np.full([int(n) for n in np.reshape(dims, -1)], np.reshape(value, -1)[0], np.asarray(value).dtype)


@reads("tflite", "FILL")
def read_tflite_fill(r: Reading) -> Tensor:
    return r.emit("Fill", int64_param(r, r.input(0)), stored(r, r.input(1)))


@reads("ms", "Fill")
def read_ms_fill(r: Reading) -> Tensor:
    return r.emit("Fill", int64_param(r, r.input(1)), r.input(0))


@reads("onnx", "ConstantOfShape")
def read_onnx_constant_of_shape(r: Reading) -> Tensor:
    value = r.attr("value", None)
    value = np.zeros(1, np.float32) if value is None else value
    return r.emit("Fill", int64_param(r, r.input(0)), r.constant(value.reshape(()), name=f"{r.name}/value"))


@reads("ms", "ConstantOfShape")
def read_ms_constant_of_shape(r: Reading) -> Tensor:
    dtype = dtype_from("ms", r.attr("data_type", 43), r)
    value = list(r.attr("value", [0.0]))
    return r.emit("Fill", int64_param(r, r.input(0)), r.constant(value[0], dtype))


@reads("tflite", "ZEROS_LIKE")
@reads("ms", "ZerosLike", "OnesLike")
def read_like(r: Reading) -> Tensor:
    x = r.input(0)
    one = r.constant(int(r.op == "OnesLike"), value_dtype(x))
    return r.emit("Fill", r.emit("Shape", x), one)


@reads("mindir", "ZerosLike", "OnesLike")
def read_mindir_like(r: Reading) -> Tensor:
    return read_like(r)


@reads("mindir", "Zeros", "Ones")
def read_mindir_filled(r: Reading) -> Tensor:
    dtype = mindir_dtype(r, r.numbers.get(1) or 43)
    shape = numbers_or_tensor(r, 0, "shape", "shape")
    return r.emit("Fill", shape, r.constant(int(r.op == "Ones"), dtype, f"{r.name}/value"))


@reads("mindir", "FillV2")
def read_mindir_fill(r: Reading) -> Tensor:
    whole = isinstance(r.numbers.get(1), int)
    value = operand(r, 1, np.dtype(np.int64 if whole else np.float32))
    return r.emit("Fill", numbers_or_tensor(r, 0, "shape", "shape"), value)


@reads("mindir", "Range")
def read_mindir_range(r: Reading) -> Tensor:
    whole = all(isinstance(r.numbers.get(k), int) for k in range(3))
    ends = [r.optional(k) or r.constant(r.real(k, key), np.int64 if whole else np.float32)
            for k, key in enumerate(("start", "end", "step"))]  # fmt: skip
    return r.emit("Range", *ends)


@writes("tflite", "Fill")
def write_tflite_fill(w: Writing, node: Node) -> None:
    w.node("FILL", node, [write_param(w, node, node.inputs[0], "shape"), _scalar(w, node, node.required(1))])


@writes("ms", "Fill")
def write_ms_fill(w: Writing, node: Node) -> None:
    w.node("Fill", node, [_scalar(w, node, node.required(1)), write_param(w, node, node.inputs[0], "shape")])


def _scalar(w: Writing, node: Node, t: Tensor) -> Tensor:
    if t.data is None or t.shape == ():
        return t
    return w.constant(t.data.reshape(()), t.dtype, f"{node.name}/value")


@writes("onnx", "Fill")
def write_onnx_fill(w: Writing, node: Node) -> None:
    """ConstantOfShape for a constant value, Expand for another."""
    dims, value = write_param(w, node, node.inputs[0], "shape"), node.required(1)
    if value.data is None:
        w.node("Expand", node, [value, dims])
    else:
        w.node("ConstantOfShape", node, [dims], fields={"value": value.real().reshape(1)})


def infer_range(node: Node) -> Inferred:
    dtype = joint_dtype(node, *node.inputs)
    if not all(one_number(t) for t in node.operands()):
        fail(node, "start, limit and step must be one number each")
    if not all(t.is_const for t in node.operands()):
        return [(dtype, (None,))]
    values = [np.reshape(t.value, -1)[0] for t in node.operands()]
    if values[2] == 0:
        fail(node, "its step is 0")
    return [(dtype, (_count(*values),))]


def _count(start: Any, limit: Any, step: Any) -> int:
    if isinstance(start, np.integer):
        return max(-(-(int(limit) - int(start)) // int(step)), 0)
    return max(int(np.ceil((limit - start) / step)), 0)


@op(
    "Range",
    infer=infer_range,
    arity=3,
    quant=Quant(int8=False),
    cases=[Case((np.array(3), np.array(11), np.array(2))), Case((np.float32(2), np.float32(-1), np.float32(-0.5)))],
)
def range_(start: np.ndarray, limit: np.ndarray, step: np.ndarray) -> np.ndarray:
    """start, start + step, … before limit (scalars of one type)."""
    first, last, by = (np.reshape(v, -1)[0] for v in (start, limit, step))
    return (first + np.arange(_count(first, last, by)).astype(first.dtype) * by).astype(first.dtype)


@reads("tflite", "RANGE")
@reads("onnx", "Range")
def read_range(r: Reading) -> Tensor:
    return r.emit("Range", r.input(0), r.input(1), r.input(2))


@reads("ms", "Range")
def read_ms_range(r: Reading) -> Tensor:
    if len(r.inputs) == 3:
        return read_range(r)
    bounds = (r.attr("start", 0), r.attr("limit", 0), r.attr("delta", 1))
    dtype = dtype_from("ms", r.attr("d_type", 0) or 34, r)
    return r.emit("Range", *(r.constant(v, dtype) for v in bounds))


@writes("tflite", "Range")
def write_tflite_range(w: Writing, node: Node) -> None:
    w.node("RANGE", node, [_scalar(w, node, t) for t in node.operands()])


@writes("onnx", "Range")
def write_onnx_range(w: Writing, node: Node) -> None:
    w.node("Range", node, [_scalar(w, node, t) for t in node.operands()])


@writes("ms", "Range")
def write_ms_range(w: Writing, node: Node) -> None:
    """int64 counts do not exist there: int32 and a cast."""
    y = node.outputs[0]
    if y.dtype != np.int64:
        w.node("Range", node, node.inputs, fields={"d_type": dtype_number("ms", y.dtype)})
        return
    small = np.dtype(np.int32)
    ins: Sequence[Tensor] = [write_cast(w, node, t, small, "bound") for t in node.inputs if t is not None]
    raw = w.between(y, name=f"{y.name}/int32")
    raw.dtype = small
    w.node("Range", node, ins, [raw], fields={"d_type": dtype_number("ms", small)})
    emit_cast(w, node, raw, y)
