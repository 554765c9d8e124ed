"""Joining and cutting along an axis: Concat (Stack reads as one), Split (Unstack reads as one)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor, is_quantized
from ..numeric.qparams import activation_range, foldable, requantize_rne_f32
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import act_from, apply_act, no_act_in_mslite
from ._support.c_steps import codes, copy, is_s8, ratio, refuse_types, same_codes, zero
from ._support.caffe import axis_of, param, sizes_of
from ._support.channels import channel_by_channel
from ._support.integer import one_scale, per_tensor
from ._support.layout import remap_axis
from ._support.params import write_ints
from ._support.types import fail, joint_dtype, normal_axis, value_dtype
from ._support.writers import write_fused, write_onnx


def infer_concat(node: Node) -> Inferred:
    dtype = joint_dtype(node, *node.inputs)
    shapes = [t.shape for t in node.inputs if t is not None]
    if len(shapes) != len(node.inputs):
        fail(node, "an input is missing")
    known = [s for s in shapes if s is not None]
    if not known:
        return [(dtype, None)]
    rank = len(known[0])
    if any(len(s) != rank for s in known):
        fail(node, f"inputs of different ranks: {known}")
    axis = normal_axis(node, node.attrs["axis"], rank)
    out: list[int | None] = []
    for i in range(rank):
        sizes = [s[i] for s in known]
        if i == axis:
            whole = len(known) == len(shapes) and None not in sizes
            out.append(sum(n for n in sizes if n is not None) if whole else None)
            continue
        fixed = {n for n in sizes if n is not None}
        if len(fixed) > 1:
            fail(node, f"inputs do not fit outside axis {axis}: {known}")
        out.append(fixed.pop() if fixed else None)
    return [(dtype, tuple(out))]


def _concat_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    """Each input requantized to the output's parameters (a copy where they are equal), then joined."""
    y, act = node.outputs[0], node.attrs["act"]
    if not one_scale(y) or not foldable(act) or not all(one_scale(t) for t in node.inputs):
        return None
    qy = y.qparams
    qmin, qmax = activation_range(act, qy, y.dtype)
    parts = []
    for t, a in zip(node.operands(), arrays):
        if t.qparams == qy and t.dtype == y.dtype:
            parts.append(np.clip(a, qmin, qmax).astype(y.dtype))
        else:
            acc = a.astype(np.int32) - t.qparams.zero_point
            multiplier = t.qparams.scale / qy.scale
            parts.append(requantize_rne_f32(acc, multiplier, int(qy.zero_point[0]), qmin, qmax, y.dtype))
    return np.concatenate(parts, node.attrs["axis"])


def _passes_channels(node: Node) -> list[int] | None:
    y, axis = node.outputs[0], node.attrs["axis"]
    if y.rank is None or axis not in (-1, y.rank - 1):
        return channel_by_channel(node)
    starts = [0]
    for t in node.inputs:
        channels = t.shape[-1] if t is not None and t.shape else None
        if channels is None:
            return None
        starts.append(starts[-1] + channels)
    return starts[:-1]


@op(
    "Concat",
    attrs={"axis": REQUIRED, "act": "none"},
    infer=infer_concat,
    arity=(1, None),
    kernel="concat",
    quant=Quant(output="same", mslite=no_act_in_mslite, clamps=True, passes_channels=_passes_channels),
    permute=remap_axis("axis"),
    integer=_concat_codes,
    cases=[
        Case(((1, 3, 2, 4), (1, 3, 2, 3)), {"axis": 3}),
        Case(((2, 3), (1, 3), (4, 3)), {"axis": 0}),
        Case(((2, 3, 2), (2, 1, 2)), {"axis": -2, "act": "relu"}),
        Case(((5,),), {"axis": 0}),
    ],
)
def concat(*parts: np.ndarray, axis: int, act: str) -> np.ndarray:
    """The inputs joined along `axis`."""
    return apply_act(np.concatenate(parts, axis), act)


def _act(r: Reading) -> str:
    return act_from("tflite", r.attr("fused_activation_function", 0), r)


@reads("tflite", "CONCATENATION")
def read_tflite_concat(r: Reading) -> Tensor:
    return r.emit_many("Concat", _all(r), axis=r.attr("axis", 0), act=_act(r))[0]


@reads("onnx", "Concat")
def read_onnx_concat(r: Reading) -> Tensor:
    return r.emit_many("Concat", _all(r), axis=r.attr("axis"))[0]


@reads("ms", "Concat")
def read_ms_concat(r: Reading) -> Tensor:
    return r.emit_many("Concat", _all(r), axis=r.attr("axis", 0))[0]


def _all(r: Reading) -> list[Tensor]:
    if not r.inputs:
        r.refuse("it has no inputs")
    return [r.input(i) for i in range(len(r.inputs))]


@reads("tflite", "PACK")
@reads("ms", "Stack")
def read_stack(r: Reading) -> Tensor:
    return _stacked(r, _all(r), r.attr("axis", 0))


def _stacked(r: Reading, parts: list[Tensor], axis: int) -> Tensor:
    """Each input gets the new axis, then they are joined along it. One input is that expansion alone."""
    axis = r.axis(axis, r.rank(parts[0]) + 1)
    wide = [r.emit("ExpandDims", t, axes=[axis]) for t in parts]
    return wide[0] if len(wide) == 1 else r.emit_many("Concat", wide, axis=axis)[0]


@reads("mindir", "Concat")
def read_mindir_concat(r: Reading) -> Tensor:
    return r.emit_many("Concat", r.tensors(0), axis=r.whole(1, "axis", 0))[0]


@reads("mindir", "Stack", "Pack", "StackExt")
def read_mindir_stack(r: Reading) -> Tensor:
    return _stacked(r, r.tensors(0), r.whole(1, "dim" if r.op == "StackExt" else "axis", 0))


@reads("mindir", "Split")
def read_mindir_split(r: Reading) -> list[Tensor]:
    x, axis = r.input(0), r.whole(1, "axis", 0)
    return _pieces(r, x, axis, _even(r, x, axis, r.whole(2, "output_num", 1)))


@reads("mindir", "SplitV", "SplitWithSize", "SplitTensor")
def read_mindir_split_sizes(r: Reading) -> list[Tensor]:
    """Sizes of the pieces; SplitTensor has one for all, the last may be smaller."""
    x = r.input(0)
    old = r.op == "SplitV"
    axis = r.whole(None, "split_dim", 0) if old else r.whole(2, "dim", 0)
    sizes = r.wholes(None, "size_splits") if old else r.wholes(1, "split_size")
    if r.op == "SplitTensor":
        n, size = x.known_shape[axis] if r.rank(x) else None, sizes[0]
        if n is None or size < 1:
            r.refuse(f"axis {axis} of {x.shape} in pieces of {size}", hint=Setting("input_shape"))
        sizes = [min(size, n - at) for at in range(0, n, size)]
    return _pieces(r, x, axis, _rest(r, x, axis, sizes))


@reads("mindir", "Unstack", "Unpack")
def read_mindir_unstack(r: Reading) -> list[Tensor]:
    return _unstacked(r, r.input(0), r.whole(None, "axis", 0), r.whole(None, "num", 0) or len(r.outputs))


@reads("caffe", "Concat")
def read_caffe_concat(r: Reading) -> Tensor:
    p = param(r, "concat_param")
    axis = axis_of(r, r.input(0), p.concat_dim if p.HasField("concat_dim") else p.axis)
    return r.emit_many("Concat", _all(r), axis=axis)[0]


@reads("caffe", "Slice")
def read_caffe_slice(r: Reading) -> list[Tensor]:
    """Pieces between the slice points; equal ones without."""
    p, x = param(r, "slice_param"), r.input(0)
    axis = axis_of(r, x, p.slice_dim if p.HasField("slice_dim") else p.axis)
    if not p.slice_point:
        return _pieces(r, x, axis, _even(r, x, axis, len(r.outputs)))
    if len(p.slice_point) != len(r.outputs) - 1:
        r.refuse(f"{len(p.slice_point)} slice points for {len(r.outputs)} outputs")
    ends = [0, *p.slice_point, sizes_of(r, x)[axis]]
    return _pieces(r, x, axis, [b - a for a, b in itertools.pairwise(ends)])


@writes("ms", "Concat")
def write_ms_concat(w: Writing, node: Node) -> None:
    write_fused(w, node, "Concat", node.inputs, {"axis": _front(node)})


@writes("tflite", "Concat")
def write_tflite_concat(w: Writing, node: Node) -> None:
    write_fused(w, node, "CONCATENATION", node.inputs, {"axis": node.attrs["axis"]})


@writes("onnx", "Concat")
def write_onnx_concat(w: Writing, node: Node) -> None:
    write_onnx(w, node, "Concat", node.inputs, {"axis": node.attrs["axis"]})


def _front(node: Node) -> int:
    axis, rank = node.attrs["axis"], node.outputs[0].rank
    return axis % rank if rank else axis


def infer_split(node: Node) -> Inferred:
    x, sizes = node.required(0), node.attrs["sizes"]
    if not sizes or min(sizes) < 0:
        fail(node, f"sizes {sizes} must be at least 0, and there must be one")
    dtype = value_dtype(x)
    if x.shape is None:
        return [(dtype, None)] * len(sizes)
    axis = normal_axis(node, node.attrs["axis"], len(x.shape))
    if x.shape[axis] not in (None, sum(sizes)):
        fail(node, f"sizes {sizes} do not add up to {x.shape[axis]}")
    return [(dtype, tuple(size if i == axis else n for i, n in enumerate(x.shape))) for size in sizes]


def _split_codes(node: Node, arrays: Sequence[Any]) -> tuple[np.ndarray, ...] | None:
    x = node.required(0)
    if not per_tensor(x) or not all(per_tensor(t) for t in node.outputs):
        return None
    pieces = []
    for t, part in zip(node.outputs, split(arrays[0], **node.attrs)):
        q = t.qparams
        if q == x.qparams and t.dtype == x.dtype:
            pieces.append(part)
        else:
            low, high = activation_range("none", q, t.dtype)
            acc = part.astype(np.int32) - x.qparams.zero_point
            pieces.append(requantize_rne_f32(acc, x.qparams.scale / q.scale, int(q.zero_point[0]), low, high, t.dtype))
    return tuple(pieces)


@op(
    "Split",
    attrs={"axis": REQUIRED, "sizes": REQUIRED},
    infer=infer_split,
    outputs=None,
    kernel="split",
    quant=Quant(output="same", mslite=""),
    permute=remap_axis("axis"),
    integer=_split_codes,
    cases=[
        Case(((1, 3, 8),), {"axis": 2, "sizes": [3, 5]}),
        Case(((4, 3),), {"axis": -2, "sizes": [1, 1, 2]}),
        Case(((2, 3),), {"axis": 1, "sizes": [3]}),
    ],
)
def split(x: np.ndarray, *, axis: int, sizes: list[int]) -> tuple[np.ndarray, ...]:
    """x cut along `axis` into pieces of `sizes`."""
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))


def _even(r: Reading, x: Tensor, axis: int, parts: int, *, last_smaller: bool = False) -> list[int]:
    """The sizes of `parts` equal pieces of x's axis."""
    rank = r.rank(x)
    if parts != len(r.outputs):
        r.refuse(f"it says {parts} pieces and has {len(r.outputs)} outputs")
    if parts < 1 or not -rank <= axis < rank:
        r.refuse(f"axis {axis} of {x.shape} cannot be cut into {parts}")
    n = x.known_shape[axis]
    if n is None:
        r.refuse(f"the size of axis {axis}, which is cut into {parts}, is not known", hint=Setting("input_shape"))
    size = -(-n // parts)
    if n % parts and (not last_smaller or n - size * (parts - 1) < 0):
        r.refuse(f"a size of {n} cannot be cut into {parts} pieces")
    return [size] * (parts - 1) + [n - size * (parts - 1)]


def _pieces(r: Reading, x: Tensor, axis: int, sizes: Sequence[int]) -> list[Tensor]:
    return r.emit_many("Split", [x], axis=axis, sizes=list(sizes))


@reads("tflite", "SPLIT")
def read_tflite_split(r: Reading) -> list[Tensor]:
    """Inputs: axis, x."""
    axis, x = r.ints(0, "the axis")[0], r.input(1)
    return _pieces(r, x, axis, _even(r, x, axis, r.attr("num_splits", len(r.outputs))))


@reads("tflite", "SPLIT_V")
def read_tflite_split_v(r: Reading) -> list[Tensor]:
    """Inputs: x, sizes (one may be -1: the rest), axis."""
    x, sizes, axis = r.input(0), r.ints(1, "the sizes"), r.ints(2, "the axis")[0]
    return _pieces(r, x, axis, _rest(r, x, axis, sizes))


def _rest(r: Reading, x: Tensor, axis: int, sizes: list[int]) -> list[int]:
    if sizes.count(-1) > 1:
        r.refuse(f"sizes {sizes} hold more than one -1")
    if -1 in sizes:
        n = x.known_shape[axis] if r.rank(x) else None
        if n is None:
            r.refuse(f"the size of axis {axis} is not known, so the -1 in {sizes} is not", hint=Setting("input_shape"))
        sizes = [n - sum(s for s in sizes if s != -1) if s == -1 else s for s in sizes]
    return sizes


@reads("onnx", "Split")
def read_onnx_split(r: Reading) -> list[Tensor]:
    """Sizes: an attribute before opset 13, an input since; else equal pieces (since 18 the last may be smaller)."""
    x, axis = r.input(0), r.attr("axis", 0)
    if r.optional(1) is not None and r.input(1).data is None:
        return _pieces_at_run_time(r, x, axis, r.input(1))
    sizes = r.ints(1, "the sizes") if r.optional(1) is not None else r.attr("split", None)
    if sizes is None:
        parts = r.attr("num_outputs", len(r.outputs))
        sizes = _even(r, x, axis, parts, last_smaller=r.version >= 18)
    return _pieces(r, x, axis, [int(s) for s in sizes])


def _pieces_at_run_time(r: Reading, x: Tensor, axis: int, sizes: Tensor) -> list[Tensor]:
    """One Slice each, between the running sums of the sizes."""
    ends = r.emit("CumSum", sizes)
    begins = r.emit("Sub", ends, sizes)
    one, zero = (r.constant([v], np.int64) for v in (1, 0))
    pieces = []
    for i in range(len(r.outputs)):
        at = (r.constant([i], np.int64), r.constant([i + 1], np.int64), zero, one)
        low, high = r.emit("Slice", begins, *at), r.emit("Slice", ends, *at)
        pieces.append(r.emit("Slice", x, low, high, r.constant([axis], np.int64), one))
    return pieces


@reads("ms", "Split")
def read_ms_split(r: Reading) -> list[Tensor]:
    x, axis = r.input(0), r.attr("axis", 0)
    sizes = [int(s) for s in r.attr("size_splits", [])]
    if not sizes and r.optional(1) is not None:
        sizes = r.ints(1, "the sizes")
    if not sizes:
        sizes = _even(r, x, axis, r.attr("output_num", len(r.outputs)) or len(r.outputs))
    return _pieces(r, x, axis, _rest(r, x, axis, sizes))


@reads("tflite", "UNPACK")
@reads("ms", "Unstack")
def read_unstack(r: Reading) -> list[Tensor]:
    return _unstacked(r, r.input(0), r.attr("axis", 0), r.attr("num", 0) or len(r.outputs))


def _unstacked(r: Reading, x: Tensor, axis: int, parts: int) -> list[Tensor]:
    sizes = _even(r, x, axis, parts)
    if sizes[0] != 1:
        r.refuse(f"axis {axis} of {x.shape} does not have the {parts} entries of its outputs")
    pieces = _pieces(r, x, axis, sizes) if parts > 1 else [x]
    return [r.emit("Squeeze", piece, axes=[axis]) for piece in pieces]


@writes("ms", "Split")
def write_ms_split(w: Writing, node: Node) -> None:
    axis, sizes = node.attrs["axis"], node.attrs["sizes"]
    rank = node.outputs[0].rank
    fields = {"output_num": len(sizes), "size_splits": sizes, "axis": axis % rank if rank else axis}
    w.node("Split", node, node.inputs, fields=fields)


@writes("tflite", "Split")
def write_tflite_split(w: Writing, node: Node) -> None:
    axis, sizes = node.attrs["axis"], node.attrs["sizes"]
    at = w.constant(axis, np.int32, f"{node.name}/axis")
    if len(set(sizes)) == 1:
        w.node("SPLIT", node, [at, node.inputs[0]], fields={"num_splits": len(sizes)})
    else:
        many = write_ints(w, node, sizes, "sizes")
        w.node("SPLIT_V", node, [node.inputs[0], many, at], fields={"num_splits": len(sizes)})


@writes("onnx", "Split")
def write_onnx_split(w: Writing, node: Node) -> None:
    sizes = write_ints(w, node, node.attrs["sizes"], "sizes")
    w.node("Split", node, [node.inputs[0], sizes], fields={"axis": node.attrs["axis"]})


@writes("c", "Concat")
def write_c_concat(w: Writing, node: Node) -> None:
    """Each input to its place: moved, or brought to the output's parameters on the way."""
    y = node.outputs[0]
    shape, axis = y.static_shape, node.attrs["axis"] % y.known_rank
    rows, row, at = math.prod(shape[:axis]), math.prod(shape[axis:]), 0
    act = node.attrs["act"]
    for x in node.operands():
        run = math.prod(x.static_shape[axis:])
        if is_s8(x, y) and not (same_codes(x, y) and act == "none"):
            w.node("requantize_s8", node, [x], fields={
                "rows": rows, "run": run, "x_row": run, "y_row": row, "x_zero": zero(x),
                "same": int(same_codes(x, y)), "x_flip": 0, "y_flip": 0, "scale": ratio(x, y), "out": codes(w, node),
            }, into=at)  # fmt: skip
        elif x.dtype == y.dtype and act == "none" and (not is_quantized(y) or same_codes(x, y)):
            copy(w, node, x, y, [rows, run], [run, 1], [row, 1], 0, at)
        else:
            refuse_types(w, node)
        at += run


@writes("c", "Split")
def write_c_split(w: Writing, node: Node) -> None:
    x, at = node.required(0), 0
    shape, axis = x.static_shape, node.attrs["axis"] % x.known_rank
    rows, row = math.prod(shape[:axis]), math.prod(shape[axis:])
    for y in node.outputs:
        run = math.prod(y.static_shape[axis:])
        if is_quantized(x) and not same_codes(x, y):
            refuse_types(w, node)
        copy(w, node, x, y, [rows, run], [row, 1], [run, 1], at, 0)
        at += run
