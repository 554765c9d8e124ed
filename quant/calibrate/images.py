"""Calibration images: decode, then channel order → normalize → resize → centre crop, in MindSpore Lite's order.

Pixels are float32, channels last. Resizing samples at half-pixel centres without anti-aliasing, as the real tool's
OpenCV does, in plain numpy: the same numbers whatever image library decodes the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from ...converter.errors import DataError
from ...converter.surgery.colors import recolored_pixels
from ...converter.surgery.image_steps import ImageSpec

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp")
_CUBIC_A = -0.75  # OpenCV's constant of the cubic kernel


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
    if why := spec.lacks(height, width):
        raise DataError(f"{path}: {why}", hint="a larger resize_width and resize_height")
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
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:
        raise _unreadable(path, error) from None
    return prepared(recolored_pixels(pixels, "RGB", spec.to_format), spec)


def prepared(pixels: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Returns pixels [H, W, C] with their channels in order after the other steps, float32.

    Raises:
        DataError: normalize_mean/std do not fit its channels.
    """

    def real(part: np.ndarray) -> np.ndarray:
        return normalize(part.astype(np.float32), spec.mean, spec.std)

    high, wide = spec.resized(*pixels.shape[:2])
    above, below, left, right = spec.margins(high, wide)
    pixels = resize(pixels, high, wide, spec.method, real)
    if above or below or left or right:
        rim = normalize(np.full((1, 1, pixels.shape[2]), spec.pad, np.float32), spec.mean, spec.std)
        whole = np.broadcast_to(rim, (high + above + below, wide + left + right, pixels.shape[2])).copy()
        whole[above : above + high, left : left + wide] = pixels
        pixels = whole
    if spec.crop:
        pixels = center_crop(pixels, *spec.crop)
    return np.ascontiguousarray(pixels)


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
    top, left = ImageSpec(crop=(height, width)).cropped(*pixels.shape[:2])
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
