"""Colours of pixels as operators: orders of channels, grey, and BT.601 in both ranges. Values stay in 0..255."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError, UnsupportedError
from ..ir import Tensor
from ..schema.builder import Builder

_RED, _BLUE = 0.299, 0.114
_GREEN = 1 - _RED - _BLUE
# Pillow's weights of grey in 1/65536: a float32 sum of them over bytes is exact.
_GREY = np.array([19595, 38470, 7471]) / 65536
_SPANS = {False: (0.0, 255.0, 255.0), True: (16.0, 219.0, 224.0)}
"""video → where Y begins, the span of Y and of U and V."""


def yuv_to_rgb(video: bool) -> tuple[np.ndarray, np.ndarray]:
    """Matrix [3, 3] and offset [3] that make R, G, B of Y, U, V, float64."""
    low, luma, chroma = _SPANS[video]
    y, c = 255 / luma, 255 / chroma
    blue, red = 2 * (1 - _BLUE) * c, 2 * (1 - _RED) * c
    matrix = np.array([[y, 0, red], [y, -blue * _BLUE / _GREEN, -red * _RED / _GREEN], [y, blue, 0]])
    return matrix, -matrix @ np.array([low, 128, 128])


def rgb_to_yuv() -> tuple[np.ndarray, np.ndarray]:
    """The way back, to 0..255."""
    matrix, offset = yuv_to_rgb(video=False)
    back = np.linalg.inv(matrix)
    return back, -back @ offset


def recolored(build: Builder, x: Tensor, have: str, want: str, video: bool) -> Tensor:
    """float32 pixels [N, H, W, C] of format `have` as `want`; RGB and BGR count as one, see `swaps`.

    Raises:
        UnsupportedError: colours of grey.
    """
    orders = {"RGB": [0, 1, 2], "BGR": [2, 1, 0]}
    if have == want or (have in orders and want in orders):
        return x
    if have == "GRAY":
        raise UnsupportedError(f"colours ({want}) cannot be made of GRAY pixels", hint="pixel_format=RGB")
    if have in orders and want == "GRAY":
        weights = _GREY[orders[have]][None]
        return build.emit("Floor", [_mixed(build, x, weights, np.array([0.5]))], name="grey")[0]
    if have in orders:
        matrix, offset = rgb_to_yuv()
        return _bytes(build, _mixed(build, x, matrix[:, orders[have]], offset))
    if want == "GRAY":
        low, luma, _ = _SPANS[video]
        weights = np.array([[255 / luma, 0, 0]])
        y = _mixed(build, x, weights, np.array([-low * 255 / luma]))
        return _bytes(build, y) if video else y
    matrix, offset = yuv_to_rgb(video)
    return _bytes(build, _mixed(build, x, matrix[orders[want]], offset[orders[want]]))


def swaps(have: str, want: str) -> bool:
    """Whether channels are turned round behind `recolored`: a step that a first layer can take over."""
    return {have, want} == {"RGB", "BGR"}


def _mixed(build: Builder, x: Tensor, matrix: np.ndarray, offset: np.ndarray) -> Tensor:
    """Each pixel's channels times a matrix [out, in], and an offset."""
    weight = build.constant(matrix[:, None, None, :].astype(np.float32), "colours/weight")
    bias = build.constant(offset.astype(np.float32), "colours/bias")
    attrs: dict[str, Any] = {"stride": [1, 1], "dilation": [1, 1], "pad": [0, 0, 0, 0]}
    return build.emit("Conv", [x, weight, bias], attrs, name="colours")[0]


def _bytes(build: Builder, x: Tensor) -> Tensor:
    """What a byte can hold: the conversion of pixels that no camera gives leaves it."""
    return build.emit("Clip", [x], {"min": 0.0, "max": 255.0}, name="colours/clip")[0]


def recolored_pixels(pixels: np.ndarray, have: str, want: str, video: bool = False) -> np.ndarray:
    """Pixels [H, W, C] of `have` as `want`: what `recolored` and turning channels round give.

    Raises:
        DataError: colours of grey, or another number of channels.
    """
    channels = 1 if have == "GRAY" else 3
    if pixels.shape[2] != channels:
        raise DataError(f"{have} pixels have {channels} channel(s), not {pixels.shape[2]}")
    if have == want:
        return pixels
    if have == "GRAY":
        raise DataError(f"colours ({want}) cannot be made of GRAY pixels", hint="pixel_format=RGB")
    if have == "YUV444":
        return _of_yuv(pixels, want, video)
    rgb = pixels if have == "RGB" else pixels[..., ::-1]
    if want in ("RGB", "BGR"):
        return rgb if want == "RGB" else rgb[..., ::-1]
    if want == "GRAY":
        return np.floor(rgb.astype(np.float64) @ _GREY + 0.5).astype(pixels.dtype)[..., None]
    matrix, offset = rgb_to_yuv()
    return (rgb.astype(np.float64) @ matrix.T + offset).clip(0, 255).astype(np.float32)


def _of_yuv(pixels: np.ndarray, want: str, video: bool) -> np.ndarray:
    if want == "GRAY":
        low, luma, _ = _SPANS[video]
        return ((pixels[..., :1].astype(np.float64) - low) * (255 / luma)).clip(0, 255).astype(np.float32)
    matrix, offset = yuv_to_rgb(video)
    rgb = (pixels.astype(np.float64) @ matrix.T + offset).clip(0, 255).astype(np.float32)
    return rgb if want == "RGB" else rgb[..., ::-1]
