"""Softmax, LogSoftmax and Hardmax along one axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..numeric.qparams import code_range
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.c_steps import codes, is_f32, is_s8, outer_n_inner, refuse_types, scale
from ._support.caffe import axis_of, param
from ._support.integer import per_tensor
from ._support.layout import remap_axis
from ._support.types import fail, known_size, need, normal_axis, value_dtype
from .reshape import flattened

SOFTMAX_ONE = 1 << 24
"""What exp(0) counts in the integer softmax."""


def _infer(node: Node) -> Inferred:
    x = node.required(0)
    need(node, x, "f", "the input")
    if x.shape is not None:
        if not x.shape:
            fail(node, "a scalar has no axis")
        normal_axis(node, node.attrs["axis"], len(x.shape))
    return [(value_dtype(x), x.shape)]


def exp_table(node: Node) -> np.ndarray:
    """int64[256]: rne(2^24 · exp(-d · sx · beta)) for the distance d of a code from its row's largest one."""
    x = node.required(0)
    step = float(x.qparams.scale[0]) * node.attrs["beta"]
    return np.array([round(SOFTMAX_ONE * math.exp(-d * step)) for d in range(256)], np.int64)


def _softmax_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    """y = clamp(rne(float32(e) · float32(1 / (Σe · sy))) + zy), e = exp_table[max - q], the quotient in double."""
    y = node.outputs[0]
    if not (per_tensor(node.inputs[0]) and per_tensor(y)) or node.attrs["beta"] < 0:
        return None
    q, axis = arrays[0].astype(np.int64), node.attrs["axis"]
    if q.size == 0:
        return np.zeros(q.shape, y.dtype)
    e = exp_table(node)[q.max(axis, keepdims=True) - q]
    factor = (1.0 / (e.sum(axis, keepdims=True).astype(np.float64) * y.qparams.scale[0])).astype(np.float32)
    qmin, qmax = code_range(min(y.qparams.bits, 8), unsigned=y.dtype.kind == "u")
    return np.clip(np.rint(e.astype(np.float32) * factor) + y.qparams.zero_point[0], qmin, qmax).astype(y.dtype)


@op(
    "Softmax",
    attrs={"axis": -1, "beta": 1.0},
    infer=_infer,
    kernel="softmax",
    quant=Quant(
        output="fixed", fixed=(1 / 256, -128), mslite="the real kernel ignores the output's scale", clamps=True
    ),
    permute=remap_axis("axis"),
    integer=_softmax_codes,
    cases=[
        Case(((3, 10),)),
        Case(((2, 5, 4),), {"axis": 1}),
        Case(((2, 3, 7),), {"axis": -1, "beta": 0.5}),
        Case(((1, 1001),)),
    ],
)
def softmax(x: np.ndarray, *, axis: int, beta: float) -> np.ndarray:
    """exp(beta·x) along `axis`, divided by its sum there."""
    if x.size == 0:
        return x
    e = np.exp((x - x.max(axis, keepdims=True)) * x.dtype.type(beta))
    return (e / e.sum(axis, keepdims=True)).astype(x.dtype)


@op(
    "LogSoftmax",
    attrs={"axis": -1},
    infer=_infer,
    kernel="log_softmax",
    quant=Quant(output="fixed", fixed=(16 / 256, 127), int8=False),
    permute=remap_axis("axis"),
    cases=[Case(((3, 10),)), Case(((2, 5, 4),), {"axis": 1})],
)
def log_softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
    """log(softmax(x)) along `axis`."""
    if x.size == 0:
        return x
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    shifted = wide - wide.max(axis, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))).astype(x.dtype)


@op(
    "Hardmax",
    attrs={"axis": -1},
    infer=_infer,
    quant=Quant(int8=False),
    permute=remap_axis("axis"),
    cases=[Case(((3, 4),)), Case(((2, 5, 4),), {"axis": 1})],
)
def hardmax(x: np.ndarray, *, axis: int) -> np.ndarray:
    """1 at the first largest value along `axis`, else 0."""
    y = np.zeros_like(x)
    if x.size:
        np.put_along_axis(y, np.expand_dims(x.argmax(axis), axis), 1, axis)
    return y


def _flat(name: str) -> Callable[[Reading], Tensor]:
    """ONNX: along one axis since opset 13; before, over everything from `axis` (default 1) on, taken as one axis."""

    def read(r: Reading) -> Tensor:
        x = r.input(0)
        if r.version >= 13:
            return r.emit(name, x, axis=r.attr("axis", -1))
        axis = r.axis(r.attr("axis", 1), r.rank(x))
        if known_size(x.known_shape[axis + 1 :]) == 1:
            return r.emit(name, x, axis=axis)
        return r.emit("Reshape", r.emit(name, flattened(r, x, axis), axis=1), r.emit("Shape", x))

    return read


for _name in ("Softmax", "LogSoftmax", "Hardmax"):
    reads("onnx", _name)(_flat(_name))


@reads("tflite", "SOFTMAX")
def read_tflite_softmax(r: Reading) -> Tensor:
    return r.emit("Softmax", r.input(0), beta=float(r.attr("beta", 1.0)))


@reads("tflite", "LOG_SOFTMAX")
def read_tflite_log_softmax(r: Reading) -> Tensor:
    return r.emit("LogSoftmax", r.input(0))


@reads("ms", "Softmax")
def read_ms_softmax(r: Reading) -> Tensor:
    axes = [int(a) for a in r.attr("axis", [-1])]
    if len(axes) != 1:
        r.refuse(f"several axes {axes} are not read")
    return r.emit("Softmax", r.input(0), axis=axes[0])


@reads("ms", "LogSoftmax")
def read_ms_log_softmax(r: Reading) -> Tensor:
    return r.emit("LogSoftmax", r.input(0), axis=r.attr("axis", 0))


@reads("mindir", "Softmax", "LogSoftmax")
def read_mindir_softmax(r: Reading) -> Tensor:
    axes = r.wholes(1, "axis", -1)
    if len(axes) != 1:
        r.refuse(f"several axes {axes} are not read")
    return r.emit(r.op, r.input(0), axis=axes[0])


@reads("caffe", "Softmax")
def read_caffe_softmax(r: Reading) -> Tensor:
    return r.emit("Softmax", r.input(0), axis=axis_of(r, r.input(0), param(r, "softmax_param").axis))


@writes("ms", "Softmax")
def write_ms_softmax(w: Writing, node: Node) -> None:
    if node.attrs["beta"] != 1.0:
        w.refuse(node, f"beta={node.attrs['beta']} is not in MindSpore Lite")
    w.node("Softmax", node, node.inputs, fields={"axis": [node.attrs["axis"]]})


@writes("ms", "LogSoftmax")
def write_ms_log_softmax(w: Writing, node: Node) -> None:
    w.node("LogSoftmax", node, node.inputs, fields={"axis": node.attrs["axis"]})


@writes("tflite", "Softmax", "LogSoftmax")
def write_tflite_softmax(w: Writing, node: Node) -> None:
    """Only along the last axis there; another is transposed to it and back."""
    x, y = node.required(0), node.outputs[0]
    name, fields = ("SOFTMAX", {"beta": node.attrs["beta"]}) if node.op == "Softmax" else ("LOG_SOFTMAX", {})
    if x.shape is None:
        if node.attrs["axis"] != -1:
            w.refuse(node, "its rank is not known")
        w.node(name, node, [x], fields=fields)
        return
    rank = len(x.shape)
    axis = node.attrs["axis"] % rank
    if axis == rank - 1:
        w.node(name, node, [x], fields=fields)
        return
    perm = [*range(axis), *range(axis + 1, rank), axis]
    back = [perm.index(i) for i in range(rank)]
    turned = w.between(x, tuple(x.shape[p] for p in perm), f"{y.name}/turned")
    result = w.between(y, turned.shape, f"{y.name}/last")
    w.node("TRANSPOSE", node, [x, w.constant(perm, np.int32, f"{node.name}/perm")], [turned])
    w.node(name, node, [turned], [result], fields=fields)
    w.node("TRANSPOSE", node, [result, w.constant(back, np.int32, f"{node.name}/perm")], [y])


@writes("onnx", "Softmax", "LogSoftmax", "Hardmax")
def write_onnx_softmax(w: Writing, node: Node) -> None:
    x, beta = node.required(0), node.attrs.get("beta", 1.0)
    if beta != 1.0:
        scaled = w.between(x, name=f"{node.name}/scaled")
        scaled.quant = None
        w.node("Mul", node, [x, w.constant(beta, x.dtype, f"{node.name}/beta")], [scaled])
        x = scaled
    w.node(node.op, node, [x], fields={"axis": node.attrs["axis"]})


@writes("c", "Softmax")
def write_c_softmax(w: Writing, node: Node) -> None:
    x, y, axis = node.required(0), node.outputs[0], node.attrs["axis"] % node.required(0).known_rank
    rows = outer_n_inner(x.static_shape, axis, axis)
    if is_s8(x, y) and node.attrs["beta"] >= 0:
        power = exp_table(node).astype(np.int32)
        w.node("softmax_s8", node, [x], fields=rows | {"y_scale": scale(y), "out": codes(w, node), "power": power})
    elif is_f32(x, y):
        w.node("softmax_f32", node, [x], fields=rows | {"beta": np.float32(node.attrs["beta"])})
    else:
        refuse_types(w, node)
