"""Convolutions: Conv (depthwise is group == channels) and ConvTranspose, 1-D to 3-D, channels-last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import GraphError
from ..execute import is_quantized
from ..formats.reading import Reading
from ..formats.writing import Writing
from ..ir import Node, Tensor
from ..numeric.qparams import QuantParam
from ..opdef import REQUIRED, Case, Inferred, Quant, op, reads, writes
from .acts import apply_act, read_act, with_act
from .integer import weighted_sum
from .layout import first_perm, last_perm
from .spatial import (
    begin_end,
    check_pixels,
    check_window,
    onnx_pads,
    pad_spatial,
    per_axis,
    resolve_pads,
    same_pads,
    window_output,
    windows,
)
from .writers import write_fused, write_onnx


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


def _integer(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    attrs = node.attrs | {"act": "none"}
    if node.op == "Conv":
        return weighted_sum(node, arrays, lambda x, w: conv(x, w, **attrs), 0)
    # The channels of a depthwise weight [C,*K,1] lie on axis 0; scales of other grouped weights do not line up.
    axis = arrays[1].ndim - 1 if attrs["group"] == 1 else 0 if arrays[1].shape[-1] == 1 else -1
    return weighted_sum(node, arrays, lambda x, w: conv_transpose(x, w, **attrs), axis)


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
    quant=Quant(weight=1, axis=0, bias=2, conv_family=True),
    integer=_integer,
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
    reach = [
        None if n is None else s * (n - 1) + (k - 1) * d + 1 + e
        for n, k, s, d, e in zip(x[1:-1], w[1:-1], a["stride"], a["dilation"], a["output_padding"])
    ]
    check_pixels(reach, f"{node.name} (ConvTranspose)")
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
    foldable=False,
    quant=Quant(
        weight=1, axis=lambda node: 0 if node.attrs["group"] > 1 else node.inputs[1].rank - 1, bias=2, conv_family=True
    ),  # pyright: ignore
    integer=_integer,
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
    attrs = _tflite_window_3d(r) | read_act(r, "tflite", "fused_activation_function")
    channels, per = (r.input(0).shape or (None,))[-1], (w.shape or (None,))[-1]
    return r.emit("Conv", r.input(0), w, r.optional(2), **attrs, group=channels // per if channels and per else 1)


def _tflite_window_3d(r: Reading) -> dict[str, Any]:
    return {
        "stride": [r.attr(f"stride_{a}", 1) for a in "dhw"],
        "dilation": [r.attr(f"dilation_{a}_factor", 1) for a in "dhw"],
        "pad": [0] * 6,
        "pad_mode": _tflite_padding(r),
    }


@reads("tflite", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE")
def read_tflite_conv_transpose(r: Reading) -> Tensor:
    """Inputs: output shape, weight [O,kh,kw,C] (3-D: [kd,kh,kw,O,C]), x, bias. The output shape decides the pads."""
    out, x = r.ints(0, "the output shape"), r.input(2)
    flat = r.op == "TRANSPOSE_CONV"
    w = r.permuted(r.input(1), [3, 1, 2, 0] if flat else [4, 0, 1, 2, 3])
    attrs = tflite_window(r) if flat else _tflite_window_3d(r)
    if x.shape is None or None in x.shape[1:] or w.shape is None or len(out) != len(x.shape):
        r.refuse("the input's shape is not known", hint="--inputShape")
    pad, extra = [], []
    for n, k, s, d, size in zip(x.shape[1:-1], w.shape[1:-1], attrs["stride"], attrs["dilation"], out[1:-1]):
        span = (k - 1) * d + 1  # pyright: ignore[reportOptionalOperand]
        front = same_pads([size], [k], [s], [d], False)[0] if attrs["pad_mode"] == "same_upper" else 0  # pyright: ignore
        # What the window does not reach of the wanted size stays zero: output padding.
        back = s * (n - 1) + span - front - size  # pyright: ignore[reportOptionalOperand]
        pad += [front, max(back, 0)]
        extra.append(max(-back, 0))
    attrs |= read_act(r, "tflite", "fused_activation_function")
    attrs |= {"pad": pad, "pad_mode": "explicit", "output_padding": extra}
    return r.emit("ConvTranspose", x, w, r.optional(3), **attrs)


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


def fused_activation(r: Reading, y: Tensor) -> Tensor:
    """The `activation` and `activation_params` of onnxruntime's fused operators, as a node."""
    act, params = r.attr("activation", ""), [float(v) for v in r.attr("activation_params", None) or []]
    simple = {"": "none", "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}
    if act in simple:
        return with_act(r, y, simple[act])
    if act == "LeakyRelu":
        return r.emit("LeakyRelu", y, alpha=params[0] if params else 0.01)
    if act == "Clip" and len(params) == 2:
        return r.emit("Clip", y, min=params[0], max=params[1])
    if act == "HardSigmoid" and len(params) == 2:
        return r.emit("HardSigmoid", y, alpha=params[0], beta=params[1])
    r.refuse(f"the fused activation {act!r} with parameters {params} is not read")


@reads("onnx", "ConvTranspose")
def read_onnx_conv_transpose(r: Reading) -> Tensor:
    x = r.input(0)
    rank = r.rank(x)
    w = read_onnx_window_weight(r)
    attrs = onnx_window(r, rank - 2)
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


def _sizes(node: Node) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and x.shape is not None and w is not None and w.shape is not None
    return x.shape, w.shape  # pyright: ignore[reportReturnType]


def _lifted(w: Writing, node: Node, write: Callable[[Writing, Node], None]) -> None:
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
        w.refuse(node, "a 1-D window needs a static input shape", hint="--inputShape")
    for key, neutral in (("stride", [1]), ("dilation", [1]), ("kernel", [1]), ("pad", [0, 0]), ("output_padding", [0])):
        if key in a:
            a[key] = neutral + a[key]
    a["pad_mode"] = "explicit"
    high = w.between(x, (x.shape[0], 1, *x.shape[1:]), f"{x.name}/2d")
    made = w.between(y, (y.shape[0], 1, *y.shape[1:]), f"{y.name}/2d")
    _reshape(w, node, x, high)
    write(w, Node(node.op, node.name, [high, *others], [made], a, node.origin))
    _reshape(w, node, made, y)


def _reshape(w: Writing, node: Node, x: Tensor, y: Tensor) -> None:
    shape = w.constant([-1 if d is None else d for d in y.shape or ()], np.int32, f"{y.name}/shape")
    if w.container == "tflite":
        w.node("RESHAPE", node, [x, shape], [y], fields={"new_shape": shape.data.tolist()})  # pyright: ignore
    else:
        w.node("Reshape", node, [x, shape], [y])


def _ms_fields(node: Node, kernel: Sequence[int]) -> dict[str, Any]:
    a = node.attrs
    return {
        "format": 1,
        "kernel_size": list(kernel),
        "stride": a["stride"],
        "dilation": a["dilation"],
        "pad_mode": 0,
        "pad_list": a["pad"],
        "group": a["group"],
    }


@writes("ms", "Conv", "ConvTranspose")
def write_ms_conv(w: Writing, node: Node) -> None:
    x, k = _sizes(node)
    a = node.attrs
    if len(k) == 3:
        _lifted(w, node, write_ms_conv)
        return
    if len(k) != 4 or min(a["pad"]) < 0:
        w.refuse(node, f"{len(k) - 2}-D convolution with pads {a['pad']} is not in MindSpore Lite")
    if a["pad_mode"].startswith("same") and None in x[1:-1] and node.op == "Conv":
        w.refuse(node, "its pads follow from an unknown input size", hint="--inputShape")
    if node.op == "ConvTranspose" and a["group"] > 1 and not (k[-1] == 1 and a["group"] == k[0]):
        w.refuse(node, f"a transposed convolution in {a['group']} groups of several channels has no kernel there")
    fields = _ms_fields(node, k[1:-1])
    if node.op == "Conv":
        fields |= {"in_channel": k[-1] * a["group"], "out_channel": k[0]}
        write_fused(w, node, "Conv2DFusion", node.inputs, fields, key="activation_type")
    else:
        fields |= {"in_channel": k[0], "out_channel": k[-1] * a["group"]}
        fields |= {"output_paddings": a["output_padding"], "pad": [0, 0, 0, 0]}
        write_fused(w, node, "Conv2dTransposeFusion", node.inputs, fields, key="activation_type")


def tflite_padding(node: Node, kernel: Sequence[int]) -> int | None:
    """TFLite's `padding` that means the node's pads: 0 SAME, 1 VALID; None where neither does."""
    x, a = node.inputs[0], node.attrs
    spatial = (None,) if x is None or x.shape is None else x.shape[1:-1]
    if None in spatial:
        return (
            0
            if a["pad_mode"] == "same_upper"
            else 1
            if not a["pad_mode"].startswith("same") and not any(a["pad"])
            else None
        )
    if not any(a["pad"]):
        return 1
    same = same_pads(spatial, kernel, a["stride"], a["dilation"], False)  # pyright: ignore
    return 0 if a["pad"] == same else None


def tflite_padded(w: Writing, node: Node, kernel: Sequence[int]) -> tuple[Tensor, int]:
    """Input 0 and the TFLite `padding` that give the node's pads: SAME, VALID, or VALID behind a PAD of its own."""
    x, a = node.inputs[0], node.attrs
    assert x is not None and x.shape is not None
    spatial = x.shape[1:-1]
    padding = tflite_padding(node, kernel)
    if padding is not None:
        return x, padding
    if a["pad_mode"].startswith("same") and None in spatial:
        w.refuse(node, "its pads follow from an unknown input size", hint="--inputShape")
    if min(a["pad"]) < 0:
        w.refuse(node, f"pads {a['pad']} crop")
    pads = [[0, 0], *([a["pad"][2 * i], a["pad"][2 * i + 1]] for i in range(len(spatial))), [0, 0]]
    sizes = [None if n is None else n + p[0] + p[1] for n, p in zip(spatial, pads[1:-1])]
    padded = w.between(x, (x.shape[0], *sizes, x.shape[-1]), f"{x.name}/padded")
    w.node("PAD", node, [x, w.constant(pads, np.int32, f"{x.name}/pads")], [padded])
    return padded, 1


def _tflite_bias(w: Writing, node: Node, channels: int) -> Tensor:
    """The bias, zeros where there is none: LiteRT's convolutions insist on one."""
    bias, x, weight = node.input(2), node.inputs[0], node.inputs[1]
    assert x is not None and weight is not None
    if bias is not None:
        return bias
    if not is_quantized(x):
        return w.constant(np.zeros(channels), x.dtype, f"{node.outputs[0].name}/bias")
    zeros = w.constant(np.zeros(channels), np.int64 if x.dtype == np.int16 else np.int32, f"{node.name}/bias")
    if x.quant is not None and weight.quant is not None:
        scale = x.quant.scale * weight.quant.scale
        zeros.quant = QuantParam(scale, np.zeros(1), 0 if len(scale) > 1 else None, 32)
    return zeros


@writes("tflite", "Conv")
def write_tflite_conv(w: Writing, node: Node) -> None:
    _, k = _sizes(node)
    a, key = node.attrs, "fused_activation_function"
    if len(k) == 3:
        _lifted(w, node, write_tflite_conv)
        return
    x, padding = tflite_padded(w, node, k[1:-1])
    weight, bias = node.inputs[1], _tflite_bias(w, node, k[0])
    assert weight is not None
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


@writes("tflite", "ConvTranspose")
def write_tflite_conv_transpose(w: Writing, node: Node) -> None:
    """TRANSPOSE_CONV without padding gives all that the window reaches; a SLICE crops where SAME means other pads."""
    shape, k = _sizes(node)
    a, y, key = node.attrs, node.outputs[0], "fused_activation_function"
    if len(k) == 3:
        _lifted(w, node, write_tflite_conv_transpose)
        return
    if a["group"] != 1 or (len(k) == 4 and max(a["dilation"]) > 1):
        w.refuse(node, f"a transposed convolution with group={a['group']}, dilation={a['dilation']} is not in TFLite")
    if None in shape or not y.is_static or min(a["pad"]) < 0:
        w.refuse(node, "TRANSPOSE_CONV holds its output shape, and pads that are not negative", hint="--inputShape")
    axes, kernel = "dhw"[-(len(k) - 2) :], k[1:-1]
    front, out = a["pad"][0::2], list(y.shape or ())
    same = same_pads(out[1:-1], kernel, a["stride"], a["dilation"], False)[0::2]
    reach = [n + a["pad"][2 * i] + a["pad"][2 * i + 1] for i, n in enumerate(out[1:-1])]
    window = list(zip(shape[1:-1], [(n - 1) * d + 1 for n, d in zip(kernel, a["dilation"])], a["stride"]))

    def valid(sizes: Sequence[int]) -> bool:
        """Whether a VALID convolution of an image of these sizes has the input's: LiteRT insists."""
        return all((m - span + s) // s == n for m, (n, span, s) in zip(sizes, window))

    plain = not any(front) and valid(out[1:-1])
    padded = front == same and all(-(-m // s) == n for m, (n, _, s) in zip(out[1:-1], window))
    crop = not plain and not padded
    if crop and not valid(reach):
        w.refuse(node, f"output_padding {a['output_padding']} is not below the stride {a['stride']}")
    target = w.between(y, (out[0], *reach, out[-1]), f"{y.name}/full") if crop else y
    fields: dict[str, Any] = {"padding": 0 if padded and not plain else 1}
    fields |= {f"stride_{axis}": s for axis, s in zip(axes, a["stride"])}
    if len(k) == 5:
        fields |= {f"dilation_{axis}_factor": d for axis, d in zip(axes, a["dilation"])}
    weight = w.permuted(node.inputs[1], [3, 1, 2, 0] if len(k) == 4 else [1, 2, 3, 4, 0])  # pyright: ignore
    size = w.constant(target.shape, np.int32, f"{y.name}/shape")
    made = Node(node.op, node.name, node.inputs, [target], a, node.origin)
    name = "TRANSPOSE_CONV" if len(k) == 4 else "CONV_3D_TRANSPOSE"
    write_fused(w, made, name, [size, weight, node.inputs[0], node.input(2)], fields, key=key)
    if crop:
        begin = w.constant([0, *front, 0], np.int32, f"{y.name}/begin")
        w.node("SLICE", node, [target, begin, w.constant(out, np.int32, f"{y.name}/size")], [y])


@writes("onnx", "Conv", "ConvTranspose")
def write_onnx_conv(w: Writing, node: Node) -> None:
    x, k = _sizes(node)
    a = node.attrs
    fields = {
        "kernel_shape": list(k[1:-1]),
        "strides": a["stride"],
        "dilations": a["dilation"],
        "pads": onnx_pads(a["pad"]),
        "group": a["group"],
    }
    if node.op == "ConvTranspose":
        fields["output_padding"] = a["output_padding"]
    elif a["pad_mode"].startswith("same") and None in x[1:-1]:
        del fields["pads"]
        fields["auto_pad"] = a["pad_mode"].upper()
    weight = w.permuted(node.inputs[1], first_perm(len(k)))  # pyright: ignore[reportArgumentType]
    write_onnx(w, node, node.op, [node.inputs[0], weight, node.input(2)], fields, spatial=True)
