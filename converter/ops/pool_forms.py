"""Pools as MINDIR and Caffe say them."""

from __future__ import annotations

from typing import Any

from ..errors import Setting
from ..ir import Tensor
from ..schema.op import reads
from ..schema.reading import Reading
from ._support.caffe import pair, param, sizes_of
from ._support.mindir import edges, needs_nchw, spatial
from ._support.spatial import per_axis


@reads("mindir", "MaxPool", "AvgPool", "MaxPool3D")
def read_mindir_pool(r: Reading) -> Tensor:
    """Kernel, stride, edges and layout are attributes, or inputs 1 to 4."""
    needs_nchw(r, 4)
    rank = r.rank(r.input(0)) - 2
    mode = edges(r, r.arg(3, "pad_mode", r.attr("padding", "valid")))
    attrs: dict[str, Any] = {
        "kernel": spatial(r.wholes(1, "kernel_size", r.attr("ksize", 1)), rank),
        "stride": spatial(r.wholes(2, "strides", 1), rank),
        "dilation": [1] * rank,
        "pad": per_axis(r.wholes(None, "pad_list", 0) if mode == "explicit" else 0, 2 * rank),
        "pad_mode": mode,
        "ceil_mode": bool(r.attr("ceil_mode", 0)) and mode == "explicit",
    }
    return _pool(r, "AveragePool" if r.op == "AvgPool" else "MaxPool", attrs)


@reads("mindir", "AvgPool2D")
def read_mindir_average_pool(r: Reading) -> Tensor:
    if r.arg(6, "divisor_override", None) is not None:
        r.refuse("divisor_override is not read")
    kernel = spatial(r.wholes(1, "kernel_size"), 2)
    pads = spatial(r.wholes(3, "padding", 0), 2)
    return _pool(r, "AveragePool", {
        "kernel": kernel,
        "stride": spatial(r.wholes(2, "stride", []) or kernel, 2),
        "dilation": [1, 1],
        "pad": [pads[0], pads[0], pads[1], pads[1]],
        "ceil_mode": bool(r.arg(4, "ceil_mode", False)),
        "count_include_pad": bool(r.arg(5, "count_include_pad", True)),
    })  # fmt: skip


@reads("mindir", "MaxPoolWithIndices", "MaxPoolWithMask")
def read_mindir_max_pool(r: Reading) -> Tensor:
    kernel = spatial(r.wholes(1, "kernel_size"), 2)
    pads = spatial(r.wholes(3, "pads", 0), 2)
    return _pool(r, "MaxPool", {
        "kernel": kernel,
        "stride": spatial(r.wholes(2, "strides", []) or kernel, 2),
        "dilation": spatial(r.wholes(4, "dilation", 1), 2),
        "pad": [pads[0], pads[0], pads[1], pads[1]],
        "ceil_mode": bool(r.arg(5, "ceil_mode", False)),
    })  # fmt: skip


@reads("mindir", "AdaptiveAvgPool2D", "AdaptiveAvgPool2DExt", "AdaptiveMaxPool2D")
def read_mindir_adaptive_pool(r: Reading) -> Tensor:
    """Pools that give a size: of one value, or where the input's sizes are multiples of it."""
    size, x = r.wholes(1, "output_size"), r.input(0)
    size, most = size * (3 - len(size)), r.op == "AdaptiveMaxPool2D"
    if size == [1, 1]:
        return r.emit("Reduce", x, mode="max" if most else "mean", axes=[-2, -1], keep_dims=True)
    if r.rank(x) != 4 or None in x.known_shape[2:]:
        r.refuse("the input's sizes are not known", hint=Setting("input_shape"))
    size = [n if m < 1 else m for n, m in zip(x.sizes(2), size)]
    if any(n % m for n, m in zip(x.sizes(2), size)):
        r.refuse(f"sizes {x.sizes(2)} are no multiples of {size}")
    window = [n // m for n, m in zip(x.sizes(2), size)]
    attrs = {"kernel": window, "stride": window, "dilation": [1, 1], "pad": [0] * 4}
    return _pool(r, "MaxPool" if most else "AveragePool", attrs)


def _pool(r: Reading, name: str, attrs: dict[str, Any]) -> Tensor:
    return r.channels_first(r.emit(name, r.channels_last(r.input(0)), **attrs))


@reads("caffe", "Pooling")
def read_caffe_pool(r: Reading) -> Tensor:
    """Sizes are rounded up, and a mean counts pads but not what rounding adds."""
    p, x = param(r, "pooling_param"), r.input(0)
    if r.rank(x) != 4:
        r.refuse(f"shape {x.shape}: only pools over two axes are read")
    if p.pool not in (0, 1):
        r.refuse("a stochastic pool is not read")
    most = p.pool == 0
    if p.global_pooling:
        return r.emit("Reduce", x, mode="max" if most else "mean", axes=[2, 3], keep_dims=True)
    kernel, stride, pads = pair(r, p, "kernel_size", None, "kernel"), pair(r, p, "stride", 1), pair(r, p, "pad", 0)
    ceil = p.round_mode == 0 and p.ceil_mode
    if ceil and any(s > k for s, k in zip(stride, kernel)):
        sizes = sizes_of(r, x)[2:]
        starts = [-(-(n + 2 * q - k) // s) * s for n, k, s, q in zip(sizes, kernel, stride, pads)]
        if any(at >= n + q for at, n, q in zip(starts, sizes, pads)):
            r.refuse(f"a window of {kernel} by steps of {stride} stands outside of {sizes}")
    attrs = {
        "kernel": kernel,
        "stride": stride,
        "dilation": [1, 1],
        "pad": [pads[0], pads[0], pads[1], pads[1]],
        "ceil_mode": bool(ceil),
    }
    return _pool(r, "MaxPool" if most else "AveragePool", attrs | ({} if most else {"count_include_pad": True}))
