"""Pad: constant, reflect (without the edge), symmetric (with it), edge and wrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..numeric.qparams import requantize_rne_f32
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.c_steps import copy, count, is_f32, is_s8, refuse_types, same_codes, scale, strides_of, zero
from ._support.integer import one_scale, rescaled
from ._support.layout import moved_entries
from ._support.mindir import operand, pairs_of
from ._support.params import int64_param, write_ints
from ._support.spatial import begin_end, onnx_pads
from ._support.types import const_ints, fail, length, need, one_number, value_dtype

MODES = ("constant", "reflect", "symmetric", "edge", "wrap")


def infer_pad(node: Node) -> Inferred:
    x, pads = node.required(0), node.required(1)
    mode, dtype = node.attrs["mode"], value_dtype(x)
    if mode not in MODES:
        fail(node, f"mode {mode!r}, allowed are {', '.join(MODES)}")
    value = node.input(2)
    if value is not None:
        need(node, value, "biuf", "the padding value")
        if not one_number(value):
            fail(node, f"the padding value must be one number, not of shape {value.shape}")
    count, wanted = length(node, pads, "the pads"), const_ints(pads)
    if x.shape is None or count is None:
        return [(dtype, None if x.shape is None else (None,) * len(x.shape))]
    if count != 2 * len(x.shape):
        fail(node, f"{count} pads for a tensor of rank {len(x.shape)}")
    if wanted is None:
        return [(dtype, (None,) * len(x.shape))]
    out: list[int | None] = []
    for i, n in enumerate(x.shape):
        low, high = wanted[2 * i], wanted[2 * i + 1]
        out.append(None if n is None else n + low + high)
        if n is None or (low, high) == (0, 0):
            continue
        left = n + min(low, 0) + min(high, 0)
        if left < 0 or n + low + high < 0:
            fail(node, f"pads {low} and {high} take more than axis {i} of {x.shape} has")
        reach = {"reflect": left - 1, "symmetric": left}.get(mode)
        if reach is not None and max(low, high) > max(reach, 0):
            fail(node, f"pads {low} and {high} of axis {i} exceed the {left} entries that mode {mode} can mirror")
        if mode in ("edge", "wrap") and left == 0 and max(low, high) > 0:
            fail(node, f"axis {i} is empty, mode {mode} has nothing to repeat")
    return [(dtype, tuple(out))]


def _pad(x: np.ndarray, pads: np.ndarray, fill: Any, mode: str) -> np.ndarray:
    pairs = [(int(a), int(b)) for a, b in np.reshape(pads, (-1, 2))]
    if any(min(p) < 0 for p in pairs):
        if any(n + min(a, 0) + min(b, 0) < 0 for (a, b), n in zip(pairs, x.shape)):
            raise ValueError(f"pads {pairs} take more than {x.shape} has")
        x = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pairs, x.shape))]
        pairs = [(max(a, 0), max(b, 0)) for a, b in pairs]
    if mode == "constant":
        out = np.full([n + a + b for n, (a, b) in zip(x.shape, pairs)], fill, x.dtype)
        out[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, pairs))] = x
        return out
    return np.pad(x, pairs, mode=mode)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _pad_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    """The padding value's code in the input's parameters (0.0 is the zero point), then as other moves."""
    x, value = node.required(0), node.input(2)
    if not one_scale(x) or not one_scale(node.outputs[0]):
        return None
    info, zero = np.iinfo(x.dtype), int(x.qparams.zero_point[0])
    fill = zero
    if node.attrs["mode"] == "constant":
        if value is None:
            fill = int(np.clip(np.rint(node.attrs["value"] / x.qparams.scale[0]) + zero, info.min, info.max))
        elif value.quant is not None and value.dtype == x.dtype:
            code = int(np.reshape(arrays[2], -1)[0])
            acc = np.int32(code - int(value.quant.zero_point[0]))
            ratio = value.quant.scale / x.qparams.scale
            fill = code if value.quant == x.qparams else int(
                requantize_rne_f32(np.asarray(acc), ratio[0], zero, info.min, info.max, x.dtype)
            )  # fmt: skip
        else:
            return None
    return rescaled(node, _pad(arrays[0], arrays[1], fill, node.attrs["mode"]))


def _permute(node: Node, perm: Sequence[int]) -> tuple[dict[str, Any], dict[int, np.ndarray]] | None:
    pads = const_ints(node.inputs[1])
    if pads is None:
        return None
    return dict(node.attrs), {1: np.asarray(moved_entries(pads, perm, 2), np.int64)}


def _mslite(node: Node) -> str:
    fill = node.input(2)
    if node.attrs["mode"] != "constant" or node.attrs["value"] != 0 or (fill is not None and np.any(fill.data)):
        return "the real kernel fills with zeros alone"
    return ""


@op(
    "Pad",
    attrs={"mode": "constant", "value": 0.0},
    infer=infer_pad,
    arity=(2, 3),
    kernel="pad",
    quant=Quant(output="same", mslite=_mslite, mslite_static=True),
    const_inputs={1: "pads", 2: "fill"},
    permute=_permute,
    integer=_pad_codes,
    cases=[
        Case(((1, 3, 4, 2), np.array([0, 0, 1, 2, 0, 1, 0, 0]))),
        Case(((3, 4), np.array([1, 0, 0, 2])), {"value": -1.5}),
        Case(((3, 4), np.array([2, 1, 0, 3])), {"mode": "reflect"}),
        Case(((3, 4), np.array([3, 1, 0, 4])), {"mode": "symmetric"}),
        Case(((3, 4), np.array([2, 1, 5, 0])), {"mode": "edge"}),
        Case(((3, 4), np.array([-1, 1, 2, -2]))),
    ],
)
def pad(x: np.ndarray, pads: np.ndarray, fill: Any = None, *, mode: str, value: float) -> np.ndarray:
    """x with pads (int64[2r]: begin and end of each axis; negative ones crop) of `value`, or of input 2."""
    return _pad(x, pads, value if fill is None else np.reshape(fill, -1)[0], mode)


def padded(r: Reading, x: Tensor, pads: Any, mode: str = "constant", fill: Tensor | None = None) -> Tensor:
    """A Pad with constant pads (begin and end per axis); a constant value becomes the attribute."""
    at = r.constant([int(p) for p in pads], np.int64, f"{r.name}/pads")
    if fill is None or mode != "constant":
        return r.emit("Pad", x, at, mode=mode)
    if fill.is_const and fill.value.size == 1:
        return r.emit("Pad", x, at, mode=mode, value=fill.real().reshape(-1)[0].item())
    return r.emit("Pad", x, at, fill, mode=mode)


@reads("tflite", "PAD", "PADV2")
def read_tflite_pad(r: Reading) -> Tensor:
    return _tflite_padded(r, "constant", r.optional(2))


def _tflite_padded(r: Reading, mode: str, fill: Tensor | None = None) -> Tensor:
    pads = r.input(1)
    if pads.data is None:
        at = r.emit("Reshape", pads, r.constant([-1], np.int64, f"{r.name}/shape"))
        return r.emit("Pad", r.input(0), at, fill, mode=mode)
    return padded(r, r.input(0), r.ints(1), mode, fill)


@reads("tflite", "MIRROR_PAD")
def read_tflite_mirror_pad(r: Reading) -> Tensor:
    mode = {0: "reflect", 1: "symmetric"}.get(r.attr("mode", 0))
    if mode is None:
        r.refuse(f"mode {r.attr('mode')} is not REFLECT or SYMMETRIC")
    return _tflite_padded(r, mode)


@reads("onnx", "Pad")
def read_onnx_pad(r: Reading) -> Tensor:
    """Pads and value: attributes before opset 11, inputs since; opset 18 adds axes. All begins, then all ends."""
    x, mode = r.input(0), r.attr("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        r.refuse(f"mode {mode!r}, allowed are constant, reflect, edge and wrap")
    if r.version < 11:
        at = r.constant(begin_end(r.attr("pads")), np.int64, f"{r.name}/pads")
        return r.emit("Pad", x, at, mode=mode, value=float(r.attr("value", 0.0)))
    rank, fill = r.rank(x), r.optional(2)
    if r.input(1).data is None or (r.optional(3) is not None and r.input(3).data is None):
        if r.optional(3) is not None:
            at = _pads_of_axes(r, rank, int64_param(r, r.input(1)), int64_param(r, r.input(3)))
            return r.emit("Pad", x, at, fill if mode == "constant" else None, mode=mode)
        both = r.emit("Reshape", int64_param(r, r.input(1)), r.constant([2, rank], np.int64))
        at = r.emit("Reshape", r.emit("Transpose", both, perm=[1, 0]), r.constant([2 * rank], np.int64))
        return r.emit("Pad", x, at, fill if mode == "constant" else None, mode=mode)
    given = r.ints(1, "the pads")
    axes = [int(a) % rank for a in r.ints(3, "the axes")] if r.optional(3) is not None else list(range(rank))
    if len(given) != 2 * len(axes) or len(set(axes)) != len(axes):
        r.refuse(f"{len(given)} pads for axes {axes}")
    pads = [0] * (2 * rank)
    for a, low, high in zip(axes, given[: len(axes)], given[len(axes) :]):
        pads[2 * a : 2 * a + 2] = [low, high]
    return padded(r, x, pads, mode, fill)


def _pads_of_axes(r: Reading, rank: int, pads: Tensor, axes: Tensor) -> Tensor:
    """The begin and end of each axis, from pads (all begins, all ends) of the axes that are named while running."""
    if axes.dtype != np.int64:
        axes = r.emit("Cast", axes, dtype="int64")
    low = r.emit("Mul", r.emit("FloorMod", axes, r.constant([rank], np.int64)), r.constant([2], np.int64))
    places = r.emit("Concat", low, r.emit("Add", low, r.constant([1], np.int64)), axis=0)
    places = r.emit("ExpandDims", places, axes=[1])
    return r.emit("ScatterND", r.constant(np.zeros(2 * rank, np.int64)), places, pads)


_MS_MODES = ("constant", "reflect", "symmetric")


@reads("ms", "PadFusion")
def read_ms_pad(r: Reading) -> Tensor:
    mode = r.attr("padding_mode", 0)
    if not 0 <= mode < 3:
        r.refuse(f"padding mode {mode}, allowed are 0 to 2")
    if r.optional(1) is not None:
        pads = r.ints(1, "the pads")
    else:
        pads = [int(v) for row in r.attr("paddings").data for v in row.data]
    at = r.constant(pads, np.int64, f"{r.name}/pads")
    return r.emit("Pad", r.input(0), at, mode=_MS_MODES[mode], value=float(r.attr("constant_value", 0.0)))


@reads("mindir", "Pad", "MirrorPad")
def read_mindir_pad(r: Reading) -> Tensor:
    """Pads are a pair per axis: an attribute of Pad, input 1 of MirrorPad."""
    pads = pairs_of(r, None if r.op == "Pad" else 1, "paddings")
    mode = "constant" if r.op == "Pad" else r.text("mode", "REFLECT").lower()
    if mode not in ("constant", "reflect", "symmetric"):
        r.refuse(f"mode {mode!r}, allowed are REFLECT and SYMMETRIC")
    return padded(r, r.input(0), pads, mode, None)


@reads("mindir", "PadV3", "ConstantPadND")
def read_mindir_pad_v3(r: Reading) -> Tensor:
    """Pads of the last axes, the last one's first: begin and end in turns, or all begins first."""
    rank, given = r.rank(r.input(0)), r.wholes(1, "padding" if r.op == "ConstantPadND" else "paddings")
    mode = {"constant": "constant", "reflect": "reflect", "edge": "edge", "circular": "wrap"}.get(
        r.text("mode", "constant")
    )
    if mode is None:
        r.refuse(f"mode {r.attr('mode')!r}, allowed are constant, reflect, edge and circular")
    if len(given) % 2 or len(given) > 2 * rank:
        r.refuse(f"{len(given)} pads for {rank} axes")
    if not r.attr("paddings_contiguous", True):
        given = begin_end(given)
    pads = [0] * (2 * rank)
    for k in range(len(given) // 2):
        at = 2 * (rank - 1 - k)
        pads[at : at + 2] = given[2 * k : 2 * k + 2]
    given = r.optional(2) is not None or r.numbers.get(2) is not None
    fill = operand(r, 2, value_dtype(r.input(0))) if given and mode == "constant" else None
    return padded(r, r.input(0), pads, mode, fill)


@writes("ms", "Pad")
def write_ms_pad(w: Writing, node: Node) -> None:
    if node.attrs["mode"] not in _MS_MODES:
        w.refuse(node, f"mode {node.attrs['mode']} is not in MindSpore Lite")
    value, pads = _fill(w, node), const_ints(node.inputs[1])
    if pads is None or min(pads) < 0:
        w.refuse(node, "pads must be constant and not negative")
    fields = {"padding_mode": _MS_MODES.index(node.attrs["mode"]), "constant_value": float(value)}
    w.node("PadFusion", node, [node.inputs[0], write_ints(w, node, pads, "pads")], fields=fields)


def _fill(w: Writing, node: Node) -> float:
    fill = node.input(2)
    if fill is None:
        return node.attrs["value"]
    if fill.data is None:
        w.refuse(node, "its padding value is computed at run time")
    return fill.real().reshape(-1)[0].item()


@writes("tflite", "Pad")
def write_tflite_pad(w: Writing, node: Node) -> None:
    x, mode, pads = node.required(0), node.attrs["mode"], const_ints(node.inputs[1])
    if mode not in _MS_MODES:
        w.refuse(node, f"mode {mode} is not in TFLite")
    if pads is None or min(pads, default=0) < 0:
        w.refuse(node, "pads must be constant and not negative")
    at = write_ints(w, node, pads, "pads")
    at.data, at.shape = at.value.reshape(-1, 2), (len(pads) // 2, 2)
    if mode != "constant":
        w.node("MIRROR_PAD", node, [x, at], fields={"mode": ("reflect", "symmetric").index(mode)})
        return
    value = _fill(w, node)
    if value == 0:
        w.node("PAD", node, [x, at])
        return
    if x.quant is not None:
        w.refuse(node, "a padding value other than 0 of quantized data")
    w.node("PADV2", node, [x, at, w.constant([value], x.dtype, f"{node.name}/value")])


@writes("onnx", "Pad")
def write_onnx_pad(w: Writing, node: Node) -> None:
    x, pads = node.required(0), const_ints(node.inputs[1])
    if node.attrs["mode"] == "symmetric":
        w.refuse(node, "mode symmetric is not in ONNX")
    if pads is None:
        w.refuse(node, "its pads are computed at run time")
    ins: list[Tensor | None] = [x, write_ints(w, node, onnx_pads(pads), "pads")]
    if node.attrs["mode"] == "constant" and (node.input(2) is not None or node.attrs["value"] != 0):
        ins.append(node.input(2) or w.constant(node.attrs["value"], x.dtype, f"{node.name}/value"))
    w.node("Pad", node, ins, fields={"mode": node.attrs["mode"]})


@writes("c", "Pad")
def write_c_pad(w: Writing, node: Node) -> None:
    """The value everywhere, then the data in their place."""
    x, y, pads, fill = node.required(0), node.outputs[0], const_ints(node.input(1)), node.input(2)
    if pads is None or node.attrs["mode"] != "constant" or (fill is not None and not fill.is_const):
        w.refuse(node, "C kernels pad by constant sizes with a constant")
    value = float(node.attrs["value"] if fill is None else fill.real().reshape(-1)[0])
    before = pads[0::2]
    if is_s8(x, y) and same_codes(x, y):
        code = int(np.clip(np.rint(value / scale(x)) + zero(x), -128, 127))
        w.node("fill_s8", node, [], fields={"count": count(y), "value": code})
    elif is_f32(x, y):
        w.node("fill_f32", node, [], fields={"count": count(y), "value": np.float32(value)})
    else:
        refuse_types(w, node)
    xs, ys = strides_of(x.static_shape), strides_of(y.static_shape)
    inside = [min(n, m - b) - max(-b, 0) for n, m, b in zip(x.static_shape, y.static_shape, before)]
    starts = [(max(-b, 0), max(b, 0)) for b in before]
    x_at = sum(s * a for s, (a, _) in zip(xs, starts))
    copy(w, node, x, y, inside, xs, ys, x_at, sum(s * b for s, (_, b) in zip(ys, starts)))
