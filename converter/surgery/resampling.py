"""Sizes of images as operators: resize, margins and the centre's crop, and a region cut out while the model runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Tensor
from ..schema.builder import Builder
from .image_steps import ImageSpec, Size

_MODES = {
    "LINEAR": {"method": "linear", "coordinate_mode": "half_pixel"},
    "CUBIC": {"method": "cubic", "coordinate_mode": "half_pixel", "cubic_coeff": -0.75},
    "NEAREST": {"method": "nearest", "coordinate_mode": "asymmetric", "nearest_mode": "floor"},
}


def sized(build: Builder, x: Tensor, spec: ImageSpec, size: Size) -> Tensor:
    """float32 [N, H, W, C] of `size` after the spec's resize, padding and crop."""
    high, wide = spec.resized(*size)
    if (high, wide) != size:
        x = resized(build, x, (high, wide), spec.method)
    above, below, left, right = spec.margins(high, wide)
    if above or below or left or right:
        pads = build.constant(np.array([0, 0, above, below, left, right, 0, 0], np.int64), "image/pads")
        x = build.emit("Pad", [x, pads], {"value": float(spec.pad)}, name="image/pad")[0]
        high, wide = high + above + below, wide + left + right
    top, first = spec.cropped(high, wide)
    if spec.crop and spec.crop != (high, wide):
        x = _cut(build, x, (top, first), (top + spec.crop[0], first + spec.crop[1]))
    return x


def resized(build: Builder, x: Tensor, size: Size, method: str) -> Tensor:
    target = build.constant(np.array(size, np.int64), "image/size")
    return build.emit("Resize", [x, target], dict(_MODES[method]), name="image/resize")[0]


def _cut(build: Builder, x: Tensor, begin: Sequence[int], end: Sequence[int]) -> Tensor:
    parts = [build.constant(np.array(v, np.int64), "image/crop") for v in (begin, end, (1, 2))]
    return build.emit("Slice", [x, *parts], name="image/crop")[0]


def doubled(build: Builder, x: Tensor, size: Size) -> Tensor:
    """Each pixel four times: the U and V of NV12 beside its Y."""
    return resized(build, x, size, "NEAREST")


def cut_out(build: Builder, x: Tensor, roi: Tensor, scale: float, size: Size) -> Tensor:
    """What an int32 roi [1, 4] (left, top, right, bottom, all inside the region) encloses of float32 [1, H, W, C],
    resized to `size` by two points along each axis.

    Rows and columns are gathered at positions that the roi gives, so every shape is known before a run.

    scale: pixels of x for one of the roi's.
    """
    edges = build.emit("Cast", [roi], {"dtype": "float32"}, name="roi/float")[0]
    for axis, (first, last) in ((1, (1, 3)), (2, (0, 2))):
        begin, end = _edge(build, edges, first, 0.0, scale), _edge(build, edges, last, 1.0, scale)
        x = _stretched(build, x, begin, end, axis, size[axis - 1])
    return x


def _edge(build: Builder, edges: Tensor, k: int, behind: float, scale: float) -> Tensor:
    """(roi[k] + behind) · scale, float32 [1]."""
    parts = [build.constant(np.array(v, np.int64), "roi/at") for v in ([k], [k + 1], [1])]
    edge = build.emit("Slice", [edges, *parts], name="roi/edge")[0]
    edge = build.emit("Reshape", [edge, build.constant(np.array([1], np.int64), "roi/one")], name="roi/edge")[0]
    for op, value, idle in (("Add", behind, 0.0), ("Mul", scale, 1.0)):
        if value != idle:
            edge = build.emit(op, [edge, build.constant(np.array([value], np.float32), "roi/step")], name="roi/edge")[0]
    return edge


def _stretched(build: Builder, x: Tensor, begin: Tensor, end: Tensor, axis: int, size: int) -> Tensor:
    """x at `size` centres spread evenly over [begin, end) of an axis, linearly between two of its elements."""
    last = float(x.size(axis) - 1)

    def emit(op: str, *inputs: Tensor, **attrs: object) -> Tensor:
        return build.emit(op, inputs, attrs, name=f"roi/{op.lower()}")[0]

    def bounded(t: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        """t inside the region, and inside the image."""
        t = t if low is None else emit("Maximum", t, low)
        t = t if high is None else emit("Minimum", t, high)
        return emit("Clip", t, min=0.0, max=last)

    centres = build.constant(((np.arange(size) + 0.5) / size).astype(np.float32), "roi/centres")
    half, one = (build.constant(np.array([v], np.float32), "roi/step") for v in (0.5, 1))
    span = emit("Sub", end, begin)
    at = emit("Add", emit("Mul", centres, span), emit("Sub", begin, half))
    low = emit("Floor", at)
    part = emit("Sub", at, low)
    shape = build.constant(np.array([1, size, 1, 1] if axis == 1 else [1, 1, size, 1], np.int64), "roi/shape")
    part = build.emit("Reshape", [part, shape], name="roi/part")[0]
    edge = emit("Sub", end, one)
    taps = [bounded(t, begin, edge) for t in (low, emit("Add", low, one))]
    near, far = (emit("Gather", x, emit("Cast", t, dtype="int32"), axis=axis) for t in taps)
    return emit("Add", near, emit("Mul", emit("Sub", far, near), part))
