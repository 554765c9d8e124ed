"""Lrn: local response normalization across channels, channels-last."""

from __future__ import annotations

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.caffe import param, scalar, scaled
from ._support.types import fail
from ._support.writers import write_onnx
from .norm import float_input


def _infer_lrn(node: Node) -> Inferred:
    x = float_input(node)
    if node.attrs["size"] < 1 or (x.shape is not None and len(x.shape) < 3):
        fail(node, f"a window of {node.attrs['size']} channels of an input of shape {x.shape}")
    return [(x.dtype, x.shape)]


@op(
    "Lrn",
    attrs={"size": REQUIRED, "alpha": 1.0, "beta": 0.5, "bias": 1.0},
    infer=_infer_lrn,
    quant=Quant(int8=False),
    cases=[
        Case(((2, 4, 5, 7),), {"size": 5, "alpha": 1e-2, "beta": 0.75}),
        Case(((1, 3, 3, 6),), {"size": 4, "alpha": 0.3, "beta": 0.5, "bias": 2.0}),
        Case(((1, 3, 3, 2),), {"size": 7}),
    ],
)
def lrn(x: np.ndarray, *, size: int, alpha: float, beta: float, bias: float) -> np.ndarray:
    """x [N,*S,C] / (bias + alpha · Σ x²)^beta: the sum is over `size` channels, (size - 1) // 2 of them before each."""
    before, channel, many = (size - 1) // 2, np.arange(x.shape[-1]), x.shape[-1]
    total = np.concatenate([np.zeros((*x.shape[:-1], 1)), np.cumsum(np.square(x.astype(np.float64)), -1)], -1)
    first, end = np.maximum(channel - min(before, many), 0), np.minimum(channel + min(size - before, many), many)
    sums = total[..., end] - total[..., first]
    return (x / (bias + alpha * sums) ** beta).astype(x.dtype)


@reads("onnx", "LRN")
def read_onnx_lrn(r: Reading) -> Tensor:
    size = int(r.attr("size"))
    attrs = {k: float(r.attr(k, d)) for k, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))}
    attrs["alpha"] /= size
    return r.channels_first(r.emit("Lrn", r.channels_last(r.input(0)), size=size, **attrs))


@reads("tflite", "LOCAL_RESPONSE_NORMALIZATION")
def read_tflite_lrn(r: Reading) -> Tensor:
    attrs = {k: float(r.attr(k, 0.0)) for k in ("alpha", "beta", "bias")}
    return r.emit("Lrn", r.input(0), size=2 * int(r.attr("radius", 0)) + 1, **attrs)


@reads("ms", "LRN")
def read_ms_lrn(r: Reading) -> Tensor:
    attrs = {k: float(r.attr(k, 0.0)) for k in ("alpha", "beta", "bias")}
    return r.emit("Lrn", r.input(0), size=2 * int(r.attr("depth_radius", 0)) + 1, **attrs)


@reads("mindir", "LRN")
def read_mindir_lrn(r: Reading) -> Tensor:
    if r.attr("norm_region", "ACROSS_CHANNELS") != "ACROSS_CHANNELS":
        r.refuse(f"norm_region {r.attr('norm_region')!r}, read is ACROSS_CHANNELS")
    attrs = {k: r.real(None, k, d) for k, d in (("alpha", 1.0), ("beta", 0.5), ("bias", 1.0))}
    size = 2 * r.whole(None, "depth_radius", 5) + 1
    return r.channels_first(r.emit("Lrn", r.channels_last(r.input(0)), size=size, **attrs))


@reads("caffe", "LRN")
def read_caffe_lrn(r: Reading) -> Tensor:
    """Across channels, or within one: there over a square, pads counted, with 1 in place of k."""
    p, x = param(r, "lrn_param"), r.channels_last(r.input(0))
    size = int(p.local_size)
    if not size % 2:
        r.refuse(f"local_size {size} must be odd")
    if p.norm_region == 0:
        attrs = {"size": size, "alpha": p.alpha / size, "beta": p.beta, "bias": p.k}
        return r.channels_first(r.emit("Lrn", x, **attrs))
    window = {"kernel": [size, size], "stride": [1, 1], "dilation": [1, 1], "pad": [size // 2] * 4}
    mean = r.emit("AveragePool", r.emit("Square", x), **window, count_include_pad=True)
    base = scaled(r, mean, p.alpha, 1.0)
    return r.channels_first(r.emit("Mul", x, r.emit("Pow", base, scalar(r, x, -p.beta))))


@writes("ms", "Lrn")
@writes("tflite", "Lrn")
@writes("onnx", "Lrn")
def write_lrn(w: Writing, node: Node) -> None:
    a = node.attrs
    fields = {k: a[k] for k in ("alpha", "beta", "bias")}
    if w.container == "onnx":
        fields |= {"size": a["size"], "alpha": a["alpha"] * a["size"]}
        write_onnx(w, node, "LRN", node.inputs, fields, spatial=True)
        return
    x = node.inputs[0]
    if a["size"] % 2 == 0 or x is None or x.rank != 4:
        w.refuse(node, f"a window of {a['size']} channels has no radius, or the input is not 4-D")
    if w.container == "tflite":
        w.node("LOCAL_RESPONSE_NORMALIZATION", node, node.inputs, fields=fields | {"radius": a["size"] // 2})
    else:
        fields |= {"depth_radius": a["size"] // 2, "norm_region": "ACROSS_CHANNELS"}
        w.node("LRN", node, node.inputs, fields=fields)
