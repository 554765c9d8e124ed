"""Reductions along axes: Reduce with a mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor, is_quantized
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.c_steps import codes, is_f32, is_s8, outer_n_inner, refuse_types, same_codes, scale, zero
from ._support.caffe import axis_of, param, scaled
from ._support.channels import channel_by_channel
from ._support.integer import averaged, one_scale, rescaled
from ._support.layout import remap_axes
from ._support.params import emit_cast, int64_param, write_ints, write_param
from ._support.types import const_ints, fail, length, need, normal_axes, value_dtype

_Axes = tuple[int, ...]


def _mean(x: np.ndarray, axes: _Axes, keep: bool) -> np.ndarray:
    count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    if x.dtype.kind == "f":
        total = np.sum(x, axes, keepdims=keep, dtype=_wide(x))
        return total / total.dtype.type(count)
    # Integers divide towards zero, as C does.
    total, count = np.sum(x, axes, keepdims=keep, dtype=np.int64), max(count, 1)
    return np.sign(total) * (np.abs(total) // count)


def _sum(x: np.ndarray, axes: _Axes, keep: bool) -> np.ndarray:
    return np.sum(x, axes, keepdims=keep, dtype=_wide(x))


def _wide(x: np.ndarray) -> np.dtype:
    """The type sums run in: float16 in float32, integers in their own (they wrap, as in C)."""
    return np.dtype(np.float32) if x.dtype == np.float16 else x.dtype


def _lowest(x: np.ndarray, sign: int) -> Any:
    if x.dtype.kind == "f":
        return -sign * np.inf
    if x.dtype.kind == "b":
        return sign < 0
    info = np.iinfo(x.dtype)
    return info.min if sign > 0 else info.max


def _max(x: np.ndarray, axes: _Axes, keep: bool) -> np.ndarray:
    return np.max(x, axes, keepdims=keep, initial=_lowest(x, 1))


def _min(x: np.ndarray, axes: _Axes, keep: bool) -> np.ndarray:
    return np.min(x, axes, keepdims=keep, initial=_lowest(x, -1))


def _log_sum_exp(x: np.ndarray, axes: _Axes, keep: bool) -> np.ndarray:
    wide = x if x.dtype.kind == "f" and x.dtype.itemsize > 2 else x.astype(np.float32)
    top = np.max(wide, axes, keepdims=True, initial=-np.inf)
    base = np.where(np.isfinite(top), top, wide.dtype.type(0))
    total = np.log(np.sum(np.exp(wide - base), axes, keepdims=True)) + base
    return total if keep else np.squeeze(total, axes)


def _norm2(x: np.ndarray, axes: _Axes, keep: bool) -> np.ndarray:
    wide = x.astype(np.float64) if x.dtype.kind != "f" else x.astype(_wide(x))
    return np.sqrt(np.sum(wide * wide, axes, keepdims=keep))


def _sum_square(x: np.ndarray, axes: _Axes, keep: bool) -> np.ndarray:
    wide = x.astype(_wide(x))
    return np.sum(wide * wide, axes, keepdims=keep, dtype=wide.dtype)


# mode → (function, kinds of dtype taken, ONNX, TFLite, MindSpore Lite mode)
_MODES: dict[str, tuple[Callable[[np.ndarray, _Axes, bool], np.ndarray], str, str, str, int | None]] = {
    "mean": (_mean, "iuf", "ReduceMean", "MEAN", 0),
    "max": (_max, "biuf", "ReduceMax", "REDUCE_MAX", 1),
    "min": (_min, "biuf", "ReduceMin", "REDUCE_MIN", 2),
    "prod": (lambda x, a, k: np.prod(x, a, keepdims=k, dtype=_wide(x)), "iuf", "ReduceProd", "REDUCE_PROD", 3),
    "sum": (_sum, "iuf", "ReduceSum", "SUM", 4),
    "sum_square": (_sum_square, "iuf", "ReduceSumSquare", "", 5),
    "l1": (lambda x, a, k: np.sum(np.abs(x), a, keepdims=k, dtype=_wide(x)), "iuf", "ReduceL1", "", 6),
    "all": (lambda x, a, k: np.all(x, a, keepdims=k), "b", "", "REDUCE_ALL", 7),
    "any": (lambda x, a, k: np.any(x, a, keepdims=k), "b", "", "REDUCE_ANY", None),
    "l2": (_norm2, "iuf", "ReduceL2", "", 8),
    "log_sum": (lambda x, a, k: np.log(_sum(x, a, k)), "iuf", "ReduceLogSum", "", None),
    "log_sum_exp": (_log_sum_exp, "iuf", "ReduceLogSumExp", "", None),
}


def infer_reduce(node: Node) -> Inferred:
    x, at = node.required(0), node.input(1)
    mode, keep = node.attrs["mode"], node.attrs["keep_dims"]
    if mode not in _MODES:
        fail(node, f"mode {mode!r}, allowed are {', '.join(_MODES)}")
    need(node, x, _MODES[mode][1], f"the input of {mode}")
    dtype, count = value_dtype(x), length(node, at, "the axes")
    if x.shape is None:
        return [(dtype, None)]
    rank = len(x.shape)
    if at is not None and at.data is None:
        if keep:
            return [(dtype, (None,) * rank)]
        # Where no axes mean none, as in TFLite, one may be named twice: then more axes are left.
        known = count and (count == 1 or not node.attrs["noop_if_empty"])
        return [(dtype, (None,) * (rank - count) if count and known else None)]
    chosen = _chosen(node.attrs["axes"] if at is None else const_ints(at), rank, node.attrs["noop_if_empty"])
    if at is not None:
        chosen = {a + rank if a < 0 else a for a in chosen}
    axes = normal_axes(node, list(chosen), rank)
    if keep:
        return [(dtype, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))]
    return [(dtype, tuple(n for i, n in enumerate(x.shape) if i not in axes))]


def _chosen(axes: Sequence[int] | None, rank: int, noop: bool) -> list[int]:
    """The axes to reduce: an empty list or none means all of them, or none at all when `noop`."""
    return [int(a) for a in axes] if axes else [] if noop else list(range(rank))


def _reduce_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    mode, keep, x = node.attrs["mode"], node.attrs["keep_dims"], node.required(0)
    if mode not in ("mean", "sum", "max", "min") or not one_scale(x) or not one_scale(node.outputs[0]):
        return None
    codes = arrays[0]
    given = node.attrs["axes"] if len(arrays) < 2 or arrays[1] is None else np.reshape(arrays[1], -1).tolist()
    axes = tuple(sorted({a % codes.ndim for a in _chosen(given, codes.ndim, node.attrs["noop_if_empty"])}))
    if mode in ("max", "min"):
        return rescaled(node, _MODES[mode][0](codes, axes, keep))
    count = int(np.prod([codes.shape[a] for a in axes], dtype=np.int64))
    if count == 0:
        return None
    sums = np.sum(codes.astype(np.int64) - x.qparams.zero_point[0], axes, keepdims=keep)
    return averaged(node, sums, count if mode == "mean" else 1)


def _permute_reduce(node: Node, perm: Sequence[int]) -> Any:
    return None if node.input(1) is not None else remap_axes("axes", keep="keep_dims")(node, perm)


def _no_int8_form(node: Node) -> str:
    mode = node.attrs["mode"]
    return "" if mode in ("mean", "sum", "max", "min") else f"reduction {mode} has no int8 form"


def _passes_channels(node: Node) -> list[int] | None:
    x, axes = node.inputs[0], node.attrs["axes"]
    last = -1 if x is None or x.rank is None else x.rank - 1
    if node.attrs["mode"] != "mean" or axes is None or any(a in (-1, last) for a in axes):
        return None
    return channel_by_channel(node)


@op(
    "Reduce",
    attrs={"mode": REQUIRED, "axes": None, "keep_dims": False, "noop_if_empty": False},
    infer=infer_reduce,
    arity=(1, 2),
    kernel="reduce",
    quant=Quant(
        output=lambda node: "within" if node.attrs["mode"] in ("max", "min") else "own",
        no_int8_form=_no_int8_form,
        int16=True,
        mslite="the real kernel rounds a mean twice, or its zero point",
        mslite_close=True,
        mslite_static=True,
        clamps=True,
        passes_channels=_passes_channels,
    ),
    const_inputs={1: "axes"},
    permute=_permute_reduce,
    integer=_reduce_codes,
    cases=[
        *(
            Case(((2, 5, 6, 3),), {"mode": mode, "axes": [1, 2], "keep_dims": True})
            for mode in _MODES
            if mode not in ("all", "any", "log_sum")
        ),
        Case(((2, 5, 6, 3),), {"mode": "mean", "axes": [1, 2]}),
        Case(((2, 5, 6, 3),), {"mode": "mean"}),
        Case(((4, 3),), {"mode": "max", "axes": [-1]}),
        Case(((4, 3, 2),), {"mode": "sum", "axes": [0, -1]}),
        Case((np.array([[True, False], [True, True]]),), {"mode": "all", "axes": [1]}),
        Case((np.array([[True, False], [False, False]]),), {"mode": "any", "axes": [1]}),
        Case((np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),), {"mode": "log_sum", "axes": [1]}),
        Case(((4, 3),), {"mode": "sum", "axes": [], "noop_if_empty": True}),
    ],
)
def reduce(
    x: np.ndarray,
    at: np.ndarray | None = None,
    *,
    mode: str,
    axes: list[int] | None,
    keep_dims: bool,
    noop_if_empty: bool,
) -> np.ndarray:
    """x reduced along `axes` (all when None or empty, unless `noop_if_empty`); input 1 names them at run time."""
    chosen = _chosen(axes if at is None else np.reshape(at, -1).tolist(), x.ndim, noop_if_empty)
    # An axis that is named twice while running counts once.
    where = tuple(sorted({a % x.ndim for a in chosen}))
    return np.asarray(_MODES[mode][0](x, where, keep_dims)).astype(x.dtype, copy=False)


def _read_onnx(mode: str) -> Callable[[Reading], Tensor]:
    """Axes: an attribute before opset 18 (13 for ReduceSum), an input since."""

    def read(r: Reading) -> Tensor:
        attrs = {"mode": mode, "keep_dims": bool(r.attr("keepdims", 1))}
        attrs["noop_if_empty"] = bool(r.attr("noop_with_empty_axes", 0))
        at = r.optional(1)
        if at is not None and at.data is None:
            return r.emit("Reduce", r.input(0), int64_param(r, at), **attrs)
        axes = r.ints(1) if at is not None else r.attr("axes", None)
        if not axes and attrs["noop_if_empty"]:
            return _nothing(r, mode)
        attrs["noop_if_empty"] = False
        return r.emit("Reduce", r.input(0), **attrs, axes=None if axes is None else [int(a) for a in axes])

    return read


def _nothing(r: Reading, mode: str) -> Tensor:
    """A reduction over no axis: each element for itself."""
    x, alone = r.input(0), {"l1": "Abs", "l2": "Abs", "log_sum": "Log", "sum_square": "Square"}.get(mode)
    return x if alone is None else r.emit(alone, x)


def _read_tflite(mode: str) -> Callable[[Reading], Tensor]:
    """Duplicate axes count once there, and no axes at all reduce nothing."""

    def read(r: Reading) -> Tensor:
        x, attrs = r.input(0), {"mode": mode, "keep_dims": bool(r.attr("keep_dims", False)), "noop_if_empty": True}
        rank = r.rank(x)
        if r.input(1).data is None:
            return r.emit("Reduce", x, r.input(1), **attrs)
        axes = sorted({a + rank if a < 0 else a for a in r.ints(1, "the axes")})
        if not axes and not is_quantized(x):
            return x
        return r.emit("Reduce", x, **attrs | ({"noop_if_empty": False} if axes else {}), axes=axes)

    return read


for _mode, (_, _, _onnx, _tflite, _) in _MODES.items():
    if _onnx:
        reads("onnx", _onnx)(_read_onnx(_mode))
    if _tflite:
        reads("tflite", _tflite)(_read_tflite(_mode))


@reads("ms", "ReduceFusion")
def read_ms_reduce(r: Reading) -> Tensor:
    number, x = r.attr("mode", 0), r.input(0)
    mode = next((m for m, entry in _MODES.items() if entry[4] == number), None)
    if mode is None:
        r.refuse(f"mode {number} is not read")
    axes = r.ints(1, "the axes") if r.optional(1) is not None else None
    if r.attr("reduce_to_end", False):
        rank, first = r.rank(x), (axes or [0])[0]
        axes = list(range(first % rank, rank))
    y = r.emit("Reduce", x, mode=mode, axes=axes, keep_dims=bool(r.attr("keep_dims", False)))
    # 0 is a field that was left out.
    coeff = r.attr("coeff", 0.0)
    return y if coeff in (0.0, 1.0) else r.emit("Mul", y, r.constant(coeff, value_dtype(y)))


def _written_axes(w: Writing, node: Node) -> list[int]:
    x, at = node.required(0), node.input(1)
    if at is not None and at.data is None:
        w.refuse(node, "its axes are computed at run time")
    axes = node.attrs["axes"] if at is None else const_ints(at)
    if not axes and not node.attrs["noop_if_empty"] and x.shape is None:
        w.refuse(node, "it reduces all axes of an unknown rank")
    return _chosen(axes, len(x.shape or ()), node.attrs["noop_if_empty"])


_MINDIR = {
    "mean": ("ReduceMean", "MeanExt"),
    "sum": ("ReduceSum", "SumExt"),
    "prod": ("ReduceProd", "ProdExt"),
    "max": ("ReduceMax",),
    "min": ("ReduceMin",),
    "all": ("ReduceAll",),
    "any": ("ReduceAny",),
}


def _read_mindir(mode: str) -> Callable[[Reading], Tensor]:
    """No axes, or an empty list, are all of them."""

    def read(r: Reading) -> Tensor:
        names = ("dim", "keepdim") if r.op.endswith("Ext") else ("axis", "keep_dims")
        if names[0] == "axis" and r.arg(3, "skip_mode", False):
            r.refuse("skip_mode is not read")
        axes, x = r.wholes(1, names[0], []), r.input(0)
        if mode in ("sum", "prod", "mean") and value_dtype(x).kind == "b":
            x = r.emit("Cast", x, dtype="int64")
        return r.emit("Reduce", x, mode=mode, axes=axes or None, keep_dims=bool(r.arg(2, names[1], False)))

    return read


for _mode, _primitives in _MINDIR.items():
    reads("mindir", *_primitives)(_read_mindir(_mode))


@reads("caffe", "Reduction")
def read_caffe_reduction(r: Reading) -> Tensor:
    """All axes from `axis` on."""
    p, x = param(r, "reduction_param"), r.input(0)
    mode = {1: "sum", 2: "l1", 3: "sum_square", 4: "mean"}[p.operation]
    axes = list(range(axis_of(r, x, p.axis), r.rank(x)))
    return scaled(r, r.emit("Reduce", x, mode=mode, axes=axes, keep_dims=False), p.coeff, 0.0)


@writes("ms", "Reduce")
def write_ms_reduce(w: Writing, node: Node) -> None:
    number, axes = _MODES[node.attrs["mode"]][4], _written_axes(w, node)
    if number is None:
        w.refuse(node, f"mode {node.attrs['mode']} is not in MindSpore Lite")
    if not axes and node.attrs["noop_if_empty"]:
        w.refuse(node, "it reduces no axis")
    before, inner, after = _around_in_ms(w, node, axes)
    x, y, part = node.required(0), node.outputs[0], node.name
    fields = {"keep_dims": node.attrs["keep_dims"], "mode": _MODES[inner][4], "reduce_to_end": False, "coeff": 0.0}
    if before:
        w.node(before, node, [x], [x := w.between(x, name=f"{part}/{before.lower()}")])
    found = w.between(y, name=f"{part}/{inner}") if after else y
    w.node("ReduceFusion", node, [x, write_ints(w, node, axes, "axes")], [found], fields=fields)
    if after:
        w.node(after, node, [found], [y])


def _around_in_ms(w: Writing, node: Node, axes: Sequence[int]) -> tuple[str, str, str]:
    """The operator before, the mode, and the operator behind of floats.

    MindSpore Lite's own sums of squares are wrong, and its maximum begins at the smallest positive float unless the
    axis is the last: -min(-x) has no such floor.
    """
    mode, x = node.attrs["mode"], node.required(0)
    if x.dtype.kind != "f" or is_quantized(x):
        return "", mode, ""
    maker = w.producer(x)
    positive = maker is not None and maker.attrs.get("act") in ("relu", "relu6")
    last = x.rank is not None and [a % x.rank for a in axes] == [x.rank - 1]
    if mode == "max" and not positive and not last:
        return "Neg", "min", "Neg"
    return {"sum_square": ("Square", "sum", ""), "l2": ("Square", "sum", "Sqrt")}.get(mode, ("", mode, ""))


# Reductions of floats that TFLite has as a SUM between operators on elements.
_AROUND_SUM = {"sum_square": ("SQUARE", ""), "l1": ("ABS", ""), "l2": ("SQUARE", "SQRT"), "log_sum": ("", "LOG")}


@writes("tflite", "Reduce")
def write_tflite_reduce(w: Writing, node: Node) -> None:
    mode, x, y = node.attrs["mode"], node.required(0), node.outputs[0]
    fields, at = {"keep_dims": node.attrs["keep_dims"]}, write_ints(w, node, _written_axes(w, node), "axes")
    if _MODES[mode][3]:
        w.node(_MODES[mode][3], node, [x, at], fields=fields)
        return
    if mode not in _AROUND_SUM or x.dtype.kind != "f":
        w.refuse(node, f"mode {mode} of {x.dtype} is not in TFLite")
    before, after = _AROUND_SUM[mode]
    if before:
        w.node(before, node, [x], [x := w.between(x, name=f"{node.name}/{before.lower()}")])
    total = w.between(y, name=f"{node.name}/sum") if after else y
    w.node("SUM", node, [x, at], [total], fields=fields)
    if after:
        w.node(after, node, [total], [y])


def _over_places(node: Node, x: Tensor) -> bool:
    """Whether the axes are all those behind the first two."""
    places, at = list(range(2, x.rank or 0)), node.input(1)
    if not places or (at is not None and not at.is_const):
        return False
    axes = node.attrs["axes"] if at is None else const_ints(at)
    return sorted(int(a) % len(x.shape or ()) for a in axes or ()) == places


@writes("onnx", "Reduce")
def write_onnx_reduce(w: Writing, node: Node) -> None:
    """Opset 18 form; `all` and `any` go through int32. A mean of all positions is a pool: onnxruntime quantizes it."""
    mode, x, y = node.attrs["mode"], node.required(0), node.outputs[0]
    if mode == "mean" and node.attrs["keep_dims"] and x.dtype.kind == "f" and _over_places(node, x):
        w.node("GlobalAveragePool", node, [x])
        return
    at: Tensor | None = write_param(w, node, node.input(1), "axes")
    if at is None and node.attrs["axes"]:
        at = write_ints(w, node, node.attrs["axes"], "axes")
    fields = {"keepdims": int(node.attrs["keep_dims"]), "noop_with_empty_axes": int(node.attrs["noop_if_empty"])}
    if mode not in ("all", "any"):
        w.node(_MODES[mode][2], node, [x, at] if at is not None else [x], fields=fields)
        return
    ints, reduced = w.between(x, name=f"{node.name}/int32"), w.between(y, name=f"{node.name}/found")
    ints.dtype = reduced.dtype = np.dtype(np.int32)
    emit_cast(w, node, x, ints)
    w.node(
        "ReduceMin" if mode == "all" else "ReduceMax",
        node,
        [ints, at] if at is not None else [ints],
        [reduced],
        fields=fields,
    )
    emit_cast(w, node, reduced, y)


_C_MODES = {"mean": "BITLITE_SUM", "sum": "BITLITE_SUM", "max": "BITLITE_LARGEST", "min": "BITLITE_SMALLEST"}


@writes("c", "Reduce")
def write_c_reduce(w: Writing, node: Node) -> None:
    x, y, mode = node.required(0), node.outputs[0], node.attrs["mode"]
    shape, given = x.static_shape, node.attrs["axes"] if node.input(1) is None else const_ints(node.input(1))
    if node.input(1) is not None and given is None:
        w.refuse(node, "its axes are computed at run time")
    axes = sorted({a % len(shape) for a in _chosen(given, len(shape), node.attrs["noop_if_empty"])})
    between = [d for d in range(axes[0], axes[-1]) if d not in axes and shape[d] != 1] if axes else [0]
    if mode not in _C_MODES or between:
        w.refuse(
            node, f"{mode} along the axes {axes} of {shape}; C kernels take {', '.join(_C_MODES)} along neighbours"
        )
    fields = outer_n_inner(shape, axes[0], axes[-1]) | {"mode": _C_MODES[mode]}
    counted = math.prod(shape[axes[0] : axes[-1] + 1]) if mode == "mean" else 1
    if is_s8(x, y):
        factor = np.float32(scale(x) / (scale(y) * counted))
        fields |= {"x_zero": zero(x), "same": int(same_codes(x, y)), "scale": factor, "out": codes(w, node)}
        w.node("reduce_s8", node, [x], fields=fields)
    elif is_f32(x, y):
        w.node("reduce_f32", node, [x], fields=fields | {"scale": np.float32(1 / counted)})
    else:
        refuse_types(w, node)
