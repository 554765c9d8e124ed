"""Slice: a range with a step per axis. Reads ONNX Slice, TFLite SLICE and STRIDED_SLICE with its masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.c_steps import copy, strides_of
from ._support.caffe import axis_of, param, sizes_of
from ._support.integer import same_codes
from ._support.layout import moved_axis
from ._support.mindir import numbers_or_tensor
from ._support.params import int64_param, write_ints, write_param
from ._support.types import const_ints, fail, length, normal_axis, value_dtype

_INT64_MAX = 2**63 - 1


def _ranges(rank: int, begin: Any, end: Any, axes: Any, step: Any) -> list[tuple[int, int, int, int]]:
    """(axis, begin, end, step) per sliced axis."""
    begins, ends = [int(v) for v in np.reshape(begin, -1)], [int(v) for v in np.reshape(end, -1)]
    axes = range(len(begins)) if axes is None else [int(a) for a in np.reshape(axes, -1)]
    steps = [1] * len(begins) if step is None else [int(s) for s in np.reshape(step, -1)]
    return [(a % rank if rank else a, b, e, s) for a, b, e, s in zip(axes, begins, ends, steps)]


def _range(n: int, begin: int, end: int, step: int) -> tuple[int, int]:
    """(first index, count): negative bounds count from the end, then both are clamped.

    ONNX differs from numpy in one place: a begin before the first entry is that entry also when the step is negative.
    """
    taken = range(n)[slice(0 if step < 0 and begin < -n else begin, end, step)]
    return taken.start, len(taken)


def infer_slice(node: Node) -> Inferred:
    x = node.required(0)
    dtype = value_dtype(x)
    counts = {length(node, node.input(i), what) for i, what in enumerate(("begin", "end", "axes", "step"), 1)
              if node.input(i) is not None}  # fmt: skip
    if len(counts - {None}) > 1:
        fail(node, "begin, end, axes and step have different lengths")
    if x.shape is None:
        return [(dtype, None)]
    rank = len(x.shape)
    axes, step = const_ints(node.input(3)), const_ints(node.input(4))
    if (node.input(3) is not None and axes is None) or (node.input(3) is None and None in counts):
        return [(dtype, (None,) * rank)]
    if axes is None:
        axes = list(range(counts.pop() or 0))
    where = [normal_axis(node, a, rank) for a in axes]
    if len(set(where)) != len(where):
        fail(node, f"axes {axes} name one twice")
    if step is not None and 0 in step:
        fail(node, "a step is 0")
    out = list(x.shape)
    begin, end = const_ints(node.inputs[1]), const_ints(node.inputs[2])
    if begin is None or end is None or (step is None and node.input(4) is not None):
        return [(dtype, tuple(None if i in where else n for i, n in enumerate(x.shape)))]
    for i, axis in enumerate(where):
        n, stride = x.shape[axis], step[i] if step else 1
        out[axis] = _open(begin[i], end[i], stride) if n is None else _range(n, begin[i], end[i], stride)[1]
    return [(dtype, tuple(out))]


def _open(begin: int, end: int, step: int) -> int | None:
    """The count of a range whose axis has an unknown size: known only where it is empty for any."""
    return 0 if step > 0 and (begin >= 0) == (end >= 0) and end <= begin else None


def _slice(x: np.ndarray, begin: Any, end: Any, axes: Any = None, step: Any = None) -> np.ndarray:
    at = [slice(None)] * x.ndim
    for axis, b, e, s in _ranges(x.ndim, begin, end, axes, step):
        first, count = _range(x.shape[axis], b, e, s)
        stop = first + count * s
        at[axis] = slice(first, stop if stop >= 0 else None, s) if count else slice(0, 0)
    return x[tuple(at)]


def _permute(node: Node, perm: Sequence[int]) -> tuple[dict[str, Any], dict[int, np.ndarray]] | None:
    axes = const_ints(node.input(3))
    if axes is None:
        return None
    return dict(node.attrs), {3: np.asarray([moved_axis(a, perm) for a in axes], np.int64)}


@op(
    "Slice",
    infer=infer_slice,
    arity=(3, 5),
    kernel="slice",
    quant=Quant(output="same", mslite=""),
    const_inputs={1: "begin", 2: "end", 3: "axes", 4: "step"},
    permute=_permute,
    integer=same_codes(_slice),
    cases=[
        Case(((5, 6, 4), np.array([1, 0]), np.array([4, 6]), np.array([1, 2]), np.array([2, 3]))),
        Case(((5, 6), np.array([-3]), np.array([_INT64_MAX]), np.array([0]), np.array([1]))),
        Case(((5, 6), np.array([4, -1]), np.array([0, -100]), np.array([0, -1]), np.array([-1, -2]))),
        Case(((5, 6), np.array([2]), np.array([2]), np.array([0]), np.array([1]))),
        Case(((3, 4), np.array([0, 1]), np.array([2, 3]))),
    ],
)
def slice_(x: np.ndarray, begin: Any, end: Any, axes: Any = None, step: Any = None) -> np.ndarray:
    """x[begin:end:step] along `axes` (all int64[n]; axes default to the first n, step to 1)."""
    return _slice(x, begin, end, axes, step)


def sliced(r: Reading, x: Tensor, begin: Sequence[int], end: Sequence[int], axes: Sequence[int], step: Any) -> Tensor:
    """A Slice with constant bounds."""
    parts = {"begin": begin, "end": end, "axes": axes, "step": step}
    params = [r.constant(list(v), np.int64, f"{r.name}/{k}") for k, v in parts.items()]
    return r.emit("Slice", x, *params)


@reads("onnx", "Slice")
def read_onnx_slice(r: Reading) -> Tensor:
    """Bounds: attributes before opset 10, inputs since."""
    x = r.input(0)
    if r.version < 10:
        begin, end = [int(v) for v in r.attr("starts")], [int(v) for v in r.attr("ends")]
        axes = [int(v) for v in r.attr("axes", range(len(begin)))]
        return sliced(r, x, begin, end, axes, [1] * len(begin))
    return _with_axes(r, x, [r.input(1), r.input(2), r.optional(3), r.optional(4)])


def _with_axes(r: Reading, x: Tensor, params: list[Tensor | None]) -> Tensor:
    """Absent axes and steps are written out where the number of axes is known."""
    count = next((t.shape[0] for t in params if t is not None and t.shape and t.shape[0] is not None), None)
    given = [None if t is None else int64_param(r, t) for t in params]
    if count is not None:
        given[2] = given[2] or r.constant(list(range(count)), np.int64, f"{r.name}/axes")
        given[3] = given[3] or r.constant([1] * count, np.int64, f"{r.name}/step")
    return r.emit("Slice", x, *given)


@reads("tflite", "SLICE")
def read_tflite_slice(r: Reading) -> Tensor:
    """Inputs: x, begin, size; a size of -1 reaches to the end."""
    x, begin, size = r.input(0), r.input(1), r.input(2)
    return _begin_size(r, x, begin, size, list(range(r.rank(x))))


def _begin_size(r: Reading, x: Tensor, begin: Tensor, size: Tensor, axes: list[int]) -> Tensor:
    steps = [1] * len(axes)
    if begin.is_const and size.is_const:
        begins, sizes = const_ints(begin) or [], const_ints(size) or []
        if (
            len(begins) != len(axes)
            or len(sizes) != len(axes)
            or min(begins, default=0) < 0
            or min(sizes, default=0) < -1
        ):
            r.refuse(f"begin {begins} and size {sizes} do not fit {x.shape}")
        for a, b, s in zip(axes, begins, sizes):
            n = x.known_shape[a]
            if n is not None and b + max(s, 0) > n:
                r.refuse(f"begin {begins} and size {sizes} reach outside {x.shape}")
        ends = [_INT64_MAX if s == -1 else b + s for b, s in zip(begins, sizes)]
        return sliced(r, x, begins, ends, axes, steps)
    if size.is_const and -1 in (const_ints(size) or []):
        # begin + (-1) is no end; with a begin that is not known yet, the end of each such axis is.
        ends = r.emit("Add", begin, size)
        open_ = r.constant([s == -1 for s in const_ints(size) or []], np.bool_)
        far = r.constant(np.full(len(axes), np.iinfo(begin.dtype).max), begin.dtype)
        ends = r.emit("Where", open_, far, ends)
    elif size.is_const:
        ends = r.emit("Add", begin, size)
    else:
        far = r.constant(np.full(len(axes), np.iinfo(begin.dtype).max), begin.dtype)
        minus = r.constant(np.full(len(axes), -1), size.dtype)
        ends = r.emit("Where", r.emit("Equal", size, minus), far, r.emit("Add", begin, size))
    rest = [r.constant(v, np.int64) for v in (axes, steps)]
    return r.emit("Slice", x, begin, ends, *rest)


@reads("tflite", "STRIDED_SLICE")
def read_tflite_strided_slice(r: Reading) -> Tensor:
    """Inputs: x, begin, end, strides, one entry per axis of x unless the masks say otherwise."""
    return _strided(r, r.input(0), [r.input(1), r.input(2), r.input(3)])


def _strided(r: Reading, x: Tensor, params: list[Tensor]) -> Tensor:
    """The masks: begin/end bits open a bound, ellipsis spans axes, new_axis inserts, shrink_axis takes one entry."""
    if r.attr("offset", False):
        r.refuse("its ends count from the begins (offset), which is not read")
    mask = {k: int(r.attr(f"{k}_mask", 0)) for k in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    rank = r.rank(x)
    count = next((t.shape[0] for t in params if t.shape and t.shape[0] is not None), None)
    if count is None:
        r.refuse("the number of its bounds is not known")
    if mask["ellipsis"].bit_count() > 1:
        r.refuse(f"ellipsis_mask {mask['ellipsis']} holds more than one ellipsis")
    begin, end, step = (const_ints(t) for t in params)
    bits = [{k: bool(m >> i & 1) for k, m in mask.items()} for i in range(count)]
    used = sum(not b["new_axis"] and not b["ellipsis"] for b in bits)
    if used > rank:
        r.refuse(f"{count} bounds for a tensor of rank {rank}")
    if begin is None or end is None or step is None:
        plain = step is not None and 0 not in step and all(s == 1 for s, b in zip(step, bits) if b["shrink_axis"])
        if mask["ellipsis"] or mask["new_axis"] or step is None or not plain:
            return r.emit("StridedSliceAtRunTime", x, *params, **{f"{k}_mask": m for k, m in mask.items()})
        return _run_time_strided(r, x, params, step, bits)
    at, axis, dim, squeezed, expanded = [], 0, 0, [], []
    for i, b in enumerate(bits):
        if b["ellipsis"]:
            skip = rank - used
            axis, dim = axis + skip, dim + skip
        elif b["new_axis"]:
            expanded.append(dim)
            dim += 1
        elif b["shrink_axis"]:
            # LiteRT, unlike TensorFlow, takes the first entry when the begin of a shrunk axis is masked.
            n, first = x.known_shape[axis], 0 if b["begin"] else begin[i]
            if n is not None and not -n <= first < n:
                r.refuse(f"index {first} is outside axis {axis} of {x.shape}")
            at.append((axis, first, first + 1 if first != -1 else _INT64_MAX, 1))
            squeezed.append(axis)
            axis += 1
        else:
            s = step[i]
            if s == 0:
                r.refuse("a stride is 0")
            low = (0 if s > 0 else _INT64_MAX) if b["begin"] else begin[i]
            high = (_INT64_MAX if s > 0 else -_INT64_MAX) if b["end"] else end[i]
            n = x.known_shape[axis]
            if s < 0 and low < -1 and (n is None or low < -n):
                if n is None:
                    r.refuse(
                        f"it starts at {low} of an axis of unknown size and goes backwards", hint=Setting("input_shape")
                    )
                low, high = 0, 0  # before the first entry there is nothing, in TFLite
            at.append((axis, low, high, s))
            axis, dim = axis + 1, dim + 1
    y = x
    # x[0:end] of everything is no slice at all, as of a mask that only adds or takes axes.
    at = [a for a in at if (a[1], a[3]) != (0, 1) or a[2] != _INT64_MAX] or ([] if squeezed or expanded else at)
    if at or not (squeezed or expanded):
        y = sliced(r, y, [a[1] for a in at], [a[2] for a in at], [a[0] for a in at], [a[3] for a in at])
    if squeezed:
        y = r.emit("Squeeze", y, axes=squeezed)
    return r.emit("ExpandDims", y, axes=expanded) if expanded else y


def _run_time_strided(r: Reading, x: Tensor, params: list[Tensor], steps: list[int], bits: list[Any]) -> Tensor:
    """Bounds that are not constants: open ones are chosen by the masks, shrunk axes take begin … begin + 1."""
    begin, end, _ = params
    n = len(bits)
    far = np.iinfo(begin.dtype).max
    shrunk = [i for i, b in enumerate(bits) if b["shrink_axis"]]

    def choose(mask: list[bool], values: list[int], other: Tensor) -> Tensor:
        if not any(mask):
            return other
        return r.emit("Where", r.constant(mask, np.bool_), r.constant(values, other.dtype), other)

    low = choose([b["begin"] for b in bits], [0 if s > 0 else far for s in steps], begin)
    high = choose([b["end"] for b in bits], [far if s > 0 else -far for s in steps], end)
    if shrunk:
        one = r.emit("Add", low, r.constant([1] * n, begin.dtype))
        # The entry at -1 is followed by the end, not by entry 0.
        one = r.emit(
            "Where", r.emit("Equal", one, r.constant([0] * n, begin.dtype)), r.constant([far] * n, begin.dtype), one
        )
        high = r.emit("Where", r.constant([b["shrink_axis"] for b in bits], np.bool_), one, high)
    y = r.emit("Slice", x, low, high, r.constant(list(range(n)), np.int64), r.constant(steps, np.int64))
    return r.emit("Squeeze", y, axes=shrunk) if shrunk else y


@reads("ms", "StridedSlice")
def read_ms_strided_slice(r: Reading) -> Tensor:
    """Four inputs are TFLite's form; five are ONNX's: x, begin, end, axes, steps."""
    if len(r.inputs) < 5:
        return _strided(r, r.input(0), [r.input(1), r.input(2), r.input(3)])
    return _with_axes(r, r.input(0), [r.input(i) for i in range(1, 5)])


@reads("ms", "SliceFusion")
def read_ms_slice(r: Reading) -> Tensor:
    x = r.input(0)
    axes = [int(a) for a in r.attr("axes", [])] or list(range(r.rank(x)))
    return _begin_size(r, x, r.input(1), r.input(2), axes)


@reads("mindir", "StridedSlice")
def read_mindir_strided_slice(r: Reading) -> Tensor:
    """Bounds are inputs 1 to 3, the masks attributes or inputs 4 to 8."""
    for k, key in enumerate(("begin", "end", "ellipsis", "new_axis", "shrink_axis"), 4):
        r.options[f"{key}_mask"] = r.whole(k, f"{key}_mask", 0)
    names = ("begin", "end", "strides")
    return _strided(r, r.input(0), [numbers_or_tensor(r, k, name, name) for k, name in enumerate(names, 1)])


@reads("mindir", "Slice")
def read_mindir_slice(r: Reading) -> Tensor:
    begin, size = (numbers_or_tensor(r, k, name, name) for k, name in ((1, "begin"), (2, "size")))
    return _begin_size(r, r.input(0), begin, size, list(range(r.rank(r.input(0)))))


@reads("mindir", "Narrow")
def read_mindir_narrow(r: Reading) -> Tensor:
    axis, start, length = (r.whole(k, key) for k, key in ((1, "dim"), (2, "start"), (3, "length")))
    return sliced(r, r.input(0), [start], [start + length], [axis], [1])


@reads("caffe", "Crop")
def read_caffe_crop(r: Reading) -> Tensor:
    """The sizes of the second input from `axis` on, at an offset for all of these axes or one for each."""
    p, x, like = param(r, "crop_param"), r.input(0), sizes_of(r, r.input(1))
    axes = list(range(axis_of(r, x, p.axis), r.rank(x)))
    offsets = [int(o) for o in p.offset] or [0]
    offsets = offsets * len(axes) if len(offsets) == 1 else offsets
    if len(offsets) != len(axes) or len(like) != r.rank(x):
        r.refuse(f"{len(offsets)} offsets for {len(axes)} axes, or inputs of different ranks")
    sizes = sizes_of(r, x)
    if any(o + like[a] > sizes[a] for a, o in zip(axes, offsets)):
        r.refuse(f"sizes {like} at {offsets} are outside of {sizes}")
    ends = [o + like[a] for a, o in zip(axes, offsets)]
    return sliced(r, x, offsets, ends, axes, [1] * len(axes))


@writes("ms", "Slice")
def write_ms_slice(w: Writing, node: Node) -> None:
    masks = {f"{k}_mask": 0 for k in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    begin, end, axes, step = _params(w, node)
    order = [begin, end, axes, step]
    ins = [write_param(w, node, t, k) for t, k in zip(order, ("begin", "end", "axes", "step"))]
    w.node("StridedSlice", node, [node.inputs[0], *ins], fields=masks)


def _params(w: Writing, node: Node) -> list[Tensor]:
    """begin, end, axes and step, the absent ones written out."""
    begin, end = node.required(1), node.required(2)
    axes, step = node.input(3), node.input(4)
    if axes is None or step is None:
        count = next((t.shape[0] for t in (begin, end, axes, step) if t is not None and t.shape), None)
        if count is None:
            w.refuse(node, "the number of its bounds is not known")
        axes = axes or write_ints(w, node, range(count), "axes")
        step = step or write_ints(w, node, [1] * count, "step")
    return [begin, end, axes, step]


@writes("tflite", "Slice")
def write_tflite_slice(w: Writing, node: Node) -> None:
    """STRIDED_SLICE with all axes; the untouched ones are open on both sides."""
    x = node.required(0)
    begin, end, axes, step = (const_ints(t) for t in _params(w, node))
    if x.shape is None or begin is None or end is None or axes is None or step is None:
        w.refuse(node, "its bounds are computed at run time")
    rank = len(x.shape)
    low, high, steps = [0] * rank, [0] * rank, [1] * rank
    closed = (1 << rank) - 1
    for a, b, e, s in zip(axes, begin, end, step):
        a, n = a % rank, x.shape[a % rank]
        if n is not None:
            b, count = _range(n, b, e, s)
            b, e = (b, b + count * s) if count else (0, 0)
            closed &= -1 if e < 0 else ~(1 << a)
        elif s < 0 and b < -1:
            w.refuse(
                node, f"it starts at {b} of an axis of unknown size and goes backwards", hint=Setting("input_shape")
            )
        elif abs(e) < 2**31 - 1:
            closed &= ~(1 << a)
        low[a], high[a], steps[a] = b, max(e, -(2**31) + 1), s
    ints = [write_ints(w, node, part, k) for part, k in ((low, "begin"), (high, "end"), (steps, "strides"))]
    fields = {"begin_mask": 0, "end_mask": closed, "ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 0}
    w.node("STRIDED_SLICE", node, [x, *ints], fields=fields)


@writes("onnx", "Slice")
def write_onnx_slice(w: Writing, node: Node) -> None:
    ins = [write_param(w, node, t, k) for t, k in zip(node.inputs[1:], ("starts", "ends", "axes", "steps"))]
    w.node("Slice", node, [node.inputs[0], *ins])


@writes("c", "Slice")
def write_c_slice(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    params = [t for t in node.inputs[1:] if t is not None]
    if any(not t.is_const for t in params) or x.quant != y.quant:
        w.refuse(node, "C kernels cut at constant places, and keep the quantization parameters")
    strides, at = strides_of(x.static_shape), 0
    steps = list(strides)
    begin, end, axes, step = (None if t is None else t.value for t in (node.input(i) for i in range(1, 5)))
    for axis, b, e, s in _ranges(x.known_rank, begin, end, axes, step):
        at += _range(x.static_shape[axis], b, e, s)[0] * strides[axis]
        steps[axis] = s * strides[axis]
    copy(w, node, x, y, y.static_shape, steps, strides_of(y.static_shape), at)
