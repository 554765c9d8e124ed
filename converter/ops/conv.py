"""Conv, 1-D to 3-D, channels-last; depthwise is group == channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import GraphError, Setting
from ..ir import Node, Tensor, is_quantized
from ..numeric.qparams import QuantParam
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import apply_act, fused_activation, read_act
from ._support.c_steps import layer, lifted, window
from ._support.caffe import blob, caffe_window, flat_blob, param
from ._support.integer import weighted_sum
from ._support.layout import last_perm
from ._support.mindir import mindir_window, needs_nchw
from ._support.spatial import check_window, pad_spatial, resolve_pads, window_output, windows
from ._support.windowed import (
    check_bias,
    ms_window,
    ms_window_fields,
    onnx_window,
    ranks,
    read_onnx_window_weight,
    shapes,
    tflite_padded,
    tflite_window,
    tflite_window_3d,
    write_lifted_conv,
    write_onnx_window,
)
from ._support.writers import need_constants, write_fused


def infer_conv(node: Node) -> Inferred:
    x, w = ranks(node)
    rank, group = len(x) - 2, node.attrs["group"]
    check_window(node, rank)
    if group < 1 or w[0] % group or (x[-1] is not None and x[-1] != w[-1] * group):
        raise GraphError(f"{node.name} (Conv): {x[-1]} input channels, weight {w} and group={group} do not fit")
    check_bias(node, w[0])
    resolve_pads(node.attrs, x[1:-1], w[1:-1])
    out = window_output(x[1:-1], w[1:-1], node.attrs)
    return [(node.required(0).dtype, (x[0], *out, w[0]))]


def _codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    attrs = node.attrs | {"act": "none"}
    return weighted_sum(node, arrays, lambda x, w: conv(x, w, **attrs), 0)


def _addends(node: Node, w: np.ndarray) -> np.ndarray | None:
    """onnxruntime multiplies depthwise by taps, in 16 bits a product; a multiplier makes matrix products of it."""
    depthwise = w.shape[-1] == 1 and w.shape[0] == node.attrs["group"]
    return None if depthwise else w.reshape(w.shape[0], -1)


def _mslite(node: Node) -> str:
    group, w = node.attrs["group"], node.inputs[1]
    depthwise = w is not None and w.shape is not None and w.shape[0] == group and w.shape[-1] == 1
    return "" if group == 1 or depthwise else "the real kernel takes no scale per channel in groups"


def _mixes_channels(node: Node) -> str:
    x, y, group = node.inputs[0], node.outputs[0], node.attrs["group"]
    if group == 1:
        return "full"
    return "each" if x is not None and x.shape and y.shape and group == x.shape[-1] == y.shape[-1] else ""


@op(
    "Conv",
    attrs={
        "stride": REQUIRED,
        "dilation": REQUIRED,
        "pad": REQUIRED,
        "pad_mode": "explicit",
        "group": 1,
        "act": "none",
        "dynamic": False,
    },
    infer=infer_conv,
    arity=(2, 3),
    kernel="conv",
    foldable=False,
    quant=Quant(
        weight=1,
        axis=0,
        bias=2,
        conv_family=True,
        int16=True,
        mslite=_mslite,
        addends=_addends,
        clamps=True,
        mixes_channels=_mixes_channels,
    ),
    integer=_codes,
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
    dynamic: bool = False,
) -> np.ndarray:
    """x [N,*S,C] ∗ w [O,*K,C/group] + b [O] → [N,*S',O]: cross-correlation, as ONNX Conv.

    dynamic: an int8 w meets x quantized while running; see `integer.is_dynamic`.
    """
    kernel, rank = w.shape[1:-1], w.ndim - 2
    view = windows(pad_spatial(x, pad), kernel, stride, dilation)
    n, out, channels = view.shape[0], view.shape[1 : rank + 1], x.shape[-1]
    y = np.empty((n, *out, w.shape[0]), np.result_type(x, w))
    many, per, taken = w.shape[0] // group, channels // group, math.prod(kernel)
    if per == 1:
        taps = view.reshape(n, *out, channels, taken)
        weights = w.reshape(group, many, taken)
        np.einsum("...gk,gmk->...gm", taps, weights, out=y.reshape(n, *out, group, many))
    else:
        for g in range(group):
            part = np.moveaxis(view, rank + 1, -1)[..., g * per : (g + 1) * per]
            rows = part.reshape(n, *out, taken * per)
            y[..., g * many : (g + 1) * many] = rows @ w[g * many : (g + 1) * many].reshape(many, taken * per).T
    return apply_act(y if b is None else y + b, act)


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


@reads("tflite", "CONV_3D")
def read_tflite_conv_3d(r: Reading) -> Tensor:
    w = r.permuted(r.input(1), [4, 0, 1, 2, 3])
    attrs = tflite_window_3d(r) | read_act(r, "tflite", "fused_activation_function")
    channels, per = (r.input(0).shape or (None,))[-1], (w.shape or (None,))[-1]
    return r.emit("Conv", r.input(0), w, r.optional(2), **attrs, group=channels // per if channels and per else 1)


def _onnx_conv(r: Reading) -> Tensor:
    """The convolution, still channels-last."""
    attrs = onnx_window(r, r.rank(r.input(0)) - 2)
    w = read_onnx_window_weight(r)
    return r.emit("Conv", r.channels_last(r.input(0)), w, r.optional(2), **attrs, group=r.attr("group", 1))


@reads("onnx", "Conv")
def read_onnx_conv(r: Reading) -> Tensor:
    return r.channels_first(_onnx_conv(r))


@reads("onnx", "com.microsoft::FusedConv")
def read_onnx_fused_conv(r: Reading) -> Tensor:
    """Conv, plus input 3 where there is one, then `activation`."""
    y = r.channels_first(_onnx_conv(r))
    if r.optional(3) is not None:
        y = r.emit("Add", y, r.input(3))
    return fused_activation(r, y)


@reads("ms", "Conv2DFusion")
def read_ms_conv(r: Reading) -> Tensor:
    attrs = ms_window(r) | read_act(r, "ms", "activation_type")
    return r.emit("Conv", r.input(0), r.input(1), r.optional(2), **attrs, group=r.attr("group", 1))


@reads("mindir", "Conv2D", "Conv3D")
def read_mindir_conv(r: Reading) -> Tensor:
    needs_nchw(r, 99)
    rank = r.rank(r.input(0)) - 2
    w = r.permuted(r.input(1), last_perm(rank + 2))
    attrs = mindir_window(r, rank) | {"group": r.whole(None, "group", r.attr("groups", 1))}
    return r.channels_first(r.emit("Conv", r.channels_last(r.input(0)), w, **attrs))


@reads("mindir", "DepthwiseConv2dNative")
def read_mindir_depthwise(r: Reading) -> Tensor:
    """The weight is [multiplier, C, H, W]; channel c gives outputs c · multiplier and following."""
    w = r.input(1)
    if w.data is None or w.data.ndim != 4:
        r.refuse("its weight must be a constant of rank 4")
    many, channels, high, wide = w.data.shape
    flat = r.constant(w.data.transpose(1, 0, 2, 3).reshape(many * channels, high, wide, 1), name=w.name)
    attrs = mindir_window(r, 2) | {"group": channels}
    return r.channels_first(r.emit("Conv", r.channels_last(r.input(0)), flat, **attrs))


@reads("caffe", "Convolution", "ConvolutionDepthwise", "DepthwiseConvolution")
def read_caffe_conv(r: Reading) -> Tensor:
    p, x, w = param(r, "convolution_param"), r.input(0), blob(r, 0)
    if p.axis != 1 or r.rank(x) != 4 or r.rank(w) != 4:
        r.refuse(f"axis {p.axis} of shape {x.shape}: only convolutions over two axes are read")
    group = int(p.group) if r.op == "Convolution" else int(p.num_output)
    bias = flat_blob(r, 1) if p.bias_term else None
    w = r.permuted(w, last_perm(4))
    return r.channels_first(r.emit("Conv", r.channels_last(x), w, bias, **caffe_window(r, p), group=group))


@writes("ms", "Conv")
def write_ms_conv(w: Writing, node: Node) -> None:
    need_constants(w, node)
    x, k = shapes(node)
    a = node.attrs
    if len(k) == 3:
        write_lifted_conv(w, node, write_ms_conv)
        return
    fields = ms_window_fields(w, node, k[1:-1])
    if a["pad_mode"].startswith("same") and None in x[1:-1]:
        w.refuse(node, "its pads follow from an unknown input size", hint=Setting("input_shape"))
    fields |= {"in_channel": k[-1] * a["group"], "out_channel": k[0]}
    write_fused(w, node, "Conv2DFusion", node.inputs, fields, key="activation_type")


def _tflite_bias(w: Writing, node: Node, channels: int) -> Tensor:
    """The bias, zeros where there is none: LiteRT's convolutions insist on one."""
    bias, x, weight = node.input(2), node.required(0), node.required(1)
    if bias is not None:
        return bias
    if not is_quantized(x):
        return w.constant(np.zeros(channels), x.dtype, f"{node.outputs[0].name}/bias")
    zeros = w.constant(np.zeros(channels), np.int64 if x.dtype == np.int16 else np.int32, f"{node.name}/bias")
    if x.quant is not None and weight.quant is not None:
        scale = x.quant.scale * weight.quant.scale
        zeros.quant = QuantParam(scale, np.zeros(1, np.int32), 0 if len(scale) > 1 else None, 32)
    return zeros


@writes("tflite", "Conv")
def write_tflite_conv(w: Writing, node: Node) -> None:
    _, k = shapes(node)
    a, key = node.attrs, "fused_activation_function"
    if len(k) == 3:
        write_lifted_conv(w, node, write_tflite_conv)
        return
    x, padding = tflite_padded(w, node, k[1:-1])
    weight, bias = node.required(1), _tflite_bias(w, node, k[0])
    axes = "dhw"[-(len(k) - 2) :]
    fields: dict[str, Any] = {"padding": padding}
    fields |= {f"stride_{axis}": s for axis, s in zip(axes, a["stride"])}
    fields |= {f"dilation_{axis}_factor": d for axis, d in zip(axes, a["dilation"])}
    if len(k) == 5:
        if a["group"] != 1:
            w.refuse(node, "TFLite has no grouped 3-D convolution")
        write_fused(w, node, "CONV_3D", [x, w.permuted(weight, [1, 2, 3, 4, 0]), bias], fields, key=key)
    elif a["group"] > 1 and k[-1] == 1:
        fields["depth_multiplier"] = k[0] // a["group"]
        write_fused(w, node, "DEPTHWISE_CONV_2D", [x, w.permuted(weight, [3, 1, 2, 0]), bias], fields, key=key)
    else:
        write_fused(w, node, "CONV_2D", [x, weight, bias], fields, key=key)


@writes("onnx", "Conv")
def write_onnx_conv(w: Writing, node: Node) -> None:
    mode, (x, _) = node.attrs["pad_mode"], shapes(node)
    at_run_time = mode.startswith("same") and None in x[1:-1]
    write_onnx_window(w, node, "Conv", {"pads": None, "auto_pad": mode.upper()} if at_run_time else {})


@writes("c", "Conv")
def write_c_conv(w: Writing, node: Node) -> None:
    win = window(w, node, node.required(1).static_shape[1:-1])
    layer(w, node, win, lifted(node.required(1).value), node.attrs["group"])
