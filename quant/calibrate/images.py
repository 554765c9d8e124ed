"""Calibration images: decode, then channel order → normalize → resize → centre crop, in MindSpore Lite's order.

Pixels are float32, channels last. Resizing samples at half-pixel centres without anti-aliasing, as the real tool's
OpenCV does, in plain numpy: the same numbers whatever image library decodes the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ...converter.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp")
_CUBIC_A = -0.75  # OpenCV's constant of the cubic kernel


@dataclass(frozen=True)
class ImageSpec:
    """What is done to an image: the [data_preprocess_param] keys. Sizes are None when that step is left out."""

    to_format: str = "BGR"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: tuple[int, int] | None = None  # height, width
    method: str = "LINEAR"
    crop: tuple[int, int] | None = None  # height, width

    @property
    def channels(self) -> int:
        return 1 if self.to_format == "GRAY" else 3

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) that an image of that size has after the steps."""
        return self.crop or self.resize or (height, width)

    def __str__(self) -> str:
        steps = [self.to_format]
        if self.mean or self.std:
            steps.append(f"(x - {_show(self.mean or (0.0,))}) / {_show(self.std or (1.0,))}")
        if self.resize:
            steps.append(f"resize {self.resize[1]}x{self.resize[0]} {self.method.lower()}")
        if self.crop:
            steps.append(f"centre crop {self.crop[1]}x{self.crop[0]}")
        return ", ".join(steps)


def _show(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"


def _pillow() -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise DataError("reading images needs Pillow", hint="pip install 'bitlite[images]'") from None
    return Image, ImageOps


def probe(path: str, spec: ImageSpec) -> tuple[int, int, int]:
    """Reads the header only and returns the (height, width, channels) that `load` will give.

    Raises:
        DataError: not an image, unreadable, smaller than the crop.
    """
    image_module, _ = _pillow()
    try:
        with image_module.open(path) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) >= 5:  # orientations 5..8 turn the picture by 90 degrees
                width, height = height, width
    except Exception as error:
        raise _unreadable(path, error) from None
    before_crop = spec.resize or (height, width)
    if spec.crop and (spec.crop[0] > before_crop[0] or spec.crop[1] > before_crop[1]):
        raise DataError(
            f"{path}: is {before_crop[1]}x{before_crop[0]} before the centre crop to {spec.crop[1]}x{spec.crop[0]}",
            hint="a larger resize_width and resize_height",
        )
    return (*spec.size_of(height, width), spec.channels)


def load(path: str, spec: ImageSpec, stream: BinaryIO | None = None) -> np.ndarray:
    """Returns the preprocessed image, float32 [H, W, C]; of `stream` where it is given, then `path` is its name.

    Raises:
        DataError: not an image, truncated, or normalize_mean/std do not fit its channels.
    """
    image_module, ops = _pillow()
    try:
        with image_module.open(stream or path) as opened:
            image = ops.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16-bit grey: keep the upper byte, as OpenCV does
                grey = (np.asarray(image, np.int64) >> 8).clip(0, 255).astype(np.uint8)
                image = image_module.fromarray(grey)
            pixels = np.asarray(image.convert("RGB").convert("L") if spec.to_format == "GRAY" else image.convert("RGB"))
    except Exception as error:
        raise _unreadable(path, error) from None
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if spec.to_format == "BGR":
        pixels = pixels[..., ::-1]
    return prepared(pixels, spec)


def prepared(pixels: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Returns pixels [H, W, C] with their channels in order after the other steps, float32.

    Raises:
        DataError: normalize_mean/std do not fit its channels.
    """

    def real(part: np.ndarray) -> np.ndarray:
        return normalize(part.astype(np.float32), spec.mean, spec.std)

    if spec.resize:
        pixels = resize(pixels, *spec.resize, spec.method, real)
    if spec.crop:
        pixels = center_crop(pixels, *spec.crop)
    return np.ascontiguousarray(pixels if spec.resize else real(pixels))


def _unreadable(path: str, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    name = os.path.basename(path)
    reason = str(error).replace(path, name) or type(error).__name__
    return DataError(f"{path}: cannot be read as an image: {reason}")


def normalize(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Returns (pixels - mean) / std, per channel or with one value for all."""
    for name, values in (("normalize_mean", mean), ("normalize_std", std)):
        if len(values) not in (0, 1, pixels.shape[-1]):
            raise DataError(f"{name} has {len(values)} values and the image {pixels.shape[-1]} channel(s)")
    if mean:
        pixels = pixels - np.asarray(mean, np.float32)
    if std:
        pixels = pixels / np.asarray(std, np.float32)
    return pixels


def center_crop(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the middle [height, width] of [H, W, C]; an odd remainder goes to the far side."""
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def resize(
    pixels: np.ndarray, height: int, width: int, method: str = "LINEAR", real: Callable[..., np.ndarray] = np.float32
) -> np.ndarray:
    """Returns float32 [height, width, C]; rows first, so that only the taps of the result are touched.

    Args:
        real: makes float32 of pixels, one by one: applied to the rows that are sampled, not to the whole picture.
    """
    rows = _resample(pixels, height, 0, method, real)
    return _resample(rows, width, 1, method, np.asarray)


def _resample(pixels: np.ndarray, size: int, axis: int, method: str, real: Callable[..., np.ndarray]) -> np.ndarray:
    old = pixels.shape[axis]
    if old == size:
        return real(pixels)
    step = old / size
    if method == "NEAREST":
        return real(np.take(pixels, np.minimum((np.arange(size) * step).astype(np.int64), old - 1), axis))
    where = (np.arange(size) + 0.5) * step - 0.5
    first = np.floor(where).astype(np.int64)
    t = where - first
    shape = [1, 1, 1]
    shape[axis] = size
    result = np.zeros(1, np.float32)
    for offset, weight in _taps(t, method):
        taken = real(np.take(pixels, np.clip(first + offset, 0, old - 1), axis))
        result = result + taken * weight.astype(np.float32).reshape(shape)
    return result


def _taps(t: np.ndarray, method: str) -> list[tuple[int, np.ndarray]]:
    """Returns (offset, weight) of each source pixel at the fraction `t` behind pixel 0."""
    if method == "LINEAR":
        return [(0, 1 - t), (1, t)]

    def near(x: np.ndarray) -> np.ndarray:
        return ((_CUBIC_A + 2) * x - (_CUBIC_A + 3)) * x * x + 1

    def far(x: np.ndarray) -> np.ndarray:
        return ((_CUBIC_A * x - 5 * _CUBIC_A) * x + 8 * _CUBIC_A) * x - 4 * _CUBIC_A

    return [(-1, far(t + 1)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))]
