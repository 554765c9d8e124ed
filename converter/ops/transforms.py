"""Transforms of whole axes that only ONNX has: running products, columns to images, determinants, caches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.types import const_ints, fail, length, need, normal_axis, value_dtype
from ._support.writers import need_opset

_NO_INT8 = Quant(int8=False)


def _same(node: Node) -> Inferred:
    x, at = node.required(0), node.input(1)
    need(node, x, "iuf", "the input")
    if length(node, at, "the axis") not in (None, 1):
        fail(node, "one axis is needed")
    axis = node.attrs["axis"] if at is None else (const_ints(at) or [0])[0]
    if x.shape is not None:
        normal_axis(node, axis, len(x.shape))
    return [(value_dtype(x), x.shape)]


@op(
    "CumProd",
    attrs={"axis": 0, "exclusive": False, "reverse": False},
    infer=_same,
    arity=(1, 2),
    quant=_NO_INT8,
    cases=[Case(((3, 4),), {"axis": 1}), Case(((3, 4),), {"axis": -2, "exclusive": True, "reverse": True})],
)
def cum_prod(x: np.ndarray, at: np.ndarray | None = None, *, axis: int, exclusive: bool, reverse: bool) -> np.ndarray:
    """Running products along `axis`, backwards when `reverse`, without the entry itself when `exclusive`."""
    axis = axis if at is None else int(np.reshape(at, -1)[0])
    y = np.flip(x, axis) if reverse else x
    if exclusive and y.shape[axis]:
        y = np.concatenate([np.ones_like(np.take(y, [0], axis)), np.take(y, range(y.shape[axis] - 1), axis)], axis)
    y = np.cumprod(y, axis, dtype=x.dtype)
    return np.flip(y, axis) if reverse else y


@reads("onnx", "CumProd")
def read_cum_prod(r: Reading) -> Tensor:
    attrs = {"exclusive": bool(r.attr("exclusive", 0)), "reverse": bool(r.attr("reverse", 0))}
    return r.emit("CumProd", r.input(0), r.input(1), **attrs)


def _infer_col2im(node: Node) -> Inferred:
    x, a = node.required(0), dict(node.attrs)
    a["image"], a["block"] = const_ints(node.inputs[1]), const_ints(node.inputs[2])
    rank = len(a["stride"])
    if a["image"] is None or a["block"] is None:
        batch = x.shape[0] if x.shape else None
        return [(value_dtype(x), (batch, None, *(a["image"] or [None] * rank)))]
    sizes = [len(a[k]) for k in ("image", "block", "dilation")]
    if (
        rank < 1
        or sizes != [rank] * 3
        or len(a["pad"]) != 2 * rank
        or min(*a["image"], *a["block"], *a["stride"], *a["dilation"], 1 + min(a["pad"])) < 1
    ):
        fail(node, f"image {a['image']}, block {a['block']}, pads {a['pad']} do not fit each other")
    if x.shape is None or len(x.shape) != 3:
        fail(node, f"an input of shape {x.shape}; [N, C · block, columns] is needed")
    columns, inner = math.prod(_steps(a)), math.prod(a["block"])
    if x.shape[2] not in (columns, None) or (x.shape[1] is not None and x.shape[1] % inner) or columns < 1:
        fail(node, f"an input of shape {x.shape} for {columns} columns of {inner}")
    channels = None if x.shape[1] is None else x.shape[1] // inner
    return [(value_dtype(x), (x.shape[0], channels, *a["image"]))]


def _steps(a: dict[str, Any]) -> list[int]:
    """How often a block fits along each axis."""
    return [
        (n + a["pad"][2 * i] + a["pad"][2 * i + 1] - a["dilation"][i] * (a["block"][i] - 1) - 1) // a["stride"][i] + 1
        for i, n in enumerate(a["image"])
    ]


@op(
    "Col2Im",
    attrs={"stride": REQUIRED, "dilation": REQUIRED, "pad": REQUIRED},
    infer=_infer_col2im,
    arity=3,
    quant=_NO_INT8,
    cases=[
        Case(
            ((1, 12, 4), np.array([3, 3]), np.array([2, 2])),
            {"stride": [1, 1], "dilation": [1, 1], "pad": [0, 0, 0, 0]},
        ),
        Case(
            ((2, 4, 9), np.array([5, 4]), np.array([2, 2])), {"stride": [2, 2], "dilation": [1, 1], "pad": [0, 1, 1, 1]}
        ),
    ],
)
def col2im(
    x: np.ndarray,
    image: np.ndarray,
    block: np.ndarray,
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    pad: Sequence[int],
) -> np.ndarray:
    """x [N, C · Πblock, columns] → [N, C, *image]: blocks laid on the image, overlaps added; pads in pairs."""
    sizes, kernel = [int(n) for n in image], [int(n) for n in block]
    steps = _steps({"image": sizes, "block": kernel, "stride": stride, "dilation": dilation, "pad": pad})
    full = [n + pad[2 * i] + pad[2 * i + 1] for i, n in enumerate(sizes)]
    parts = x.reshape(x.shape[0], -1, *kernel, *steps)
    y = np.zeros((x.shape[0], parts.shape[1], *full), x.dtype)
    for at in np.ndindex(*kernel):
        where = tuple(
            slice(k * d, k * d + s * (n - 1) + 1, s) for k, d, s, n in zip(at, dilation, stride, steps, strict=True)
        )
        y[(slice(None), slice(None), *where)] += parts[(slice(None), slice(None), *at)]
    return y[(slice(None), slice(None), *(slice(pad[2 * i], pad[2 * i] + n) for i, n in enumerate(sizes)))]


@reads("onnx", "Col2Im")
def read_col2im(r: Reading) -> Tensor:
    shape = r.input(1).shape
    if not shape or shape[0] is None or len(shape) != 1:
        r.refuse("the rank of its image is not known")
    rank = shape[0]
    pads = [int(v) for v in r.attr("pads", None) or [0] * (2 * rank)]
    if len(pads) != 2 * rank:
        r.refuse(f"pads {pads} for an image of {rank} axes")
    attrs = {
        "stride": [int(v) for v in r.attr("strides", None) or [1] * rank],
        "dilation": [int(v) for v in r.attr("dilations", None) or [1] * rank],
        "pad": [v for i in range(rank) for v in (pads[i], pads[rank + i])],
    }
    return r.emit("Col2Im", r.input(0), r.input(1), r.input(2), **attrs)


@writes("onnx", "Col2Im")
def write_col2im(w: Writing, node: Node) -> None:
    need_opset(w, node, 18, "Col2Im")
    a = node.attrs
    fields = {"strides": a["stride"], "dilations": a["dilation"], "pads": [*a["pad"][::2], *a["pad"][1::2]]}
    w.node("Col2Im", node, node.inputs, fields=fields)


def _infer_det(node: Node) -> Inferred:
    x = node.required(0)
    need(node, x, "f", "the input")
    if x.shape is not None and (len(x.shape) < 2 or (None not in x.shape[-2:] and x.shape[-1] != x.shape[-2])):
        fail(node, f"an input of shape {x.shape}; square matrices are needed")
    return [(value_dtype(x), None if x.shape is None else x.shape[:-2])]


@op(
    "Det",
    infer=_infer_det,
    quant=_NO_INT8,
    cases=[Case(((3, 3),), tolerance=1e-4), Case(((2, 4, 2, 2),), tolerance=1e-4)],
)
def det(x: np.ndarray) -> np.ndarray:
    """The determinant of each matrix [.., n, n]."""
    return np.asarray(np.linalg.det(x.astype(np.float64))).astype(x.dtype)


@reads("onnx", "Det")
def read_det(r: Reading) -> Tensor:
    return r.emit("Det", r.input(0))


@writes("onnx", "Det")
def write_det(w: Writing, node: Node) -> None:
    w.node("Det", node, node.inputs)


def _infer_tensor_scatter(node: Node) -> Inferred:
    x, update, at = node.required(0), node.required(1), node.input(2)
    if x.shape is None or update.shape is None or len(x.shape) != len(update.shape):
        fail(node, f"a cache of shape {x.shape} and an update of shape {update.shape}")
    axis = normal_axis(node, node.attrs["axis"], len(x.shape))
    for i, (n, m) in enumerate(zip(x.shape, update.shape)):
        if n is not None and m is not None and (m > n if i == axis else m != n):
            fail(node, f"an update of shape {update.shape} does not fit {x.shape} along axis {axis}")
    if axis == 0 or x.dtype != update.dtype:
        fail(node, f"axis {axis}, types {x.dtype} and {update.dtype}")
    length(node, at, "the places", None)
    return [(value_dtype(x), x.shape)]


@op(
    "TensorScatter",
    attrs={"axis": -2, "circular": False},
    infer=_infer_tensor_scatter,
    arity=(2, 3),
    quant=_NO_INT8,
    cases=[
        Case(((2, 5, 3), (2, 2, 3), np.array([1, 3]))),
        Case(((2, 2, 5, 3), (2, 2, 3, 3), np.array([4, 1])), {"circular": True}),
    ],
)
def tensor_scatter(
    x: np.ndarray, update: np.ndarray, at: np.ndarray | None = None, *, axis: int, circular: bool
) -> np.ndarray:
    """x with `update` written along `axis` from place at[batch] on (0 by default), around its end when `circular`."""
    y, axis = np.array(x), axis % x.ndim
    count, room = update.shape[axis], x.shape[axis]
    for b in range(len(x)):
        places = (0 if at is None else int(at[b])) + np.arange(count)
        places = places % room if circular else places
        if count and (places.min() < 0 or places.max() >= room):
            raise IndexError(f"places {places.min()}..{places.max()} of an axis of {room}")
        np.moveaxis(y[b], axis - 1, 0)[places] = np.moveaxis(update[b], axis - 1, 0)
    return y


@reads("onnx", "TensorScatter")
def read_tensor_scatter(r: Reading) -> Tensor:
    mode = r.attr("mode", "linear")
    if mode not in ("linear", "circular"):
        r.refuse(f"mode {mode!r}")
    inputs = [r.input(0), r.input(1), r.optional(2)]
    return r.emit("TensorScatter", *inputs, axis=int(r.attr("axis", -2)), circular=mode == "circular")
