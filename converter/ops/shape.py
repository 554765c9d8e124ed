"""Facts about shapes as values (Shape, Size, Rank), and tensors made from shapes (Fill, Range, BroadcastTo, Tile)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formats.reading import Reading
from ..formats.writing import Writing
from ..ir import Node, Tensor
from ..opdef import Case, Inferred, Quant, op, reads, writes
from .integer import same_codes
from .layout import remap_const
from .params import emit_cast, int64_param, write_cast, write_param
from .types import (
    broadcast,
    broadcasts_to,
    const_ints,
    dtype_from,
    dtype_number,
    fail,
    joint_dtype,
    length,
    one_number,
    value_dtype,
)


def infer_shape(node: Node) -> Inferred:
    x = node.inputs[0]
    assert x is not None
    dtype = np.dtype(node.attrs["dtype"])
    if x.shape is None:
        return [(dtype, (None,))]
    return [(dtype, (len(range(len(x.shape))[slice(node.attrs["start"], node.attrs["end"])]),))]


def _known_shape(node: Node) -> tuple[np.ndarray, ...] | None:
    x = node.inputs[0]
    assert x is not None
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
    integer=lambda node, arrays: shape(arrays[0], **node.attrs),
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
    x = node.inputs[0]
    assert x is not None
    if x.shape is None or None in x.shape:
        return None
    return (np.asarray(np.prod(x.shape, dtype=np.int64), node.attrs["dtype"]),)


def _infer_scalar(node: Node) -> Inferred:
    return [(np.dtype(node.attrs["dtype"]), ())]


@op(
    "Size",
    attrs={"dtype": "int64"},
    infer=_infer_scalar,
    quant=Quant(int8=False),
    known_value=_known_size,
    integer=lambda node, arrays: size(arrays[0], **node.attrs),
    cases=[Case(((2, 3, 4),))],
)
def size(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """The number of elements, a scalar."""
    return np.asarray(x.size, dtype)


def _known_rank(node: Node) -> tuple[np.ndarray, ...] | None:
    x = node.inputs[0]
    assert x is not None
    return None if x.shape is None else (np.asarray(len(x.shape), node.attrs["dtype"]),)


@op(
    "Rank",
    attrs={"dtype": "int32"},
    infer=_infer_scalar,
    quant=Quant(int8=False),
    known_value=_known_rank,
    integer=lambda node, arrays: rank(arrays[0], **node.attrs),
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
    made = y if y.dtype == np.int64 else w.between(y, name=f"{y.name}/int64")
    sizes.dtype = made.dtype = np.dtype(np.int64)
    w.node("Shape", node, node.inputs, [sizes])
    w.node("Size", node, [sizes], [made])
    if made is not y:
        emit_cast(w, node, made, y)


@writes("ms", "Size", "Rank")
def write_ms_size(w: Writing, node: Node) -> None:
    _typed(w, node, node.op, np.dtype(np.int32))


@writes("tflite", "Rank")
def write_tflite_rank(w: Writing, node: Node) -> None:
    _typed(w, node, "RANK", np.dtype(np.int32))


def infer_broadcast_to(node: Node) -> Inferred:
    x, to = node.inputs[0], node.inputs[1]
    assert x is not None and to is not None
    count, wanted, dtype = length(node, to, "the shape"), const_ints(to), value_dtype(x)
    if count is None or x.shape is None:
        return [(dtype, None if wanted is None or node.attrs["both_ways"] else tuple(wanted))]
    if wanted is not None and min(wanted, default=0) < 0:
        fail(node, f"shape {wanted} has a negative size")
    target = (None,) * count if wanted is None else tuple(wanted)
    if node.attrs["both_ways"]:
        known = wanted is not None
        rank_ = max(len(x.shape), count)
        return [(dtype, broadcast(node, x.shape, target) if known else (None,) * rank_)]
    if not broadcasts_to(x.shape, target):
        fail(node, f"{x.shape} does not broadcast to {target}")
    return [(dtype, target)]


def _broadcast_to(x: np.ndarray, to: np.ndarray, *, both_ways: bool) -> np.ndarray:
    wanted = tuple(int(n) for n in np.reshape(to, -1))
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, wanted) if both_ways else wanted)


@op(
    "BroadcastTo",
    attrs={"both_ways": False},
    infer=infer_broadcast_to,
    arity=2,
    kernel="broadcast_to",
    const_inputs={1: "shape"},
    quant=Quant(output="same"),
    integer=same_codes(_broadcast_to),
    cases=[
        Case(((3, 1), np.array([2, 3, 4]))),
        Case(((3, 4), np.array([3, 1])), {"both_ways": True}),
        Case(((), np.array([2, 2]))),
    ],
)
def broadcast_to(x: np.ndarray, to: np.ndarray, *, both_ways: bool) -> np.ndarray:
    """x repeated to the shape `to` (int64[n]), or to what both broadcast to when `both_ways` (ONNX Expand)."""
    return _broadcast_to(x, to, both_ways=both_ways)


@reads("tflite", "BROADCAST_TO")
def read_tflite_broadcast_to(r: Reading) -> Tensor:
    return r.emit("BroadcastTo", r.input(0), int64_param(r, r.input(1)))


@reads("onnx", "Expand")
def read_onnx_expand(r: Reading) -> Tensor:
    x, to = r.input(0), r.input(1)
    if to.data is not None and x.shape is not None and None not in x.shape:
        wanted = tuple(r.ints(1))
        whole = broadcast(Node("BroadcastTo", r.name, [], []), x.shape, wanted)
        return r.emit("BroadcastTo", x, r.constant(list(whole or ()), np.int64, f"{r.name}/shape"))
    return r.emit("BroadcastTo", x, int64_param(r, to), both_ways=True)


@reads("ms", "BroadcastTo")
def read_ms_broadcast_to(r: Reading) -> Tensor:
    to = r.optional(1)
    if to is None:
        to = r.constant([int(n) for n in r.attr("shape")], np.int64, f"{r.name}/shape")
    return r.emit("BroadcastTo", r.input(0), int64_param(r, to), both_ways=True)


@writes("tflite", "BroadcastTo")
def write_tflite_broadcast_to(w: Writing, node: Node) -> None:
    w.node("BROADCAST_TO", node, [node.inputs[0], write_param(w, node, _target(w, node), "shape")], version=2)


@writes("ms", "BroadcastTo")
def write_ms_broadcast_to(w: Writing, node: Node) -> None:
    to = _target(w, node)
    known = const_ints(to)
    fields = {} if known is None else {"shape": known}
    w.node("BroadcastTo", node, [node.inputs[0], write_param(w, node, to, "shape")], fields=fields)


def _target(w: Writing, node: Node) -> Tensor | None:
    y = node.outputs[0]
    if not node.attrs["both_ways"]:
        return node.inputs[1]
    if y.shape is None or None in y.shape:
        w.refuse(node, "its shape is not known", hint="--inputShape")
    return w.constant(y.shape, np.int64, f"{node.name}/shape")


@writes("onnx", "BroadcastTo")
def write_onnx_expand(w: Writing, node: Node) -> None:
    w.node("Expand", node, [node.inputs[0], write_param(w, node, node.inputs[1], "shape")])


def infer_tile(node: Node) -> Inferred:
    x, repeats = node.inputs[0], node.inputs[1]
    assert x is not None and repeats is not None
    count, wanted, dtype = length(node, repeats, "the repeats"), const_ints(repeats), value_dtype(x)
    if x.shape is None:
        return [(dtype, None)]
    if count is not None and count != len(x.shape):
        fail(node, f"{count} repeats for a tensor of rank {len(x.shape)}")
    if wanted is None:
        return [(dtype, (None,) * len(x.shape))]
    if min(wanted, default=0) < 0:
        fail(node, f"repeats {wanted} must be at least 0")
    return [(dtype, tuple(None if n is None else n * k for n, k in zip(x.shape, wanted)))]


def _tile(x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    return np.tile(x, [int(k) for k in np.reshape(repeats, -1)])


@op(
    "Tile",
    infer=infer_tile,
    arity=2,
    kernel="tile",
    quant=Quant(output="same"),
    const_inputs={1: "repeats"},
    permute=remap_const(1),
    integer=same_codes(_tile),
    cases=[Case(((2, 3), np.array([1, 2]))), Case(((2, 1, 3), np.array([3, 2, 1])))],
)
def tile(x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """x repeated `repeats` (int64[r]) times along each axis."""
    return _tile(x, repeats)


@reads("tflite", "TILE")
@reads("onnx", "Tile")
def read_tile(r: Reading) -> Tensor:
    return r.emit("Tile", r.input(0), int64_param(r, r.input(1)))


@reads("ms", "TileFusion")
def read_ms_tile(r: Reading) -> Tensor:
    if r.optional(1) is not None:
        return r.emit("Tile", r.input(0), int64_param(r, r.input(1)))
    return r.emit("Tile", r.input(0), r.constant([int(n) for n in r.attr("dims")], np.int64))


@writes("tflite", "Tile")
def write_tflite_tile(w: Writing, node: Node) -> None:
    w.node("TILE", node, [node.inputs[0], write_param(w, node, node.inputs[1], "repeats")])


@writes("ms", "Tile")
def write_ms_tile(w: Writing, node: Node) -> None:
    w.node("TileFusion", node, [node.inputs[0], write_param(w, node, node.inputs[1], "repeats")])


@writes("onnx", "Tile")
def write_onnx_tile(w: Writing, node: Node) -> None:
    w.node("Tile", node, [node.inputs[0], write_param(w, node, node.inputs[1], "repeats")])


def infer_fill(node: Node) -> Inferred:
    dims, value = node.inputs[0], node.inputs[1]
    assert dims is not None and value is not None
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
    return r.emit("Fill", int64_param(r, r.input(0)), r.input(1))


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


@writes("tflite", "Fill")
def write_tflite_fill(w: Writing, node: Node) -> None:
    w.node("FILL", node, [write_param(w, node, node.inputs[0], "shape"), _scalar(w, node, node.inputs[1])])


@writes("ms", "Fill")
def write_ms_fill(w: Writing, node: Node) -> None:
    w.node("Fill", node, [_scalar(w, node, node.inputs[1]), write_param(w, node, node.inputs[0], "shape")])


def _scalar(w: Writing, node: Node, t: Tensor | None) -> Tensor:
    assert t is not None
    if t.data is None or t.shape == ():
        return t
    return w.constant(t.data.reshape(()), t.dtype, f"{node.name}/value")


@writes("onnx", "Fill")
def write_onnx_fill(w: Writing, node: Node) -> None:
    """ConstantOfShape for a constant value, Expand for another."""
    dims, value = write_param(w, node, node.inputs[0], "shape"), node.inputs[1]
    assert value is not None
    if value.data is None:
        w.node("Expand", node, [value, dims])
    else:
        w.node("ConstantOfShape", node, [dims], fields={"value": value.real().reshape(1)})


def infer_range(node: Node) -> Inferred:
    dtype = joint_dtype(node, *node.inputs)
    for t in node.inputs:
        if t is None or not one_number(t):
            fail(node, "start, limit and step must be one number each")
    if any(t.data is None for t in node.inputs):  # pyright: ignore[reportOptionalMemberAccess]
        return [(dtype, (None,))]
    values = [np.reshape(t.data, -1)[0] for t in node.inputs]  # pyright: ignore
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
    w.node("RANGE", node, [_scalar(w, node, t) for t in node.inputs])


@writes("onnx", "Range")
def write_onnx_range(w: Writing, node: Node) -> None:
    w.node("Range", node, [_scalar(w, node, t) for t in node.inputs])


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
