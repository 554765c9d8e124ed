"""Resize as MINDIR and Caffe say it."""

from __future__ import annotations

import numpy as np

from ..ir import Tensor
from ..schema.op import reads
from ..schema.reading import Reading
from ._support.caffe import param, sizes_of
from ._support.mindir import numbers_or_tensor


@reads("mindir", "ResizeBilinear", "ResizeBilinearV2", "ResizeNearestNeighbor", "ResizeNearestNeighborV2")
def read_mindir_resize(r: Reading) -> Tensor:
    """The size is an attribute, or input 1; so are the flags, behind it."""
    size = numbers_or_tensor(r, 1, "size", "size")
    align, half = (bool(r.arg(k, key, False)) for k, key in ((2, "align_corners"), (3, "half_pixel_centers")))
    x = r.channels_last(r.input(0))
    mode = "align_corners" if align else "half_pixel" if half else "asymmetric"
    if "Bilinear" in r.op:
        return r.channels_first(r.emit("Resize", x, size, method="linear", coordinate_mode=mode, multiply=True))
    mode = "align_corners" if align else "tf_half_pixel_for_nn" if half else "asymmetric"
    attrs = {"coordinate_mode": mode, "nearest_mode": "round_prefer_ceil" if align else "floor", "multiply": True}
    return r.channels_first(r.emit("Resize", x, size, method="nearest", **attrs))


@reads("caffe", "Interp")
def read_caffe_interp(r: Reading) -> Tensor:
    """Bilinear, corners on corners, of what pads leave: below 0 they crop. The size is given, or follows by factors."""
    p, x = param(r, "interp_param"), r.input(0)
    if r.rank(x) != 4 or p.pad_beg > 0 or p.pad_end > 0:
        r.refuse(f"shape {x.shape} with pads {p.pad_beg} and {p.pad_end}, which may be 0 or less")
    high, wide = (n + p.pad_beg + p.pad_end for n in sizes_of(r, x)[2:])
    if p.pad_beg or p.pad_end:
        begins, ends = [-p.pad_beg] * 2, [high - p.pad_beg, wide - p.pad_beg]
        parts = [r.constant(v, np.int64) for v in (begins, ends, [2, 3], [1, 1])]
        x = r.emit("Slice", x, *parts)
    if min(p.shrink_factor, p.zoom_factor, high, wide) < 1:
        r.refuse(f"factors {p.shrink_factor} and {p.zoom_factor} for a size of {high} x {wide}")
    size = [p.height, p.width]
    if not (p.HasField("height") and p.HasField("width")):
        size = [(n - 1) // p.shrink_factor + 1 for n in (high, wide)]
        size = [n + (n - 1) * (p.zoom_factor - 1) for n in size]
    attrs = {"method": "linear", "coordinate_mode": "align_corners", "multiply": True}
    return r.channels_first(r.emit("Resize", r.channels_last(x), r.constant(size, np.int64), **attrs))


@reads("caffe", "Upsample")
def read_caffe_upsample(r: Reading) -> Tensor:
    """Each pixel `scale` times along both axes."""
    p, x = param(r, "upsample_param"), r.input(0)
    if len(r.inputs) > 1:
        r.refuse("the positions of a pool as a second input are not read")
    scale = [p.scale_h or p.scale, p.scale_w or p.scale]
    if min(scale) < 1:
        r.refuse(f"scale {scale}")
    size = [n * s for n, s in zip(sizes_of(r, x)[2:], scale)]
    attrs = {"method": "nearest", "coordinate_mode": "asymmetric", "nearest_mode": "floor", "multiply": True}
    return r.channels_first(r.emit("Resize", r.channels_last(x), r.constant(size, np.int64), **attrs))
