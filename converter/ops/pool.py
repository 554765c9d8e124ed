"""Pools: MaxPool, AveragePool, LpPool and their kin, 1-D to 3-D, channels-last. Global pools are Reduce."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import GraphError, Setting
from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import apply_act, no_act_in_mslite, read_act
from ._support.channels import channel_by_channel
from ._support.integer import averaged, one_scale, rescaled
from ._support.spatial import check_window, onnx_pads, pad_spatial, per_axis, resolve_pads, window_output, windows
from ._support.windowed import onnx_window, tflite_padded, tflite_padding, tflite_window, write_lifted
from ._support.writers import need_opset, write_fused, write_onnx

_MOST_TAPS = 1 << 24
POOL_WINDOW: dict[str, Any] = {
    "kernel": REQUIRED,
    "stride": REQUIRED,
    "dilation": REQUIRED,
    "pad": REQUIRED,
    "pad_mode": "explicit",
    "ceil_mode": False,
}


def infer_pool(node: Node) -> Inferred:
    """Output type of a pool. Every window must cover at least one element of the input."""
    x, a = node.required(0), node.attrs
    if x.shape is None or not 3 <= len(x.shape) <= 5:
        raise GraphError(f"{node.name} ({node.op}): the input's rank must be known and 3 to 5, it has shape {x.shape}")
    rank = len(x.shape) - 2
    if len(a["kernel"]) != rank:
        raise GraphError(f"{node.name} ({node.op}): kernel={a['kernel']} does not fit {rank} spatial axes")
    check_window(node, rank)
    if not 1 <= a.get("p", 1) <= 64:
        raise GraphError(f"{node.name} ({node.op}): p={a['p']}, allowed are 1 to 64")
    resolve_pads(a, x.shape[1:-1], a["kernel"])
    if min(a["pad"], default=0) < 0:
        raise GraphError(f"{node.name} ({node.op}): pads {a['pad']} are negative")
    out = window_output(x.shape[1:-1], a["kernel"], a, a["ceil_mode"])
    for i, (n, m) in enumerate(zip(x.shape[1:-1], out)):
        if n is not None and m is not None and not a.get("count_include_pad") and not _covered(a, i, n, m).all():
            raise GraphError(f"{node.name} ({node.op}): pads {a['pad']} leave a window of axis {i} without an element")
    return [(x.dtype, (x.shape[0], *out, x.shape[-1]))]


def _covered(a: dict[str, Any], axis: int, n: int, out: int) -> np.ndarray:
    """Per window along an axis, whether one of its taps lies on one of the n elements."""
    if out * a["kernel"][axis] > _MOST_TAPS:
        raise GraphError(
            f"a kernel of {a['kernel'][axis]} at {out} places is more than {_MOST_TAPS} taps along an axis"
        )
    first = np.arange(out)[:, None] * a["stride"][axis] - a["pad"][2 * axis]
    taps = first + np.arange(a["kernel"][axis]) * a["dilation"][axis]
    return ((taps >= 0) & (taps < n)).any(1)


def _places(x: np.ndarray, a: dict[str, Any]) -> list[int]:
    """How many windows there are along each spatial axis of x."""
    return [n for n in window_output(x.shape[1:-1], a["kernel"], a, a["ceil_mode"]) if n is not None]


def window_views(x: np.ndarray, a: dict[str, Any], fill: Any, out: Sequence[int] | None = None) -> np.ndarray:
    """[N, *out, C, *kernel] with `fill` where the window leaves the data."""
    out = out or _places(x, a)
    ends = []
    for i, m in enumerate(out):
        reach = (m - 1) * a["stride"][i] + (a["kernel"][i] - 1) * a["dilation"][i] + 1
        ends.append(max(reach - x.shape[1 + i] - a["pad"][2 * i] - a["pad"][2 * i + 1], 0))
    view = windows(pad_spatial(x, a["pad"], fill, ends), a["kernel"], a["stride"], a["dilation"])
    return view[(slice(None), *(slice(m) for m in out))]


def own_pads(a: dict[str, Any]) -> dict[str, Any]:
    return a | {"pad_mode": "explicit"} if a["pad_mode"] == "valid" else a


def _counts(x: np.ndarray, a: dict[str, Any], include_pad: bool) -> np.ndarray:
    """Elements that each window counts, [1, *out, 1]."""
    ones = np.ones((1, *x.shape[1:-1], 1), np.int64)
    out = _places(x, a)
    if include_pad:
        ones = pad_spatial(ones, a["pad"], 1)
        a = a | {"pad": [0] * len(a["pad"]), "pad_mode": "explicit"}
    rank = x.ndim - 2
    return window_views(ones, a, 0, out).sum(tuple(range(-rank, 0)))


def lowest_value(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def _integer_max(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    if not one_scale(node.inputs[0]):
        return None
    codes = max_pool(arrays[0], **(node.attrs | {"act": "none"}))
    y = node.outputs[0]
    if y.quant is None and y.dtype == codes.dtype and node.attrs["act"] == "none":
        return codes
    return rescaled(node, codes)


SQUARE = {"kernel": [2, 2], "stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4}
_PADDED = {"kernel": [3, 2], "stride": [2, 1], "dilation": [1, 1], "pad": [1, 0, 0, 1]}
POOL_CASES = [
    Case(((1, 6, 6, 3),), SQUARE),
    Case(((2, 7, 5, 4),), _PADDED),
    Case(((1, 7, 8, 3),), {"kernel": [3, 3], "stride": [2, 2], "dilation": [1, 1], "pad": [1] * 4, "ceil_mode": True}),
    Case(((1, 9, 8, 2),), {"kernel": [2, 3], "stride": [1, 2], "dilation": [2, 1], "pad": [0, 1, 1, 1]}),
    Case(((1, 5, 5, 3),), SQUARE | {"pad_mode": "same_upper"}),
    Case(((2, 9, 3),), {"kernel": [3], "stride": [2], "dilation": [1], "pad": [1, 1]}),
    Case(
        ((1, 4, 5, 6, 2),), {"kernel": [2, 2, 3], "stride": [1, 2, 2], "dilation": [1] * 3, "pad": [0, 0, 1, 0, 1, 1]}
    ),
]


@op(
    "MaxPool",
    attrs=POOL_WINDOW | {"act": "none"},
    infer=infer_pool,
    kernel="max_pool",
    foldable=False,
    quant=Quant(output="same", mslite=no_act_in_mslite, clamps=True, passes_channels=channel_by_channel),
    integer=_integer_max,
    cases=[*POOL_CASES, Case(((1, 4, 4, 2),), SQUARE | {"act": "relu6"})],
)
def max_pool(x: np.ndarray, *, act: str, **a: Any) -> np.ndarray:
    """Largest element of each window of x [N,*S,C]; padding never wins."""
    view = window_views(x, own_pads(a), lowest_value(x.dtype))
    return apply_act(view.max(tuple(range(-(x.ndim - 2), 0))), act)


def _integer_average(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    x = node.inputs[0]
    if not one_scale(x):
        return None
    a = own_pads({k: v for k, v in node.attrs.items() if k not in ("act", "count_include_pad")})
    view = window_views(arrays[0].astype(np.int32) - x.qparams.zero_point, a, 0)
    sums = view.sum(tuple(range(-(arrays[0].ndim - 2), 0)), dtype=np.int64)
    return averaged(node, sums, _counts(arrays[0], a, node.attrs["count_include_pad"]))


def _mslite_average(node: Node) -> str:
    if math.prod(node.attrs["kernel"]) > 128:
        return "the real kernel sums in 16 bits"
    return no_act_in_mslite(node)


@op(
    "AveragePool",
    attrs=POOL_WINDOW | {"count_include_pad": False, "act": "none"},
    infer=infer_pool,
    kernel="average_pool",
    foldable=False,
    # A window's mean is in the range of its values, and MindSpore Lite's kernel wants one scale for both.
    quant=Quant(
        output="within",
        int16=True,
        mslite=_mslite_average,
        clamps=True,
        rounds=True,
        passes_channels=channel_by_channel,
    ),
    integer=_integer_average,
    cases=[
        *POOL_CASES,
        Case(((1, 4, 4, 2),), SQUARE | {"act": "relu"}),
        Case(((2, 7, 5, 4),), _PADDED | {"count_include_pad": True}),
        Case(
            ((1, 6, 7, 3),),
            {"kernel": [3, 3], "stride": [2, 2], "dilation": [1, 1], "pad": [1] * 4}
            | {"ceil_mode": True, "count_include_pad": True},
        ),
    ],
)
def average_pool(x: np.ndarray, *, count_include_pad: bool, act: str, **a: Any) -> np.ndarray:
    """Mean of each window of x [N,*S,C] over the elements inside the data, or inside data and pads."""
    a = own_pads(a)
    total = window_views(x, a, 0).sum(tuple(range(-(x.ndim - 2), 0)), dtype=np.promote_types(x.dtype, np.float32))
    return apply_act((total / _counts(x, a, count_include_pad).astype(total.dtype)).astype(x.dtype), act)


@op(
    "LpPool",
    attrs=POOL_WINDOW | {"p": 2, "mean": False, "act": "none"},
    infer=infer_pool,
    foldable=False,
    quant=Quant(int8=False),
    cases=[
        *POOL_CASES[:4],
        Case(((1, 6, 6, 3),), SQUARE | {"p": 3}),
        Case(((1, 6, 6, 3),), SQUARE | {"p": 1}),
        Case(((1, 5, 5, 3),), SQUARE | {"mean": True, "pad_mode": "same_upper", "act": "relu6"}),
    ],
)
def lp_pool(x: np.ndarray, *, p: int, mean: bool, act: str, **a: Any) -> np.ndarray:
    """(Σ |x|^p)^(1/p) of each window; with `mean`, of the mean instead of the sum (TFLite's L2 pool)."""
    a = own_pads(a)
    axes = tuple(range(-(x.ndim - 2), 0))
    magnitude = np.abs(x) ** x.dtype.type(p)
    total = window_views(magnitude, a, 0).sum(axes, dtype=x.dtype)
    if mean:
        total = total / _counts(x, a, False).astype(x.dtype)
    return apply_act((total ** x.dtype.type(1 / p)).astype(x.dtype), act)


@reads("tflite", "MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D")
def read_tflite_pool(r: Reading) -> Tensor:
    kinds = {"MAX_POOL_2D": "MaxPool", "AVERAGE_POOL_2D": "AveragePool", "L2_POOL_2D": "LpPool"}
    attrs = tflite_window(r) | read_act(r, "tflite", "fused_activation_function")
    attrs |= {"kernel": [r.attr("filter_height", 0), r.attr("filter_width", 0)], "dilation": [1, 1]}
    return r.emit(kinds[r.op], r.input(0), **attrs, **({"mean": True} if r.op == "L2_POOL_2D" else {}))


def read_onnx_pool_window(r: Reading) -> dict[str, Any]:
    rank = r.rank(r.input(0)) - 2
    attrs = onnx_window(r, rank) | {"kernel": per_axis(r.attr("kernel_shape"), rank)}
    return attrs | {"ceil_mode": bool(r.attr("ceil_mode", 0)) and attrs["pad_mode"] == "explicit"}


@reads("onnx", "MaxPool")
def read_onnx_max_pool(r: Reading) -> Any:
    attrs = read_onnx_pool_window(r)
    x = r.channels_last(r.input(0))
    if len(r.outputs) < 2:
        return r.channels_first(r.emit("MaxPool", x, **attrs))
    results = r.emit_many("MaxPoolIndices", [x], **attrs, column_major=bool(r.attr("storage_order", 0)))
    return [r.channels_first(t) for t in results]


@reads("onnx", "com.microsoft::NhwcMaxPool")
def read_nhwc_max_pool(r: Reading) -> Tensor:
    return r.emit("MaxPool", r.input(0), **read_onnx_pool_window(r))


@reads("onnx", "AveragePool")
def read_onnx_average_pool(r: Reading) -> Tensor:
    attrs = read_onnx_pool_window(r) | {"count_include_pad": bool(r.attr("count_include_pad", 0))}
    return r.channels_first(r.emit("AveragePool", r.channels_last(r.input(0)), **attrs))


@reads("onnx", "LpPool")
def read_onnx_lp_pool(r: Reading) -> Tensor:
    attrs = read_onnx_pool_window(r) | {"p": int(r.attr("p", 2))}
    return r.channels_first(r.emit("LpPool", r.channels_last(r.input(0)), **attrs))


@reads("onnx", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def read_onnx_global_pool(r: Reading) -> Tensor:
    x = r.input(0)
    axes = list(range(2, r.rank(x)))
    if r.op == "GlobalLpPool":
        p = int(r.attr("p", 2))
        if p not in (1, 2):
            r.refuse(f"p={p}, read are 1 and 2")
        return r.emit("Reduce", x, mode=f"l{p}", axes=axes, keep_dims=True)
    return r.emit("Reduce", x, mode="mean" if r.op == "GlobalAveragePool" else "max", axes=axes, keep_dims=True)


@reads("ms", "MaxPoolFusion", "AvgPoolFusion")
def read_ms_pool(r: Reading) -> Tensor:
    x, name = r.input(0), "MaxPool" if r.op == "MaxPoolFusion" else "AveragePool"
    act = read_act(r, "ms", "activation_type")
    if r.attr("global", False):
        size = list(x.shape[1:-1]) if x.shape is not None and len(x.shape) == 4 else [None]
        if None in size:
            r.refuse("a global pool needs the input's spatial sizes", hint=Setting("input_shape"))
        window = {"kernel": size, "stride": [1, 1], "pad": [0] * 4, "pad_mode": "valid"}
        return r.emit(name, x, **window, dilation=[1, 1], **act)
    mode = {0: "explicit", 1: "same_upper", 2: "valid"}.get(int(r.attr("pad_mode", 0)))
    if mode is None:
        r.refuse(f"pad_mode {r.attr('pad_mode')}, allowed are PAD 0, SAME 1 and VALID 2")
    return r.emit(
        name,
        x,
        kernel=per_axis(r.attr("kernel_size"), 2),
        stride=per_axis(r.attr("strides", None), 2),
        pad=per_axis(r.attr("pad", None), 4, 0) if mode == "explicit" else [0] * 4,
        pad_mode=mode,
        dilation=[1, 1],
        ceil_mode=int(r.attr("round_mode", 0)) == 1 and mode == "explicit",
        **act,
    )


def _plain_2d(w: Writing, node: Node) -> tuple[Any, ...]:
    """The input's shape of a pool that TFLite and MindSpore Lite can hold: 2-D, without dilation."""
    x, a = node.required(0), node.attrs
    if x.known_rank != 4:
        w.refuse(node, f"{x.known_rank - 2}-D pools are not there")
    if max(a["dilation"]) > 1:
        w.refuse(node, f"a pool with dilation={a['dilation']} is not there")
    return x.known_shape


def _extra(node: Node, x: tuple[Any, ...]) -> list[int] | None:
    """What ceil_mode reaches beyond the pads per spatial axis; None when sizes are unknown."""
    a, y = node.attrs, node.outputs[0]
    if None in x[1:-1] or y.shape is None or None in y.shape[1:-1]:
        return None if a["ceil_mode"] else [0] * (len(x) - 2)
    reach = [(m - 1) * s + k for m, s, k in zip(y.sizes(1, -1), a["stride"], a["kernel"])]
    return [max(m - n - a["pad"][2 * i] - a["pad"][2 * i + 1], 0) for i, (m, n) in enumerate(zip(reach, x[1:-1]))]


def _padded_average(w: Writing, node: Node, write: Any) -> None:
    """An average with pads that the container cannot say: zeros around, a pool without pads, and what was counted."""
    x, y, a = node.required(0), node.outputs[0], node.attrs
    extra = _extra(node, x.known_shape)
    if x.dtype.kind != "f" or extra is None or not y.is_static or None in x.known_shape[1:]:
        w.refuse(node, f"an average with pads {a['pad']}, counted or not, of this type or of unknown sizes")
    pad = [p + (extra[i // 2] if i % 2 else 0) for i, p in enumerate(a["pad"])]
    sizes = [n + pad[2 * i] + pad[2 * i + 1] for i, n in enumerate(x.sizes(1, -1))]
    padded = w.between(x, (x.known_shape[0], *sizes, x.known_shape[-1]), f"{x.name}/padded")
    pairs = w.constant([0, 0, *pad, 0, 0], np.int32, f"{x.name}/pads")
    if w.container == "tflite":
        pairs.data, pairs.shape = pairs.value.reshape(-1, 2), (x.known_rank, 2)
        w.node("PAD", node, [x, pairs], [padded])
    else:
        w.node("PadFusion", node, [x, pairs], [padded], fields={"padding_mode": 0, "constant_value": 0.0})
    plain = a | {
        "pad": [0] * len(pad),
        "pad_mode": "valid",
        "ceil_mode": False,
        "count_include_pad": False,
        "act": "none",
    }
    probe = np.empty((1, *x.sizes(1, -1), 1), np.bool_)
    window = {k: v for k, v in a.items() if k not in ("act", "count_include_pad")}
    share = np.prod(a["kernel"]) / _counts(probe, window, a["count_include_pad"])
    act = a["act"]
    if (share == 1).all():
        write(w, Node(node.op, node.name, [padded], [y], plain | {"act": act}, node.origin))
        return
    mean = w.between(y, name=f"{y.name}/mean")
    write(w, Node(node.op, node.name, [padded], [mean], plain, node.origin))
    factor = w.constant(share, x.dtype, f"{y.name}/share")
    product = Node("Mul", node.name, [mean, factor], [y], {"act": act}, node.origin)
    if w.container == "tflite":
        write_fused(w, product, "MUL", [mean, factor], key="fused_activation_function")
    else:
        write_fused(w, product, "MulFusion", [mean, factor], key="activation_type")


@writes("ms", "MaxPool", "AveragePool")
def write_ms_pool(w: Writing, node: Node) -> None:
    if node.inputs[0] is not None and node.inputs[0].rank == 3:
        write_lifted(w, node, write_ms_pool)
        return
    x, a = _plain_2d(w, node), node.attrs
    if a.get("count_include_pad") and any(a["pad"]):
        _padded_average(w, node, write_ms_pool)
        return
    if a["pad_mode"].startswith("same") and None in x[1:-1]:
        w.refuse(node, "its pads follow from an unknown input size", hint=Setting("input_shape"))
    whole = a["kernel"] == list(x[1:-1]) and not any(a["pad"])
    fields = {
        "kernel_size": a["kernel"],
        "strides": a["stride"],
        "pad": a["pad"],
        "pad_mode": 0,
        "round_mode": int(a["ceil_mode"]),
        "format": 1,
        "global": whole,
    }
    name = "MaxPoolFusion" if node.op == "MaxPool" else "AvgPoolFusion"
    write_fused(w, node, name, node.inputs, fields, key="activation_type")


@writes("tflite", "MaxPool", "AveragePool", "LpPool")
def write_tflite_pool(w: Writing, node: Node) -> None:
    if node.inputs[0] is not None and node.inputs[0].rank == 3:
        write_lifted(w, node, write_tflite_pool)
        return
    x, a = _plain_2d(w, node), node.attrs
    if a.get("count_include_pad") and any(a["pad"]):
        _padded_average(w, node, write_tflite_pool)
        return
    if node.op == "LpPool" and not (a["p"] == 2 and a["mean"]):
        w.refuse(node, f"TFLite's L2 pool is a root mean square, not a sum with p={a['p']}")
    extra = _extra(node, x)
    if extra is None:
        w.refuse(node, "what ceil_mode adds follows from an unknown input size", hint=Setting("input_shape"))
    asked = Node(node.op, node.name, node.inputs, node.outputs, dict(a), node.origin)
    if any(extra):
        pad = [p + (extra[i // 2] if i % 2 else 0) for i, p in enumerate(a["pad"])]
        asked.attrs |= {"pad": pad, "pad_mode": "explicit"}
    if node.op == "MaxPool":
        source, padding = _max_padded(w, asked)
    elif node.op == "AveragePool" and tflite_padding(asked, a["kernel"]) is None:
        _padded_average(w, node, write_tflite_pool)
        return
    else:
        source, padding = tflite_padded(w, asked, a["kernel"])
        if source is not node.inputs[0]:
            w.refuse(node, f"an L2 pool with pads other than SAME and VALID: {asked.attrs['pad']}")
    fields = {"padding": padding, "stride_h": a["stride"][0], "stride_w": a["stride"][1]}
    fields |= {"filter_height": a["kernel"][0], "filter_width": a["kernel"][1]}
    names = {"MaxPool": "MAX_POOL_2D", "AveragePool": "AVERAGE_POOL_2D", "LpPool": "L2_POOL_2D"}
    write_fused(w, node, names[node.op], [source], fields, key="fused_activation_function")


def _max_padded(w: Writing, node: Node) -> tuple[Tensor, int]:
    """As `tflite_padded`, with pads that never win: PADV2 with the lowest value."""
    x, padding = tflite_padded(w, node, node.attrs["kernel"])
    pad = w.emitted[-1] if x is not node.inputs[0] else None
    if pad is not None:
        dtype = x.dtype
        lowest = np.finfo(dtype).min if dtype.kind == "f" else np.iinfo(dtype).min
        pad.op = "PADV2"
        value = w.constant(lowest, dtype, f"{x.name}/lowest")
        value.quant = x.quant
        pad.inputs.append(value)
    return x, padding


@writes("onnx", "MaxPool", "AveragePool", "LpPool")
def write_onnx_pool(w: Writing, node: Node) -> None:
    a, x = node.attrs, node.inputs[0]
    if a.get("mean"):
        w.refuse(node, "ONNX has no root mean square pool")
    fields = {"kernel_shape": a["kernel"], "strides": a["stride"], "pads": onnx_pads(a["pad"])}
    if a["pad_mode"].startswith("same") and (x is None or x.shape is None or None in x.shape[1:-1]):
        del fields["pads"]
        fields["auto_pad"] = a["pad_mode"].upper()
    if a["ceil_mode"]:
        fields["ceil_mode"] = 1
    if max(a["dilation"]) > 1:
        fields["dilations"] = a["dilation"]
        need_opset(w, node, {"AveragePool": 19, "LpPool": 18}.get(node.op, 10), "a pool with dilations")
    if a.get("count_include_pad"):
        fields["count_include_pad"] = 1
    if node.op == "LpPool":
        fields["p"] = a["p"]
    write_onnx(w, node, node.op, node.inputs, fields, spatial=True)
