"""Discrete Fourier transforms: ONNX's DFT and STFT, TFLite's RFFT2D, and their complex numbers as two parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.types import const_ints, fail, need, normal_axis, value_dtype
from ._support.windowed import write_reshape
from ._support.writers import need_opset

_NO_INT8 = Quant(int8=False)
# Where a container has no transform, its matrix is a constant: 32 MB at this length.
_LONGEST_PRODUCT = 2048


def _sizes_of_dft(node: Node) -> tuple[int, int | None, int | None, bool, bool]:
    """(axis, length of the transform, size of the axis in the result, inverse, onesided)."""
    a, x, given, at = node.attrs, node.required(0), node.input(1), node.input(2)
    axis = normal_axis(node, a["axis"] if at is None else (const_ints(at) or [-2])[0], x.known_rank)
    size, back = x.known_shape[axis], a["inverse"] and a["onesided"]
    count = None if given is None else (const_ints(given) or [None])[0]
    if count is None and given is None and size is not None:
        count = 2 * (size - 1) if back else size
    length = None if count is None else count // 2 + 1 if a["onesided"] and not back else count
    return axis, count, length, a["inverse"], a["onesided"]


def _infer_dft(node: Node) -> Inferred:
    x = node.required(0)
    need(node, x, "f", "the input")
    if x.shape is None:
        return [(value_dtype(x), None)]
    if len(x.shape) < 2 or x.shape[-1] not in (1, 2, None):
        fail(node, f"an input of shape {x.shape}; the last size is 1 for reals, 2 for complex numbers")
    axis, count, length, inverse, onesided = _sizes_of_dft(node)
    if axis == len(x.shape) - 1 or (count is not None and count < 1):
        fail(node, f"{count} values along axis {axis} of {x.shape}")
    if onesided and x.shape[-1] not in (2 if inverse else 1, None):
        fail(node, f"a one-sided transform of shape {x.shape}")
    parts = 1 if inverse and onesided else 2
    at = node.input(2)
    if at is not None and at.data is None:
        return [(value_dtype(x), (*[None] * (len(x.shape) - 1), parts))]
    return [(value_dtype(x), (*x.shape[:axis], length, *x.shape[axis + 1 : -1], parts))]


@op(
    "Dft",
    attrs={"axis": -2, "inverse": False, "onesided": False},
    infer=_infer_dft,
    arity=(1, 3),
    quant=_NO_INT8,
    cases=[
        Case(((2, 5, 1),)),
        Case(((2, 6, 3, 2),), {"axis": 1, "inverse": True}),
        Case(((2, 6, 1), np.array(4)), {"onesided": True}),
        Case(((2, 3, 6, 1), None, np.array(1)), {"onesided": True}),
        Case(((2, 4, 2),), {"onesided": True, "inverse": True}),
    ],
)
def dft(
    x: np.ndarray,
    count: np.ndarray | None = None,
    at: np.ndarray | None = None,
    *,
    axis: int,
    inverse: bool,
    onesided: bool,
) -> np.ndarray:
    """Discrete Fourier transform along an axis of x [.., 1] (reals) or [.., 2] (complex), padded or cut to `count`."""
    wide = x.astype(np.float64) if x.dtype == np.float64 else x.astype(np.float32)
    z = wide[..., 0] + np.complex64(1j) * wide[..., 1] if x.shape[-1] == 2 else wide[..., 0]
    axis = (axis if at is None else int(np.reshape(at, -1)[0])) % x.ndim
    length = None if count is None else int(np.reshape(count, -1)[0])
    if onesided and inverse:
        return np.fft.irfft(z, 2 * (x.shape[axis] - 1) if length is None else length, axis)[..., None].astype(x.dtype)
    if onesided:
        y = np.fft.rfft(z, length, axis)
    else:
        y = np.fft.ifft(z, length, axis) if inverse else np.fft.fft(z, length, axis)
    return np.stack([y.real, y.imag], -1).astype(x.dtype)


@reads("onnx", "DFT")
def read_dft(r: Reading) -> Tensor:
    """The axis: an attribute before opset 20, an input since."""
    attrs = {k: bool(r.attr(k, 0)) for k in ("inverse", "onesided")}
    if r.version < 20:
        return r.emit("Dft", r.input(0), r.optional(1), axis=int(r.attr("axis", 1)), **attrs)
    return r.emit("Dft", r.input(0), r.optional(1), r.optional(2), **attrs)


@writes("onnx", "Dft")
def write_dft(w: Writing, node: Node) -> None:
    need_opset(w, node, 20, "a DFT with its axis as an input")
    a = node.attrs
    if a["inverse"] and a["onesided"]:
        w.refuse(node, "its result is real; runtimes of this opset give a complex one")
    axis = node.input(2) or w.constant(a["axis"], np.int64, f"{node.name}/axis")
    w.node("DFT", node, [node.inputs[0], node.input(1), axis], fields={k: int(a[k]) for k in ("inverse", "onesided")})


@reads("onnx", "STFT")
def read_stft(r: Reading) -> Tensor:
    """signal [N, L] or [N, L, 1] → [N, frames, bins, 2]: frames cut out, weighted by the window, transformed."""
    x, step = r.input(0), r.ints(1, "the frame step")[0]
    window = r.optional(2)
    if r.rank(x) == 3:
        if x.known_shape[2] != 1:
            r.refuse(f"a signal of shape {x.shape}; of complex numbers it is not read")
        x = r.emit("Squeeze", x, axes=[2])
    length = r.ints(3, "the frame length")[0] if r.optional(3) is not None else None
    if length is None and window is not None and window.shape is not None and len(window.shape) == 1:
        length = window.shape[0]
    size = x.known_shape[1]
    if size is None:
        r.refuse(f"the length of {x.name!r} is not known", hint=Setting("input_shape"))
    if length is None or step < 1 or not 1 <= length <= size:
        r.refuse(f"frames of {length} values every {step} do not fit a signal of {size}")
    starts = np.arange(0, size - length + 1, step)[:, None]
    frames = r.emit("Gather", x, r.constant(starts + np.arange(length), np.int64), axis=1)
    if window is not None:
        frames = r.emit("Mul", frames, window)
    return r.emit("Dft", r.emit("ExpandDims", frames, axes=[3]), axis=2, onesided=bool(r.attr("onesided", 1)))


@reads("tflite", "RFFT2D")
def read_rfft2d(r: Reading) -> Tensor:
    """x [.., H, W] → complex [.., h, w / 2 + 1], of the sizes h and w that input 1 says."""
    x, (high, wide) = r.input(0), r.ints(1, "the lengths of the transform")
    rank = r.rank(x)
    y = r.emit("ExpandDims", x, axes=[rank])
    y = r.emit("Dft", y, r.constant(wide, np.int64), axis=rank - 1, onesided=True)
    if high != 1:
        y = r.emit("Dft", y, r.constant(high, np.int64), axis=rank - 2)
    elif x.known_shape[rank - 2] != 1:
        r.refuse(f"the first of {x.known_shape[rank - 2]} rows is asked for")
    re, im = (r.emit("Gather", y, r.constant(k, np.int64), axis=rank) for k in (0, 1))
    return r.complex(re, im)


_OF_COMPLEX = {"COMPLEX_ABS", "REAL", "IMAG"}
_MOVES = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "GATHER", "CONCATENATION", "PACK"}


def by_parts(function: Callable[[Reading], Any]) -> Callable[[Reading], Any]:
    """A reader that takes complex numbers, too: what it does to real ones is done to their two parts."""

    def read(r: Reading) -> Any:
        known, given = r.build.complex, r.inputs
        if r.op in _OF_COMPLEX or not any(t in known for t in given):
            return function(r)
        if r.op not in (*_MOVES, "CAST"):
            r.refuse("of complex numbers it is not read")
        parts = []
        for k in (0, 1):
            r.inputs = [known[t][k] if t in known else t for t in given]
            if r.op == "CAST" and r.outputs[0].dtype.kind != "c":
                return function(r)
            parts.append(r.inputs[0] if r.op == "CAST" else function(r))
        return r.complex(*parts)

    return read


@reads("tflite", "COMPLEX_ABS")
def read_complex_abs(r: Reading) -> Tensor:
    re, im = r.parts(0)
    return r.emit("Sqrt", r.emit("Add", r.emit("Mul", re, re), r.emit("Mul", im, im)))


@reads("tflite", "REAL")
def read_real(r: Reading) -> Tensor:
    return r.emit("Identity", r.parts(0)[0])


@reads("tflite", "IMAG")
def read_imag(r: Reading) -> Tensor:
    return r.emit("Identity", r.parts(0)[1])


def _one_sided(node: Node) -> tuple[int, int, int] | None:
    """(size, length, bins) of the one-sided transform of the last axis of reals [.., size, 1]; None for another."""
    axis, count, bins, inverse, onesided = _sizes_of_dft(node)
    shape = node.required(0).known_shape
    size = shape[axis]
    if inverse or not onesided or axis != len(shape) - 2 or size is None or count is None or bins is None:
        return None
    return size, count, bins


def _write_product(w: Writing, node: Node, op: str, fields: dict[str, Any]) -> None:
    """A one-sided transform of reals as signals [rows, size] times its matrix [size, 2 bins]."""
    x, y, sizes = node.required(0), node.outputs[0], _one_sided(node)
    if sizes is None:
        w.refuse(node, "only a one-sided transform of the last axis of reals is there", hint=Setting("input_shape"))
    size, count, bins = sizes
    if size > _LONGEST_PRODUCT:
        w.refuse(node, f"a transform of {size} values; at most {_LONGEST_PRODUCT} are written as a product")
    at = np.arange(size)[:, None]
    turns = 2 * np.pi / count * (at * np.arange(bins) % count)
    matrix = np.stack([np.cos(turns), -np.sin(turns)], -1) * (at < count)[..., None]
    columns = matrix.reshape(size, 2 * bins).astype(x.dtype)
    rows = 1
    for n in x.known_shape[:-2]:
        rows = None if n is None or rows is None else rows * n
    signals = w.between(x, (rows, size), f"{node.name}/signals")
    product = w.between(y, (rows, 2 * bins), f"{node.name}/product")
    write_reshape(w, node, x, signals)
    w.node(op, node, [signals, w.constant(columns, name=f"{node.name}/matrix")], [product], fields=fields)
    write_reshape(w, node, product, y)


@writes("ms", "Dft")
def write_ms_dft(w: Writing, node: Node) -> None:
    fields = {"transpose_a": False, "transpose_b": False, "activation_type": 0}
    _write_product(w, node, "MatMulFusion", fields)


@writes("tflite", "Dft")
def write_tflite_dft(w: Writing, node: Node) -> None:
    """RFFT2D where it is there: of powers of two. A product elsewhere."""
    x, y, sizes = node.required(0), node.outputs[0], _one_sided(node)
    if sizes is None or sizes[1] & (sizes[1] - 1) or None in x.known_shape or x.dtype != np.float32:
        _write_product(w, node, "BATCH_MATMUL", {"adj_x": False, "adj_y": False})
        return
    size, count, bins = sizes
    rows = x.known_shape[:-2]
    signals = w.between(x, (*rows, 1, size), f"{node.name}/signals")
    write_reshape(w, node, x, signals)
    spectrum = w.between(y, (*rows, 1, bins), f"{node.name}/spectrum")
    spectrum.dtype = np.dtype(np.complex64)
    w.node("RFFT2D", node, [signals, w.constant([1, count], np.int32, "lengths")], [spectrum])
    parts = []
    for name in ("REAL", "IMAG"):
        parts.append(w.between(y, spectrum.shape, f"{node.name}/{name.lower()}"))
        w.node(name, node, [spectrum], [parts[-1]])
    pairs = w.between(y, (*spectrum.known_shape, 2), f"{node.name}/pairs")
    w.node("PACK", node, parts, [pairs], fields={"values_count": 2, "axis": len(spectrum.known_shape)})
    write_reshape(w, node, pairs, y)
