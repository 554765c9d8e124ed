"""DeformConv: a convolution whose taps move by computed offsets."""

from __future__ import annotations

import itertools

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.spatial import begin_end, check_window, onnx_pads, per_axis, window_output
from ._support.types import fail, need
from ._support.writers import need_opset


def _infer_deform(node: Node) -> Inferred:
    (x, w, offset), bias, mask = node.operands(3), node.input(3), node.input(4)
    need(node, x, "f", "the input")
    a = node.attrs
    if x.shape is None or len(x.shape) != 4 or w.shape is None or len(w.shape) != 4 or None in w.shape:
        fail(node, f"an input of shape {x.shape} and a weight of shape {w.shape}")
    check_window(node, 2)
    groups, parts = a["group"], a["offset_group"]
    o, per, kh, kw = w.static_shape
    if groups < 1 or parts < 1 or o % groups or (x.known_shape[1] is not None and x.known_shape[1] != per * groups):
        fail(node, f"an input of shape {x.shape}, a weight of shape {w.shape} and group={groups}")
    if (per * groups) % parts:
        fail(node, f"{per * groups} channels do not split into {parts} offset groups")
    out = window_output(x.known_shape[2:], [kh, kw], a)
    for t, many in ((offset, 2), (mask, 1)):
        want = (x.known_shape[0], parts * kh * kw * many, *out)
        if t is None or t.shape is None:
            continue
        if len(t.shape) != 4 or any(None not in (n, m) and n != m for n, m in zip(t.shape, want)):
            fail(node, f"{t.name!r} has shape {t.shape}, expected {want}")
    if bias is not None and bias.shape not in (None, (o,)):
        fail(node, f"bias shape {bias.shape}, expected ({o},)")
    return [(x.dtype, (x.shape[0], o, *out))]


@op(
    "DeformConv",
    attrs={
        "stride": REQUIRED,
        "dilation": REQUIRED,
        "pad": REQUIRED,
        "pad_mode": "explicit",
        "group": 1,
        "offset_group": 1,
    },
    infer=_infer_deform,
    arity=(3, 5),
    quant=Quant(int8=False),
    foldable=False,
    cases=[
        Case(
            ((1, 2, 5, 5), (4, 2, 3, 3), (1, 18, 3, 3), (4,), (1, 9, 3, 3)),
            {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4},
            const=(1, 3),
        ),
        Case(
            ((1, 4, 5, 6), (2, 2, 2, 3), (1, 24, 3, 3)),
            {"stride": [2, 2], "dilation": [1, 1], "pad": [1, 0, 1, 1], "group": 2, "offset_group": 2},
            const=(1,),
        ),
    ],
)
def deform_conv(
    x: np.ndarray, w: np.ndarray, offset: np.ndarray, bias: np.ndarray | None = None, mask: np.ndarray | None = None, *,
    stride: list[int], dilation: list[int], pad: list[int], pad_mode: str, group: int, offset_group: int,
) -> np.ndarray:  # fmt: skip
    """x [N,C,H,W] with a tap's place moved by `offset` (row, column) and weighted by `mask`, as ONNX DeformConv."""
    (n, c, h, wide), (o, per, kh, kw) = x.shape, w.shape
    oh, ow = offset.shape[2:]
    moves = offset.reshape(n, offset_group, kh * kw, 2, oh, ow).astype(np.float64)
    scale = None if mask is None else mask.reshape(n, offset_group, kh * kw, oh, ow)
    rows = np.arange(oh)[:, None] * stride[0] - pad[0]
    columns = np.arange(ow) * stride[1] - pad[2]
    each = c // offset_group
    taps = np.zeros((n, c, kh * kw, oh, ow))
    for image, part, k in itertools.product(range(n), range(offset_group), range(kh * kw)):
        at_row = rows + (k // kw) * dilation[0] + moves[image, part, k, 0]
        at_column = columns + (k % kw) * dilation[1] + moves[image, part, k, 1]
        channels = x[image, part * each : (part + 1) * each]
        value = _zero_padded_linear(channels, at_row, at_column, h, wide)
        taps[image, part * each : (part + 1) * each, k] = value if scale is None else value * scale[image, part, k]
    grouped = taps.reshape(n, group, per * kh * kw, oh * ow)
    y = np.einsum("ngkp,gok->ngop", grouped, w.reshape(group, o // group, -1), optimize=True).reshape(n, o, oh, ow)
    return (y if bias is None else y + bias[:, None, None]).astype(x.dtype)


def _zero_padded_linear(x: np.ndarray, row: np.ndarray, column: np.ndarray, h: int, w: int) -> np.ndarray:
    """x [C,H,W] at real places [P,Q], linear, 0 outside → [C,P,Q]."""
    top, left = np.floor(row), np.floor(column)
    y = np.zeros((len(x), *row.shape))
    for dr, dc in itertools.product((0, 1), (0, 1)):
        r, c = top + dr, left + dc
        inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
        weight = (1 - np.abs(row - r)) * (1 - np.abs(column - c)) * inside
        y += weight * x[:, np.where(inside, r, 0).astype(np.int64), np.where(inside, c, 0).astype(np.int64)]
    return y


@reads("onnx", "DeformConv")
def read_onnx_deform_conv(r: Reading) -> Tensor:
    pads = begin_end(per_axis(r.attr("pads", None), 4, 0))
    attrs = {"stride": per_axis(r.attr("strides", None), 2), "dilation": per_axis(r.attr("dilations", None), 2)}
    attrs |= {"group": int(r.attr("group", 1)), "offset_group": int(r.attr("offset_group", 1)), "pad": pads}
    inputs = [r.input(0), r.input(1), r.input(2), r.optional(3), r.optional(4)]
    return r.emit("DeformConv", *inputs, **attrs)


@writes("onnx", "DeformConv")
def write_onnx_deform_conv(w: Writing, node: Node) -> None:
    need_opset(w, node, 19, "DeformConv")
    a, weight = node.attrs, node.required(1)
    fields = {"strides": a["stride"], "dilations": a["dilation"], "pads": onnx_pads(a["pad"]), "group": a["group"]}
    fields |= {"offset_group": a["offset_group"], "kernel_shape": list(weight.known_shape[2:])}
    w.node("DeformConv", node, node.inputs, fields=fields)
