"""ArgMax and ArgMin: where along an axis the extreme value stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.caffe import axis_of, param
from ._support.integer import per_tensor
from ._support.layout import moved_axis
from ._support.mindir import mindir_dtype
from ._support.params import emit_cast
from ._support.types import (
    dtype_from,
    dtype_number,
    fail,
    need,
    normal_axis,
)


def infer_arg(node: Node) -> Inferred:
    x, axis = node.required(0), node.attrs["axis"]
    need(node, x, "biuf", "the input")
    dtype = np.dtype(node.attrs["dtype"])
    if x.shape is None:
        return [(dtype, None)]
    axis = normal_axis(node, axis, len(x.shape))
    if x.shape[axis] == 0:
        fail(node, f"axis {axis} is empty")
    if node.attrs["keep_dims"]:
        return [(dtype, tuple(1 if i == axis else n for i, n in enumerate(x.shape)))]
    return [(dtype, tuple(n for i, n in enumerate(x.shape) if i != axis))]


def _arg(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, *, axis: int, keep_dims: bool, select_last: bool, dtype: str) -> np.ndarray:
        """The index of the first (or last) extreme value along `axis`."""
        index = function(np.flip(x, axis) if select_last else x, axis)
        if select_last:
            index = x.shape[axis] - 1 - index
        return np.asarray(np.expand_dims(index, axis) if keep_dims else index, dtype)

    return reference


def _arg_codes(reference: Callable[..., np.ndarray]) -> Callable[[Node, Sequence[Any]], np.ndarray | None]:
    return lambda node, arrays: reference(arrays[0], **node.attrs) if per_tensor(node.inputs[0]) else None


def _permute_arg(node: Node, perm: Sequence[int]) -> Any:
    if not node.attrs["keep_dims"]:
        return None
    return dict(node.attrs) | {"axis": moved_axis(node.attrs["axis"], perm)}, {}


_ARGS = {"ArgMax": (np.argmax, "ARG_MAX", "ArgMaxFusion"), "ArgMin": (np.argmin, "ARG_MIN", "ArgMinFusion")}


def _read_arg_onnx(name: str) -> Callable[[Reading], Tensor]:
    def read(r: Reading) -> Tensor:
        attrs = {"axis": r.attr("axis", 0), "keep_dims": bool(r.attr("keepdims", 1))}
        return r.emit(name, r.input(0), **attrs, select_last=bool(r.attr("select_last_index", 0)))

    return read


def _read_arg_tflite(name: str) -> Callable[[Reading], Tensor]:
    def read(r: Reading) -> Tensor:
        dtype = dtype_from("tflite", r.attr("output_type", 4), r)
        return r.emit(name, r.input(0), axis=r.ints(1, "the axis")[0], dtype=dtype)

    return read


def _read_arg_ms(name: str) -> Callable[[Reading], Tensor]:
    def read(r: Reading) -> Tensor:
        if r.attr("top_k", 1) not in (0, 1) or r.attr("out_max_value", False):
            r.refuse("only the index of the one extreme value is read")
        axis, keep = r.attr("axis", 0), bool(r.attr("keep_dims", False))
        return r.emit(name, r.input(0), axis=axis, keep_dims=keep, dtype="int32")

    return read


for _name, (_function, _tflite, _ms) in _ARGS.items():
    _ref = _arg(_function)
    op(
        _name,
        attrs={"axis": REQUIRED, "keep_dims": False, "select_last": False, "dtype": "int64"},
        infer=infer_arg,
        quant=Quant(finds_largest=_name == "ArgMax"),
        permute=_permute_arg,
        integer=_arg_codes(_ref),
        cases=[
            Case(((3, 7),), {"axis": 1}),
            Case(((2, 5, 3),), {"axis": -2, "keep_dims": True}),
            Case((np.array([[1.0, 2.0, 2.0, 1.0]], np.float32),), {"axis": 1, "select_last": True}),
        ],
    )(_ref)
    reads("onnx", _name)(_read_arg_onnx(_name))
    reads("tflite", _tflite)(_read_arg_tflite(_name))
    reads("ms", _ms)(_read_arg_ms(_name))


def _plain_arg(w: Writing, node: Node) -> None:
    if node.attrs["select_last"]:
        w.refuse(node, "the last of equal values is chosen")


@reads("mindir", "Argmax", "Argmin", "ArgMaxWithValue", "ArgMinWithValue", "ArgMaxExt", "ArgMinExt")
def read_mindir_arg(r: Reading) -> list[Tensor]:
    """…WithValue gives the index and the value; …Ext has no axis for all elements, which is not read."""
    name = "ArgMax" if "ax" in r.op else "ArgMin"
    valued, x = r.op.endswith("WithValue"), r.input(0)
    axis = r.whole(1, "dim" if r.op.endswith("Ext") else "axis", 0 if valued else -1)
    if r.op in ("Argmax", "Argmin"):
        keep = False
        dtype = mindir_dtype(r, r.numbers.get(2) or r.attr("output_type", 34))
    else:
        keep = bool(r.arg(2, "keepdim" if r.op.endswith("Ext") else "keep_dims", False))
        dtype = "int64" if r.op.endswith("Ext") else "int32"
    outputs = [r.emit(name, x, axis=axis, keep_dims=keep, dtype=dtype)]
    if valued and len(r.outputs) > 1:
        outputs.append(r.emit("Reduce", x, mode="max" if name == "ArgMax" else "min", axes=[axis], keep_dims=keep))
    return outputs


@reads("caffe", "ArgMax")
def read_caffe_arg_max(r: Reading) -> Tensor:
    """Positions of the largest values as floats: along an axis, or of each sample's elements, [N, 1, top_k]."""
    p, x = param(r, "argmax_param"), r.input(0)
    if p.top_k != 1:
        r.refuse(f"top_k {p.top_k}, read is 1")
    alone = not p.HasField("axis")
    axis = 1 if alone else axis_of(r, x, p.axis)
    if p.out_max_val and not alone:
        return r.emit("Reduce", x, mode="max", axes=[axis], keep_dims=True)
    if alone:
        x = r.emit("Reshape", x, r.constant([0, -1], np.int64, f"{r.name}/rows"), zero_copies=True)
    at = r.emit("Cast", r.emit("ArgMax", x, axis=axis, keep_dims=True, dtype="int64"), dtype="float32")
    if not alone:
        return at
    if p.out_max_val:
        at = r.emit("Concat", at, r.emit("Reduce", x, mode="max", axes=[1], keep_dims=True), axis=1)
        return r.emit("ExpandDims", at, axes=[2])
    return r.emit("ExpandDims", at, axes=[1])


@writes("tflite", "ArgMax", "ArgMin")
def write_tflite_arg(w: Writing, node: Node) -> None:
    """keep_dims is a RESHAPE after it."""
    _plain_arg(w, node)
    y = node.outputs[0]
    at = w.constant(node.attrs["axis"], np.int32, f"{node.name}/axis")
    fields, name = {"output_type": dtype_number("tflite", y.dtype)}, _ARGS[node.op][1]
    if not node.attrs["keep_dims"]:
        w.node(name, node, [node.inputs[0], at], fields=fields)
        return
    if y.shape is None:
        w.refuse(node, "its rank is not known")
    axis = node.attrs["axis"] % len(y.shape)
    raw = w.between(y, tuple(n for i, n in enumerate(y.shape) if i != axis), f"{y.name}/index")
    w.node(name, node, [node.inputs[0], at], [raw], fields=fields)
    w.node("EXPAND_DIMS", node, [raw, w.constant(axis, np.int32, f"{node.name}/axis")], [y])


@writes("ms", "ArgMax", "ArgMin")
def write_ms_arg(w: Writing, node: Node) -> None:
    """The indices are int32 there."""
    _plain_arg(w, node)
    y = node.outputs[0]
    raw = y
    if y.dtype != np.int32:
        raw = w.between(y, name=f"{y.name}/int32")
        raw.dtype = np.dtype(np.int32)
    fields = {"axis": node.attrs["axis"], "top_k": 1, "keep_dims": node.attrs["keep_dims"], "out_max_value": False}
    w.node(_ARGS[node.op][2], node, node.inputs, [raw], fields=fields)
    if raw is not y:
        emit_cast(w, node, raw, y)


@writes("onnx", "ArgMax", "ArgMin")
def write_onnx_arg(w: Writing, node: Node) -> None:
    y = node.outputs[0]
    raw = y
    if y.dtype != np.int64:
        raw = w.between(y, name=f"{y.name}/int64")
        raw.dtype = np.dtype(np.int64)
    fields = {"axis": node.attrs["axis"], "keepdims": int(node.attrs["keep_dims"])}
    fields |= {"select_last_index": 1} if node.attrs["select_last"] else {}
    w.node(node.op, node, node.inputs, [raw], fields=fields)
    if raw is not y:
        emit_cast(w, node, raw, y)
