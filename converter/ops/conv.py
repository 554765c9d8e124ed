"""Convolutions: Conv (depthwise is group == channels) and ConvTranspose, 1-D to 3-D, channels-last."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GraphError
from ..formats.reading import Reading
from ..formats.writing import MsWriting
from ..ir import Node, Tensor
from ..opdef import REQUIRED, Case, Inferred, Quant, op, reads, writes
from .acts import act_number, apply_act, read_act
from .spatial import (
    begin_end,
    check_window,
    pad_spatial,
    per_axis,
    resolve_pads,
    window_output,
    windows,
)


def _ranks(node: Node) -> tuple[Any, Any]:
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    if x.shape is None or w.shape is None or None in w.shape:
        raise GraphError(f"{node.name} ({node.op}): the rank of its input and the shape of its weight must be known")
    if len(x.shape) != len(w.shape) or not 3 <= len(x.shape) <= 5:
        raise GraphError(
            f"{node.name} ({node.op}): input rank {len(x.shape)} and weight rank {len(w.shape)} must agree, 3 to 5"
        )
    return x.shape, w.shape


def _check_bias(node: Node, channels: int) -> None:
    bias = node.input(2)
    if bias is not None and bias.is_static and bias.shape != (channels,):
        raise GraphError(f"{node.name} ({node.op}): bias shape {bias.shape}, expected ({channels},)")


def infer_conv(node: Node) -> Inferred:
    x, w = _ranks(node)
    rank, group = len(x) - 2, node.attrs["group"]
    check_window(node, rank)
    if group < 1 or w[0] % group or (x[-1] is not None and x[-1] != w[-1] * group):
        raise GraphError(f"{node.name} (Conv): {x[-1]} input channels, weight {w} and group={group} do not fit")
    _check_bias(node, w[0])
    resolve_pads(node.attrs, x[1:-1], w[1:-1])
    out = window_output(x[1:-1], w[1:-1], node.attrs)
    return [(node.inputs[0].dtype, (x[0], *out, w[0]))]  # pyright: ignore[reportOptionalMemberAccess]


@op(
    "Conv",
    attrs={
        "stride": REQUIRED,
        "dilation": REQUIRED,
        "pad": REQUIRED,
        "pad_mode": "explicit",
        "group": 1,
        "act": "none",
    },
    infer=infer_conv,
    arity=(2, 3),
    kernel="conv",
    quant=Quant(weight=1, axis=0, bias=2, conv_family=True),
    cases=[
        Case(
            ((1, 5, 5, 3), (8, 3, 3, 3), (8,)),
            {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1]},
            const=(1, 2),
        ),
        Case(
            ((2, 7, 6, 4), (6, 3, 2, 2)),
            {"stride": [2, 1], "dilation": [1, 2], "pad": [0, 1, 2, 0], "group": 2},
            const=(1,),
        ),
        Case(
            ((1, 9, 9, 8), (8, 3, 3, 1), (8,)),
            {"stride": [2, 2], "dilation": [1, 1], "pad": [0, 1, 0, 1], "group": 8, "act": "relu6"},
            const=(1, 2),
        ),
        Case(
            ((1, 6, 5, 3), (6, 5, 5, 1)), {"stride": [1, 1], "dilation": [1, 1], "pad": [2] * 4, "group": 3}, const=(1,)
        ),
        Case(
            ((1, 4, 4, 16), (33, 1, 1, 16), (33,)),
            {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4, "act": "relu"},
            const=(1, 2),
        ),
        Case(((1, 9, 4), (5, 3, 4)), {"stride": [2], "dilation": [1], "pad": [1, 1]}, const=(1,)),
        Case(
            ((1, 4, 5, 6, 2), (3, 2, 3, 2, 2)),
            {"stride": [1, 1, 2], "dilation": [1] * 3, "pad": [0, 1, 1, 1, 0, 0]},
            const=(1,),
        ),
    ],
)
def conv(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    stride: list[int],
    dilation: list[int],
    pad: list[int],
    pad_mode: str,
    group: int,
    act: str,
) -> np.ndarray:
    """x [N,*S,C] ∗ w [O,*K,C/group] + b [O] → [N,*S',O]: cross-correlation, as ONNX Conv."""
    kernel, rank = w.shape[1:-1], w.ndim - 2
    view = windows(pad_spatial(x, pad), kernel, stride, dilation)
    n, out, channels = view.shape[0], view.shape[1 : rank + 1], x.shape[-1]
    y = np.empty((n, *out, w.shape[0]), np.result_type(x, w))
    many, per = w.shape[0] // group, channels // group
    if per == 1:
        taps = view.reshape(n, *out, channels, -1)
        weights = w.reshape(group, many, -1)
        np.einsum("...gk,gmk->...gm", taps, weights, out=y.reshape(n, *out, group, many))
    else:
        for g in range(group):
            part = np.moveaxis(view, rank + 1, -1)[..., g * per : (g + 1) * per]
            rows = part.reshape(n, *out, -1)
            y[..., g * many : (g + 1) * many] = rows @ w[g * many : (g + 1) * many].reshape(many, -1).T
    return apply_act(y if b is None else y + b, act)


def infer_conv_transpose(node: Node) -> Inferred:
    x, w = _ranks(node)
    rank, a = len(x) - 2, node.attrs
    check_window(node, rank)
    if a["group"] < 1 or w[0] % a["group"] or (x[-1] is not None and x[-1] != w[0]):
        raise GraphError(
            f"{node.name} (ConvTranspose): {x[-1]} input channels, weight {w} and group={a['group']} do not fit"
        )
    _check_bias(node, w[-1] * a["group"])
    out: list[int | None] = []
    for i, n in enumerate(x[1:-1]):
        full = (w[1 + i] - 1) * a["dilation"][i] + 1 + a["output_padding"][i]
        total = max(full - a["stride"][i], 0)
        if a["pad_mode"].startswith("same"):
            small, large = total // 2, total - total // 2
            a["pad"][2 * i : 2 * i + 2] = [large, small] if a["pad_mode"] == "same_lower" else [small, large]
        size = None if n is None else a["stride"][i] * (n - 1) + full - a["pad"][2 * i] - a["pad"][2 * i + 1]
        if size is not None and size < 0:
            raise GraphError(f"{node.name} (ConvTranspose): pads {a['pad']} leave nothing of axis {i}")
        out.append(size)
    return [(node.inputs[0].dtype, (x[0], *out, w[-1] * a["group"]))]  # pyright: ignore[reportOptionalMemberAccess]


@op(
    "ConvTranspose",
    attrs={
        "stride": REQUIRED,
        "dilation": REQUIRED,
        "pad": REQUIRED,
        "output_padding": REQUIRED,
        "pad_mode": "explicit",
        "group": 1,
        "act": "none",
    },
    infer=infer_conv_transpose,
    arity=(2, 3),
    kernel="conv_transpose",
    quant=Quant(
        weight=1, axis=lambda node: 0 if node.attrs["group"] > 1 else node.inputs[1].rank - 1, bias=2, conv_family=True
    ),  # pyright: ignore
    cases=[
        Case(
            ((1, 4, 5, 3), (3, 3, 3, 4), (4,)),
            {"stride": [2, 2], "dilation": [1, 1], "pad": [1, 1, 0, 1], "output_padding": [1, 0]},
            const=(1, 2),
        ),
        Case(
            ((1, 4, 4, 4), (4, 4, 4, 1)),
            {"stride": [2, 2], "dilation": [1, 1], "pad": [1] * 4, "output_padding": [0, 0], "group": 4},
            const=(1,),
        ),
        Case(
            ((2, 3, 3, 4), (4, 2, 3, 3)),
            {"stride": [1, 3], "dilation": [2, 1], "pad": [0] * 4, "output_padding": [0, 0], "group": 2, "act": "relu"},
            const=(1,),
        ),
        Case(
            ((1, 5, 2), (2, 3, 3)), {"stride": [2], "dilation": [1], "pad": [0, 0], "output_padding": [0]}, const=(1,)
        ),
    ],
)
def conv_transpose(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    stride: list[int],
    dilation: list[int],
    pad: list[int],
    output_padding: list[int],
    pad_mode: str,
    group: int,
    act: str,
) -> np.ndarray:
    """x [N,*S,C], w [C,*K,O/group], b [O] → [N,*S',O]: the gradient of Conv, as ONNX ConvTranspose."""
    kernel, rank, per = w.shape[1:-1], w.ndim - 2, w.shape[0] // group
    sizes = [
        s * (n - 1) + (k - 1) * d + 1 + e
        for n, k, s, d, e in zip(x.shape[1:-1], kernel, stride, dilation, output_padding)
    ]
    full = np.zeros((x.shape[0], *sizes, w.shape[-1] * group), np.result_type(x, w))
    wide = w.shape[-1]
    for tap in np.ndindex(*kernel):
        at = tuple(slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in zip(tap, dilation, stride, x.shape[1:-1]))
        for g in range(group):
            rows, columns = slice(g * per, (g + 1) * per), slice(g * wide, (g + 1) * wide)
            full[(slice(None), *at, columns)] += x[..., rows] @ w[(rows, *tap)]
    y = pad_spatial(full, [-p for p in pad]) if rank else full
    return apply_act(y if b is None else y + b, act)


_TFLITE_PADDING = {0: "same_upper", 1: "valid"}


def tflite_window(r: Reading) -> dict[str, Any]:
    """Stride, dilation and padding of a TFLite 2-D window."""
    mode = _TFLITE_PADDING.get(r.attr("padding", 0))
    if mode is None:
        r.refuse(f"padding {r.attr('padding')} is not SAME or VALID")
    return {
        "stride": [r.attr("stride_h", 1), r.attr("stride_w", 1)],
        "dilation": [r.attr("dilation_h_factor", 1), r.attr("dilation_w_factor", 1)],
        "pad": [0, 0, 0, 0],
        "pad_mode": mode,
    }


@reads("tflite", "CONV_2D")
def read_tflite_conv(r: Reading) -> Tensor:
    x, w = r.input(0), r.input(1)
    channels, per = (x.shape or (None,))[-1], (w.shape or (None,))[-1]
    group = channels // per if channels and per else 1
    return r.emit(
        "Conv",
        x,
        w,
        r.optional(2),
        **tflite_window(r),
        **read_act(r, "tflite", "fused_activation_function"),
        group=group,
    )


@reads("tflite", "DEPTHWISE_CONV_2D")
def read_tflite_depthwise(r: Reading) -> Tensor:
    x = r.input(0)
    if x.shape is None or x.shape[-1] is None:
        r.refuse("the number of input channels is not known")
    w = r.permuted(r.input(1), [3, 1, 2, 0])
    attrs = tflite_window(r) | read_act(r, "tflite", "fused_activation_function")
    return r.emit("Conv", x, w, r.optional(2), **attrs, group=x.shape[-1])


@reads("tflite", "TRANSPOSE_CONV")
def read_tflite_conv_transpose(r: Reading) -> Tensor:
    """Inputs: output shape, weight [O,kh,kw,C], x, bias. The output shape decides the pads."""
    out, x = r.ints(0, "the output shape"), r.input(2)
    w = r.permuted(r.input(1), [3, 1, 2, 0])
    attrs = tflite_window(r)
    if x.shape is None or None in x.shape[1:] or w.shape is None:
        r.refuse("the input's shape is not known", hint="--inputShape")
    pad, extra = [], []
    for i in range(2):
        natural = attrs["stride"][i] * (x.shape[1 + i] - 1) + w.shape[1 + i]  # pyright: ignore[reportOperatorIssue]
        total = natural - out[1 + i]
        # TFLite puts the smaller half in front; what the window does not reach is output padding.
        pad += [max(total, 0) // 2, max(total, 0) - max(total, 0) // 2]
        extra.append(max(-total, 0))
    attrs |= read_act(r, "tflite", "fused_activation_function")
    attrs |= {"pad": pad, "pad_mode": "explicit", "output_padding": extra}
    return r.emit("ConvTranspose", x, w, r.optional(3), **attrs)


def onnx_window(r: Reading, rank: int, kernel: list[int]) -> dict[str, Any]:
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


def _to_last(rank: int) -> list[int]:
    return [0, *range(2, rank), 1]


@reads("onnx", "Conv")
def read_onnx_conv(r: Reading) -> Tensor:
    rank = r.rank(r.input(0))
    w = r.permuted(r.input(1), _to_last(rank))
    attrs = onnx_window(r, rank - 2, [])
    return r.channels_first(
        r.emit("Conv", r.channels_last(r.input(0)), w, r.optional(2), **attrs, group=r.attr("group", 1))
    )


@reads("onnx", "ConvTranspose")
def read_onnx_conv_transpose(r: Reading) -> Tensor:
    x = r.input(0)
    rank = r.rank(x)
    w = r.permuted(r.input(1), _to_last(rank))
    attrs = onnx_window(r, rank - 2, [])
    attrs["output_padding"] = per_axis(r.attr("output_padding", None), rank - 2, 0)
    wanted = r.attr("output_shape", None)
    if wanted is not None:
        attrs = attrs | _pads_for(r, wanted, x, w, attrs)
    return r.channels_first(
        r.emit("ConvTranspose", r.channels_last(x), w, r.optional(2), **attrs, group=r.attr("group", 1))
    )


def _pads_for(r: Reading, wanted: Any, x: Tensor, w: Tensor, attrs: dict[str, Any]) -> dict[str, Any]:
    """The pads that give ConvTranspose's `output_shape` (spatial sizes), by ONNX's rule."""
    rank = r.rank(x) - 2
    wanted = [int(v) for v in wanted][-rank:]
    if x.shape is None or None in x.shape[2:] or w.shape is None:
        r.refuse("output_shape needs the input's spatial sizes", hint="--inputShape")
    pad = []
    for i in range(rank):
        reach = attrs["stride"][i] * (x.shape[2 + i] - 1) + (w.shape[1 + i] - 1) * attrs["dilation"][i] + 1  # pyright: ignore
        total = reach + attrs["output_padding"][i] - wanted[i]
        small, large = total // 2, total - total // 2
        pad += [large, small] if attrs["pad_mode"] != "same_upper" else [small, large]
    return {"pad": pad, "pad_mode": "explicit"}


_MS_MODES = {0: "explicit", 1: "same_upper", 2: "valid"}


def ms_window(r: Reading, pad_key: str = "pad_list") -> dict[str, Any]:
    """Stride, dilation and padding of a MindSpore Lite 2-D window."""
    return {
        "stride": per_axis(r.attr("stride", None), 2),
        "dilation": per_axis(r.attr("dilation", None), 2),
        "pad": per_axis(r.attr(pad_key, None), 4, 0),
        "pad_mode": _MS_MODES.get(r.attr("pad_mode", 0), "explicit"),
    }


@reads("ms", "Conv2DFusion")
def read_ms_conv(r: Reading) -> Tensor:
    attrs = ms_window(r) | read_act(r, "ms", "activation_type")
    return r.emit("Conv", r.input(0), r.input(1), r.optional(2), **attrs, group=r.attr("group", 1))


@reads("ms", "Conv2dTransposeFusion")
def read_ms_conv_transpose(r: Reading) -> Tensor:
    attrs = ms_window(r) | read_act(r, "ms", "activation_type")
    attrs["output_padding"] = per_axis(r.attr("output_paddings", None), 2, 0)
    return r.emit("ConvTranspose", r.input(0), r.input(1), r.optional(2), **attrs, group=r.attr("group", 1))


def _ms_fields(node: Node) -> dict[str, Any]:
    w = node.inputs[1]
    assert w is not None and w.shape is not None
    a = node.attrs
    return {
        "format": 1,
        "kernel_size": list(w.shape[1:-1]),
        "stride": a["stride"],
        "dilation": a["dilation"],
        "pad_mode": 0,
        "pad_list": a["pad"],
        "group": a["group"],
        "activation_type": act_number("ms", a["act"]),
    }


@writes("ms", "Conv")
def write_ms_conv(w: MsWriting, node: Node) -> None:
    weight = node.inputs[1]
    assert weight is not None and weight.shape is not None
    if len(weight.shape) != 4:
        w.refuse(node, f"{len(weight.shape) - 2}-D convolution is not in MindSpore Lite")
    o, i, g = weight.shape[0], weight.shape[-1], node.attrs["group"]
    w.node("Conv2DFusion", node, node.inputs, fields=_ms_fields(node) | {"in_channel": i * g, "out_channel": o})  # pyright: ignore


@writes("ms", "ConvTranspose")
def write_ms_conv_transpose(w: MsWriting, node: Node) -> None:
    weight = node.inputs[1]
    assert weight is not None and weight.shape is not None
    if len(weight.shape) != 4:
        w.refuse(node, f"{len(weight.shape) - 2}-D transposed convolution is not in MindSpore Lite")
    i, o, g = weight.shape[0], weight.shape[-1], node.attrs["group"]
    more = {"in_channel": i, "out_channel": o * g, "output_paddings": node.attrs["output_padding"], "pad": [0, 0, 0, 0]}  # pyright: ignore
    w.node("Conv2dTransposeFusion", node, node.inputs, fields=_ms_fields(node) | more)
