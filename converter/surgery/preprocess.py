"""Puts the preprocessing of images in front of a graph, which takes the pixels themselves from then on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DataError, Setting, UsageError
from ..ir import Graph, NameScope, Tensor
from ..ops._support.layout import first_perm
from ..schema.builder import Builder
from .colors import recolored, swaps
from .find import unknown
from .first_layer import fold_affine, fold_swap
from .image_steps import ImageSpec, Pixels, Size
from .resampling import cut_out, doubled, resized, sized

_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1, "YUV444": 3}


def image_inputs(graph: Graph, spec: ImageSpec) -> list[Tensor]:
    """The inputs that take images of the spec's channels."""
    return [t for t in graph.inputs if t.rank == 4 and t.known_shape[1 if _planar(t) else 3] == spec.channels]


def put_preprocessing(graph: Graph, spec: ImageSpec, pixels: Pixels, names: Sequence[str] = ()) -> list[str]:
    """Rewrites `graph` in place so that inputs take pixels, uint8: those of these names, or all that take images of the
    spec's channels. An input's name stays.

    An input of NV12 becomes two, its name with "_y" and "_uv"; with `pixels.roi` there is one more, "_roi". Colour
    order, mean and deviation go into the first layer where that gives the same values, else they are operators.

    Returns:
        A line per input: what it takes, and the steps.
    Raises:
        UsageError: no input takes such images, or has a name, or the sizes do not fit.
        UnsupportedError: colours of grey.
    """
    inputs = image_inputs(graph, spec)
    if names:
        ends = {t.name: t for t in graph.inputs}
        if lost := next((name for name in names if name not in ends), ""):
            raise unknown(lost, "input of the model", ends)
        inputs = [ends[name] for name in names if ends[name] in inputs]
    if not inputs:
        shown = ", ".join(f"{t.name!r} {t.type_text()}" for t in graph.inputs)
        raise UsageError(
            f"preprocessing inside the model: no input takes images of {spec.channels} channel(s): {shown}",
            hint=Setting("image_to_format", "RGB" if spec.channels == 1 else "GRAY"),
        )
    return [_put(graph, x, spec, pixels) for x in inputs]


def _planar(t: Tensor) -> bool:
    """Whether channels come before the pixels; told from the sizes where the input does not say."""
    if t.layout:
        return t.layout == "NCHW"
    return t.known_shape[1] in (1, 3) and t.known_shape[3] not in (1, 3)


def _put(graph: Graph, x: Tensor, spec: ImageSpec, pixels: Pixels) -> str:
    name, planar, place = x.name, _planar(x), graph.inputs.index(x)
    size, target = _sizes(x, spec, pixels)
    mean, std = (_per_channel(what, spec) for what in ("mean", "std"))
    turned = swaps(pixels.format, spec.to_format)
    folded = []
    if fold_affine(graph, x, mean, std) and (mean.any() or (std != 1).any()):
        folded.append("mean and deviation")
        mean, std = np.zeros(1, np.float32), np.ones(1, np.float32)
    if turned and fold_swap(graph, x):
        folded.append("the order of colours")
    gather = turned and "the order of colours" not in folded
    x.name = NameScope(t.name for t in graph.tensors()).take(f"{name}/preprocessed")
    del graph.inputs[place]
    known, count = list(graph.inputs), len(graph.nodes)
    build = Builder(graph)
    y = _pixels(build, name, x.known_shape[0], size, target, spec, pixels)
    y = recolored(build, y, pixels.format.replace("NV12", "YUV444"), spec.to_format, pixels.video)
    y = sized(build, y, spec, target)
    # Behind `recolored` the channels stand in the order of the pixels, until they are turned round.
    y = _standardized(build, y, mean[::-1] if turned else mean, std[::-1] if turned else std)
    if gather:
        y = build.emit("Gather", [y, build.constant(np.array([2, 1, 0], np.int64), "colours/order")], {"axis": -1})[0]
    if planar:
        y = build.emit("Transpose", [y], {"perm": first_perm(4)}, name="image/planar")[0]
    if x.quant is not None:
        y = build.emit("Quantize", [y], {"dtype": x.dtype.name}, name="image/codes")[0]
        y.quant = x.quant
    elif y.dtype != x.dtype:
        y = build.emit("Cast", [y], {"dtype": x.dtype.name}, name="image/real")[0]
    fresh = graph.inputs[len(known) :]
    graph.inputs = [*known[:place], *fresh, *known[place:]]
    graph.nodes = graph.nodes[count:] + graph.nodes[:count]
    graph.replace(x, y)
    shown = ", ".join(f"{t.name!r} {t.type_text()}" for t in fresh)
    inside = f"; {' and '.join(folded)} in the first layer" if folded else ""
    return f"{shown}: {pixels.format} pixels, preprocessed inside the model: {spec}{inside}"


def _per_channel(what: str, spec: ImageSpec) -> np.ndarray:
    """The spec's mean or std, one value or one per channel of what the network was trained on."""
    values = np.array(getattr(spec, what) or ((0.0,) if what == "mean" else (1.0,)), np.float32)
    if len(values) not in (1, spec.channels):
        raise DataError(f"normalize_{what} has {len(values)} values and the image {spec.channels} channel(s)")
    return values


def _sizes(x: Tensor, spec: ImageSpec, pixels: Pixels) -> tuple[Size, Size]:
    """Height and width of the pixels, and of what they are resized to before their colours are converted: a region, and
    the planes of NV12, which have half the values then."""
    height, width = (x.known_shape[i] for i in ((2, 3) if _planar(x) else (1, 2)))
    wanted = None if height is None or width is None else (height, width)
    changes = spec.resize is not None or spec.crop is not None or pixels.roi
    size = pixels.size or (None if changes else wanted)
    if size is None:
        raise UsageError(
            f"input {x.name!r}: the size of the pixels is not known, which preprocessing inside the model needs",
            hint=Setting("image_size", "H,W"),
        )
    planes = pixels.format == "NV12" and spec.resizes_planes
    target = (spec.resize or wanted or size) if pixels.roi or planes else size
    if pixels.roi and (spec.mode != "WARP" or spec.method != "LINEAR" or x.known_shape[0] not in (1, None)):
        raise UsageError(f"input {x.name!r}: a region is resized by WARP and LINEAR, of one image at a time")
    if why := spec.lacks(*target):
        raise UsageError(f"input {x.name!r}: an image {why}", hint=Setting("resize_width", spec.crop and spec.crop[1]))
    got = spec.size_of(*target)
    if any(w is not None and w != g for w, g in zip((height, width), got)):
        raise UsageError(
            f"input {x.name!r} takes images of {width}x{height}, and pixels of {size[1]}x{size[0]} are"
            f" {got[1]}x{got[0]} behind the steps {spec}",
            hint=Setting("resize_width" if spec.resize is None else "center_crop_width", width),
        )
    if pixels.format == "NV12" and any(n % 2 for n in (*size, *target)):
        raise UsageError(f"input {x.name!r}: NV12 has even sizes, and {size[1]}x{size[0]} is not")
    return size, target


def _pixels(
    build: Builder, name: str, batch: int | None, size: Size, target: Size, spec: ImageSpec, pixels: Pixels
) -> Tensor:
    """The inputs of the pixels, and what they hold as float32 [N, H, W, C], resized to `target`."""
    planar = pixels.layout == "NCHW"

    # No layout is declared: pixels come in the order that was asked for, whatever the container prefers.
    def plane(suffix: str, height: int, width: int, channels: int) -> Tensor:
        shape = (batch, channels, height, width) if planar else (batch, height, width, channels)
        t = build.input(f"{name}{suffix}", np.uint8, shape)
        t = build.emit("Cast", [t], {"dtype": "float32"}, name="image/float")[0]
        return build.emit("Transpose", [t], {"perm": [0, 2, 3, 1]}, name="image/last")[0] if planar else t

    if pixels.format == "NV12":
        parts = [plane("_y", *size, 1), plane("_uv", size[0] // 2, size[1] // 2, 2)]
    else:
        parts = [plane("", *size, _CHANNELS[pixels.format])]
    sizes = [target, (target[0] // 2, target[1] // 2)]
    if pixels.roi:
        roi = build.input(f"{name}_roi", np.int32, (1, 4))
        parts = [cut_out(build, t, roi, 0.5**k, sizes[k]) for k, t in enumerate(parts)]
    elif target != size:
        parts = [resized(build, t, sizes[k], spec.method) for k, t in enumerate(parts)]
    if len(parts) == 1:
        return parts[0]
    return build.emit("Concat", [parts[0], doubled(build, parts[1], target)], {"axis": 3}, name="image/yuv")[0]


def _standardized(build: Builder, x: Tensor, mean: np.ndarray, std: np.ndarray) -> Tensor:
    if mean.any():
        x = build.emit("Sub", [x, build.constant(mean, "image/mean")], name="image/centred")[0]
    if (std != 1).any():
        x = build.emit("Div", [x, build.constant(std, "image/std")], name="image/standard")[0]
    return x
