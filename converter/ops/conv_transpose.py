"""ConvTranspose, 1-D to 3-D, channels-last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import GraphError, Setting
from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import apply_act, read_act
from ._support.caffe import blob, caffe_window, flat_blob, param
from ._support.integer import weighted_sum
from ._support.mindir import mindir_window, needs_nchw
from ._support.spatial import check_pixels, check_window, pad_spatial, per_axis, same_pads
from ._support.windowed import (
    check_bias,
    ms_window,
    ms_window_fields,
    onnx_window,
    ranks,
    read_onnx_window_weight,
    shapes,
    tflite_window,
    tflite_window_3d,
    write_lifted_conv,
    write_onnx_window,
)
from ._support.writers import need_constants, write_fused


def _codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    attrs = node.attrs | {"act": "none"}
    # The channels of a depthwise weight [C,*K,1] lie on axis 0; scales of other grouped weights do not line up.
    axis = arrays[1].ndim - 1 if attrs["group"] == 1 else 0 if arrays[1].shape[-1] == 1 else -1
    return weighted_sum(node, arrays, lambda x, w: conv_transpose(x, w, **attrs), axis)


def infer_conv_transpose(node: Node) -> Inferred:
    x, w = ranks(node)
    rank, a = len(x) - 2, node.attrs
    check_window(node, rank)
    if a["group"] < 1 or w[0] % a["group"] or (x[-1] is not None and x[-1] != w[0]):
        raise GraphError(
            f"{node.name} (ConvTranspose): {x[-1]} input channels, weight {w} and group={a['group']} do not fit"
        )
    check_bias(node, w[-1] * a["group"])
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
    return [(node.required(0).dtype, (x[0], *out, w[-1] * a["group"]))]


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
        weight=1,
        axis=lambda node: 0 if node.attrs["group"] > 1 else node.required(1).known_rank - 1,
        bias=2,
        conv_family=True,
        mslite="the real kernel computes other values",
        clamps=True,
    ),
    integer=_codes,
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


@reads("tflite", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE")
def read_tflite_conv_transpose(r: Reading) -> Tensor:
    """Inputs: output shape, weight [O,kh,kw,C] (3-D: [kd,kh,kw,O,C]), x, bias. The output shape decides the pads."""
    out, x = r.ints(0, "the output shape"), r.input(2)
    flat = r.op == "TRANSPOSE_CONV"
    w = r.permuted(r.input(1), [3, 1, 2, 0] if flat else [4, 0, 1, 2, 3])
    attrs = tflite_window(r) if flat else tflite_window_3d(r)
    if x.shape is None or None in x.shape[1:] or w.shape is None or len(out) != len(x.shape):
        r.refuse("the input's shape is not known", hint=Setting("input_shape"))
    pad, extra = [], []
    for n, k, s, d, size in zip(x.sizes(1, -1), w.sizes(1, -1), attrs["stride"], attrs["dilation"], out[1:-1]):
        span = (k - 1) * d + 1
        front = same_pads([size], [k], [s], [d], False)[0] if attrs["pad_mode"] == "same_upper" else 0
        # What the window does not reach of the wanted size stays zero: output padding.
        back = s * (n - 1) + span - front - size
        pad += [front, max(back, 0)]
        extra.append(max(-back, 0))
    attrs |= read_act(r, "tflite", "fused_activation_function")
    attrs |= {"pad": pad, "pad_mode": "explicit", "output_padding": extra}
    return r.emit("ConvTranspose", x, w, r.optional(3), **attrs)


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
        r.refuse("output_shape needs the input's spatial sizes", hint=Setting("input_shape"))
    pad = []
    for i in range(rank):
        reach = attrs["stride"][i] * (x.size(2 + i) - 1) + (w.size(1 + i) - 1) * attrs["dilation"][i] + 1
        total = reach + attrs["output_padding"][i] - wanted[i]
        small, large = total // 2, total - total // 2
        pad += [large, small] if attrs["pad_mode"] != "same_upper" else [small, large]
    return {"pad": pad, "pad_mode": "explicit"}


@reads("ms", "Conv2dTransposeFusion")
def read_ms_conv_transpose(r: Reading) -> Tensor:
    attrs = ms_window(r) | read_act(r, "ms", "activation_type")
    attrs["output_padding"] = per_axis(r.attr("output_paddings", None), 2, 0)
    return r.emit("ConvTranspose", r.input(0), r.input(1), r.optional(2), **attrs, group=r.attr("group", 1))


@reads("mindir", "Conv2DTranspose", "Conv2DBackpropInput")
def read_mindir_conv_transpose(r: Reading) -> Tensor:
    """Inputs: x, weight [I, O/group, H, W], and the output's shape, which says what the stride leaves open."""
    needs_nchw(r, 99)
    x, w = r.input(0), r.permuted(r.input(1), [0, 2, 3, 1])
    attrs, size = mindir_window(r, 2), r.wholes(2, "input_size")
    if x.shape is None or None in x.shape[2:] or w.shape is None or len(size) != 4:
        r.refuse("the input's shape is not known", hint=Setting("input_shape"))
    if attrs["pad_mode"] == "same_upper":
        attrs["pad"] = same_pads(size[2:], w.sizes(1, 3), attrs["stride"], attrs["dilation"], False)
    extra = []
    for i in range(2):
        reach = attrs["stride"][i] * (x.size(2 + i) - 1) + (w.size(1 + i) - 1) * attrs["dilation"][i] + 1
        extra.append(size[2 + i] - reach + attrs["pad"][2 * i] + attrs["pad"][2 * i + 1])
    attrs |= {"pad_mode": "explicit", "output_padding": extra, "group": r.whole(None, "group", 1)}
    return r.channels_first(r.emit("ConvTranspose", r.channels_last(x), w, **attrs))


@reads("caffe", "Deconvolution")
def read_caffe_deconvolution(r: Reading) -> Tensor:
    p, x, w = param(r, "convolution_param"), r.input(0), blob(r, 0)
    if p.axis != 1 or r.rank(x) != 4 or r.rank(w) != 4:
        r.refuse(f"axis {p.axis} of shape {x.shape}: only convolutions over two axes are read")
    bias = flat_blob(r, 1) if p.bias_term else None
    attrs = caffe_window(r, p) | {"output_padding": [0, 0], "group": int(p.group)}
    w = r.permuted(w, [0, 2, 3, 1])
    return r.channels_first(r.emit("ConvTranspose", r.channels_last(x), w, bias, **attrs))


@writes("ms", "ConvTranspose")
def write_ms_conv_transpose(w: Writing, node: Node) -> None:
    need_constants(w, node)
    _, k = shapes(node)
    a = node.attrs
    if len(k) == 3:
        write_lifted_conv(w, node, write_ms_conv_transpose)
        return
    fields = ms_window_fields(w, node, k[1:-1])
    if a["group"] > 1 and not (k[-1] == 1 and a["group"] == k[0]):
        w.refuse(node, f"a transposed convolution in {a['group']} groups of several channels has no kernel there")
    fields |= {"in_channel": k[0], "out_channel": k[-1] * a["group"]}
    fields |= {"output_paddings": a["output_padding"], "pad": [0, 0, 0, 0]}
    write_fused(w, node, "Conv2dTransposeFusion", node.inputs, fields, key="activation_type")


@writes("tflite", "ConvTranspose")
def write_tflite_conv_transpose(w: Writing, node: Node) -> None:
    """TRANSPOSE_CONV without padding gives all that the window reaches; a SLICE crops where SAME means other pads."""
    shape, k = shapes(node)
    a, y, key = node.attrs, node.outputs[0], "fused_activation_function"
    if len(k) == 3:
        write_lifted_conv(w, node, write_tflite_conv_transpose)
        return
    if a["group"] != 1 or (len(k) == 4 and max(a["dilation"]) > 1):
        w.refuse(node, f"a transposed convolution with group={a['group']}, dilation={a['dilation']} is not in TFLite")
    if None in shape or not y.is_static or min(a["pad"]) < 0:
        w.refuse(
            node, "TRANSPOSE_CONV holds its output shape, and pads that are not negative", hint=Setting("input_shape")
        )
    axes, kernel = "dhw"[-(len(k) - 2) :], k[1:-1]
    front, out = a["pad"][0::2], list(y.static_shape)
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
    weight = w.permuted(node.required(1), [3, 1, 2, 0] if len(k) == 4 else [1, 2, 3, 4, 0])
    size = w.constant(target.shape, np.int32, f"{y.name}/shape")
    layer = Node(node.op, node.name, node.inputs, [target], a, node.origin)
    name = "TRANSPOSE_CONV" if len(k) == 4 else "CONV_3D_TRANSPOSE"
    write_fused(w, layer, name, [size, weight, node.inputs[0], node.input(2)], fields, key=key)
    if crop:
        begin = w.constant([0, *front, 0], np.int32, f"{y.name}/begin")
        w.node("SLICE", node, [target, begin, w.constant(out, np.int32, f"{y.name}/size")], [y])


@writes("onnx", "ConvTranspose")
def write_onnx_conv_transpose(w: Writing, node: Node) -> None:
    write_onnx_window(w, node, "ConvTranspose", {"output_padding": node.attrs["output_padding"]})
