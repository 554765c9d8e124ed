"""Calibration samples that are pixels in arrays: what is done to an image is done to them, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...converter.errors import DataError
from ...converter.surgery.colors import recolored_pixels
from ...converter.surgery.image_steps import ImageSpec, Pixels
from .fit import InputSpec, convert
from .images import normalize, prepared, resize


def is_planar(item: InputSpec) -> bool:
    """True when channels come before the pixels; told from the sizes when the model does not say."""
    if item.layout:
        return item.layout == "NCHW"
    return len(item.shape) == 4 and item.shape[1] in (1, 3) and item.shape[3] not in (1, 3)


@dataclass(frozen=True)
class PixelArrays:
    """How the arrays of one input hold pixels, and what makes samples of them.

    pixels: None where they are the network's own but for mean and deviation, in the input's type and layout.
    """

    item: InputSpec
    image: ImageSpec
    pixels: Pixels | None

    @property
    def stored(self) -> InputSpec:
        """What the arrays hold: uint8 [1, H, W, C], or [1, C, H, W]; of NV12 [1, 3H/2, W], the plane of Y above that of
        U and V. Sizes are those of the network where no step changes them, free where none is given."""
        if self.pixels is None:
            return self.item
        channels = 1 if self.pixels.format == "GRAY" else 3
        high, wide = self.pixels.size or self._own_size()
        if self.pixels.format == "NV12":
            return InputSpec(self.item.name, (1, high and high + high // 2, wide), np.dtype(np.uint8))
        if self.pixels.layout == "NCHW":
            return InputSpec(self.item.name, (1, channels, high, wide), np.dtype(np.uint8), "NCHW")
        return InputSpec(self.item.name, (1, high, wide, channels), np.dtype(np.uint8), "NHWC")

    def _own_size(self) -> tuple[int | None, int | None]:
        own = self.item.own()
        sizes = own.shape[2:] if is_planar(own) else own.shape[1:3]
        high, wide = (n if isinstance(n, int) else None for n in sizes)
        return (None, None) if self.image.resize or self.image.crop else (high, wide)

    def ready(self, array: np.ndarray, here: str) -> np.ndarray:
        """The sample in the input's shape and dtype. Raises DataError: it does not fit behind the steps."""
        if self.pixels is None:
            axes = (0, 2, 3, 1) if is_planar(self.item.own()) else (0, 1, 2, 3)
            done = normalize(array.transpose(axes), self.image.mean, self.image.std)
            return np.ascontiguousarray(done.transpose(np.argsort(axes)), array.dtype)
        camera = self.pixels.format == "NV12"
        pixels = array[0].transpose(1, 2, 0) if self.pixels.layout == "NCHW" and not camera else array[0]
        size = _camera_size(pixels, here) if camera else pixels.shape[:2]
        if why := self.image.lacks(*size):
            raise DataError(f"{here}: {why}", hint="a larger resize_width and resize_height")
        have, steps = self.pixels.format, self.image
        if camera:
            pixels, have = _full_colours(pixels, steps), "YUV444"
            steps = replace(steps, resize=None) if steps.resizes_planes else steps
        done = prepared(recolored_pixels(pixels, have, steps.to_format, self.pixels.video), steps)
        own = self.item.own()
        done = done.transpose(2, 0, 1) if is_planar(own) else done
        if any(w is not None and w != n for w, n in zip(own.shape[1:], done.shape)):
            raise DataError(f"{here}: is {list(done.shape)} behind the steps {self.image}, and the input is {own}")
        return np.ascontiguousarray(convert(done, own.dtype, here)[None])


def pixel_arrays(item: InputSpec, image: ImageSpec, pixels: Pixels, stage: str) -> PixelArrays | None:
    """How arrays hold pixels for an input; None for one that takes no images, or where samples are ready."""
    own = item.own()
    image_input = len(own.shape) == 4 and own.shape[1 if is_planar(own) else 3] in (image.channels, None)
    if stage not in ("raw", "unnormalized", "unsaid") or not image_input:
        return None
    return PixelArrays(item, image, None if stage == "unnormalized" else pixels)


def joined_planes(y: np.ndarray, uv: np.ndarray, here: str) -> np.ndarray:
    """Y [N, H, W, 1] and U, V [N, H/2, W/2, 2], as a model of NV12 takes them, as arrays [N, 3H/2, W].

    Raises:
        DataError: sizes that do not belong together.
    """
    y, uv = np.asarray(y), np.asarray(uv)
    if y.ndim != 4 or y.shape[3] != 1 or uv.shape != (len(y), y.shape[1] // 2, y.shape[2] // 2, 2):
        raise DataError(
            f"{here}: planes of shapes {list(y.shape)} and {list(uv.shape)}", hint="[N, H, W, 1] and [N, H/2, W/2, 2]"
        )
    return np.concatenate([y[..., 0], uv.reshape(len(y), y.shape[1] // 2, -1)], axis=1)


def _camera_size(frame: np.ndarray, here: str) -> tuple[int, int]:
    """Height and width of a frame [3H/2, W]. Raises DataError: they are not even."""
    rows, wide = frame.shape
    high = rows * 2 // 3
    if rows % 3 or high % 2 or wide % 2:
        raise DataError(f"{here}: {rows} rows of {wide} bytes are no NV12 image", hint="3H/2 rows of W, both even")
    return high, wide


def _full_colours(frame: np.ndarray, steps: ImageSpec) -> np.ndarray:
    """Y, U and V [H, W, 3] of a frame, resized where its planes are; each U and V stands for four pixels."""
    high, wide = frame.shape[0] * 2 // 3, frame.shape[1]
    y, uv = frame[:high, :, None], frame[high:].reshape(high // 2, wide // 2, 2)
    if steps.resizes_planes and steps.resize is not None:
        high, wide = steps.resize
        y, uv = resize(y, high, wide, steps.method), resize(uv, high // 2, wide // 2, steps.method)
    return np.concatenate([y, uv.repeat(2, 0).repeat(2, 1)], axis=2)
