"""How containers say a window: stride, dilation and padding; a weight; and 1-D windows as the 2-D ones of height 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import GraphError, Setting
from ...ir import Node, Tensor
from ...schema.reading import Reading
from ...schema.writing import Writing
from .layout import first_perm, last_perm
from .spatial import (
    begin_end,
    onnx_pads,
    per_axis,
    same_pads,
)
from .writers import write_onnx


def ranks(node: Node) -> tuple[Any, Any]:
    """The shapes of input and weight, which are known enough and agree in rank."""
    x, w = node.required(0), node.required(1)
    if x.shape is None or w.shape is None or None in w.shape:
        raise GraphError(f"{node.name} ({node.op}): the rank of its input and the shape of its weight must be known")
    if len(x.shape) != len(w.shape) or not 3 <= len(x.shape) <= 5:
        raise GraphError(
            f"{node.name} ({node.op}): input rank {len(x.shape)} and weight rank {len(w.shape)} must agree, 3 to 5"
        )
    return x.shape, w.shape


def check_bias(node: Node, channels: int) -> None:
    bias = node.input(2)
    if bias is not None and bias.is_static and bias.shape != (channels,):
        raise GraphError(f"{node.name} ({node.op}): bias shape {bias.shape}, expected ({channels},)")


_TFLITE_PADDING = {0: "same_upper", 1: "valid"}


def _tflite_padding(r: Reading) -> str:
    mode = _TFLITE_PADDING.get(r.attr("padding", 0))
    if mode is None:
        r.refuse(f"padding {r.attr('padding')} is not SAME or VALID")
    return mode


def tflite_window(r: Reading) -> dict[str, Any]:
    """Stride, dilation and padding of a TFLite 2-D window."""
    return {
        "stride": [r.attr("stride_h", 1), r.attr("stride_w", 1)],
        "dilation": [r.attr("dilation_h_factor", 1), r.attr("dilation_w_factor", 1)],
        "pad": [0, 0, 0, 0],
        "pad_mode": _tflite_padding(r),
    }


def tflite_window_3d(r: Reading) -> dict[str, Any]:
    return {
        "stride": [r.attr(f"stride_{a}", 1) for a in "dhw"],
        "dilation": [r.attr(f"dilation_{a}_factor", 1) for a in "dhw"],
        "pad": [0] * 6,
        "pad_mode": _tflite_padding(r),
    }


def onnx_window(r: Reading, rank: int) -> dict[str, Any]:
    """Stride, dilation and padding of an ONNX window; absent attributes mean 1 and 0."""
    auto = r.attr("auto_pad", "NOTSET")
    modes = {
        "NOTSET": "explicit",
        "": "explicit",
        "SAME_UPPER": "same_upper",
        "SAME_LOWER": "same_lower",
        "VALID": "valid",
    }
    if auto not in modes:
        r.refuse(f"auto_pad={auto!r}, allowed are {', '.join(modes)}")
    return {
        "stride": per_axis(r.attr("strides", None), rank),
        "dilation": per_axis(r.attr("dilations", None), rank),
        "pad": begin_end(per_axis(r.attr("pads", None), 2 * rank, 0)) if auto in ("NOTSET", "") else [0] * (2 * rank),
        "pad_mode": modes[auto],
    }


def read_onnx_window_weight(r: Reading, index: int = 1) -> Tensor:
    """The weight with channels last; its spatial sizes must agree with `kernel_shape`."""
    w = r.input(index)
    kernel = r.attr("kernel_shape", None)
    if kernel is not None and w.shape is not None and list(w.shape[2:]) != [int(k) for k in kernel]:
        r.refuse(f"kernel_shape={list(kernel)} and the weight's shape {list(w.shape)} do not agree")
    return r.permuted(w, last_perm(r.rank(w)))


_MS_MODES = {0: "explicit", 1: "same_upper", 2: "valid"}


def ms_window(r: Reading) -> dict[str, Any]:
    """Stride, dilation and padding of a MindSpore Lite 2-D window."""
    return {
        "stride": per_axis(r.attr("stride", None), 2),
        "dilation": per_axis(r.attr("dilation", None), 2),
        "pad": per_axis(r.attr("pad_list", None), 4, 0),
        "pad_mode": _MS_MODES.get(r.attr("pad_mode", 0), "explicit"),
    }


def shapes(node: Node) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Of input and weight, once `ranks` has passed them."""
    x, w = node.required(0), node.required(1)
    return x.known_shape, w.static_shape


def write_lifted_conv(w: Writing, node: Node, write: Callable[[Writing, Node], None]) -> None:
    """A 1-D convolution as the 2-D one with height 1."""
    weight = node.inputs[1]
    if weight is None or weight.data is None:
        w.refuse(node, "a 1-D convolution needs a constant weight")
    q = weight.quant
    if q is not None and q.axis:
        q = dataclasses.replace(q, axis=q.axis + 1)
    data = weight.data[:, None]
    flat = Tensor(weight.name, weight.dtype, data.shape, data, q)
    write_lifted(w, node, write, [flat, *node.inputs[2:]])


def write_lifted(
    w: Writing, node: Node, write: Callable[[Writing, Node], None], others: Sequence[Tensor | None] = ()
) -> None:
    """A 1-D window as the 2-D one with height 1, between two reshapes; `others` are the inputs behind the data."""
    x, y, a = node.inputs[0], node.outputs[0], dict(node.attrs)
    if x is None or x.shape is None or y.shape is None or sum(d is None for d in (*x.shape, *y.shape)) > 1:
        w.refuse(node, "a 1-D window needs a static input shape", hint=Setting("input_shape"))
    for key, neutral in (("stride", [1]), ("dilation", [1]), ("kernel", [1]), ("pad", [0, 0]), ("output_padding", [0])):
        if key in a:
            a[key] = neutral + a[key]
    a["pad_mode"] = "explicit"
    high = w.between(x, (x.shape[0], 1, *x.shape[1:]), f"{x.name}/2d")
    lifted = w.between(y, (y.shape[0], 1, *y.shape[1:]), f"{y.name}/2d")
    write_reshape(w, node, x, high)
    write(w, Node(node.op, node.name, [high, *others], [lifted], a, node.origin))
    write_reshape(w, node, lifted, y)


def write_reshape(w: Writing, node: Node, x: Tensor, y: Tensor) -> None:
    shape = w.constant([-1 if d is None else d for d in y.shape or ()], np.int32, f"{y.name}/shape")
    if w.container == "tflite":
        w.node("RESHAPE", node, [x, shape], [y], fields={"new_shape": shape.value.tolist()})
    else:
        w.node("Reshape", node, [x, shape], [y])


def ms_window_fields(w: Writing, node: Node, kernel: Sequence[int]) -> dict[str, Any]:
    """The fields that both convolutions of MindSpore Lite have, which are 2-D."""
    a = node.attrs
    if len(kernel) != 2 or min(a["pad"]) < 0:
        w.refuse(node, f"{len(kernel)}-D convolution with pads {a['pad']} is not in MindSpore Lite")
    return {
        "format": 1,
        "kernel_size": list(kernel),
        "stride": a["stride"],
        "dilation": a["dilation"],
        "pad_mode": 0,
        "pad_list": a["pad"],
        "group": a["group"],
    }


def tflite_padding(node: Node, kernel: Sequence[int]) -> int | None:
    """TFLite's `padding` that means the node's pads: 0 SAME, 1 VALID; None where neither does."""
    x, a = node.required(0), node.attrs
    if x.shape is None or None in x.shape[1:-1]:
        return (
            0
            if a["pad_mode"] == "same_upper"
            else 1
            if not a["pad_mode"].startswith("same") and not any(a["pad"])
            else None
        )
    if not any(a["pad"]):
        return 1
    same = same_pads(x.sizes(1, -1), kernel, a["stride"], a["dilation"], False)
    return 0 if a["pad"] == same else None


def tflite_padded(w: Writing, node: Node, kernel: Sequence[int]) -> tuple[Tensor, int]:
    """Input 0 and the TFLite `padding` that give the node's pads: SAME, VALID, or VALID behind a PAD of its own."""
    x, a = node.required(0), node.attrs
    spatial = x.known_shape[1:-1]
    padding = tflite_padding(node, kernel)
    if padding is not None:
        return x, padding
    if a["pad_mode"].startswith("same") and None in spatial:
        w.refuse(node, "its pads follow from an unknown input size", hint=Setting("input_shape"))
    if min(a["pad"]) < 0:
        w.refuse(node, f"pads {a['pad']} crop")
    pads = [[0, 0], *([a["pad"][2 * i], a["pad"][2 * i + 1]] for i in range(len(spatial))), [0, 0]]
    sizes = [None if n is None else n + p[0] + p[1] for n, p in zip(spatial, pads[1:-1])]
    padded = w.between(x, (x.known_shape[0], *sizes, x.known_shape[-1]), f"{x.name}/padded")
    w.node("PAD", node, [x, w.constant(pads, np.int32, f"{x.name}/pads")], [padded])
    return padded, 1


def write_onnx_window(w: Writing, node: Node, name: str, more: dict[str, Any]) -> None:
    """The ONNX convolution `name` with the fields that both have, and `more`, where None drops one."""
    _, k = shapes(node)
    a = node.attrs
    fields = {
        "kernel_shape": list(k[1:-1]),
        "strides": a["stride"],
        "dilations": a["dilation"],
        "pads": onnx_pads(a["pad"]),
        "group": a["group"],
    }
    fields = {key: v for key, v in (fields | more).items() if v is not None}
    weight = w.permuted(node.required(1), first_perm(len(k)))
    write_onnx(w, node, name, [node.inputs[0], weight, node.input(2)], fields, spatial=True)
