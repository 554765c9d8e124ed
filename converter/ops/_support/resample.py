"""Arithmetic of resampling an axis: coordinates, nearest elements, weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import Node
from .types import fail

METHODS = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")


def coordinates(n: int, m: int, scale: float, a: dict[str, Any], roi: Sequence[float] = ()) -> np.ndarray:
    """Where the m output positions of an axis of n elements lie in the input, in float32 as onnxruntime and LiteRT do.

    scale: output / input. With `multiply` positions are multiplied by float32(n / m), as TFLite does, not divided.
    """
    x, f = np.arange(m, dtype=np.float32), np.float32
    mode, s = a["coordinate_mode"], f(scale)

    def back(v: np.ndarray) -> np.ndarray:
        return v * (f(n) / f(m)) if a["multiply"] else v / s

    if mode == "align_corners":
        if m == 1:
            return np.zeros(1, np.float32)
        return x * (f(n - 1) / f(m - 1)) if a["multiply"] else x * f(n - 1) / f(m - 1)
    if mode == "asymmetric":
        return back(x)
    if mode == "tf_half_pixel_for_nn":
        return back(x + f(0.5))
    if mode == "pytorch_half_pixel" and m == 1:
        return np.zeros(1, np.float32)
    if mode == "tf_crop_and_resize":
        start, end = f(roi[0]), f(roi[1])
        if m == 1:
            return np.array([f(0.5) * (start + end) * f(n - 1)], np.float32)
        return start * f(n - 1) + x * (end - start) * f(n - 1) / f(m - 1)
    centres = back(x + f(0.5))
    if mode == "half_pixel_symmetric":
        centres = f(n / 2) * (f(1) - f(m) / (s * f(n))) + centres
    return centres - f(0.5)


def nearest_indices(n: int, m: int, scale: float, a: dict[str, Any], roi: Sequence[float] = ()) -> np.ndarray:
    """The input element of each output position."""
    x, mode = coordinates(n, m, scale, a, roi), a["nearest_mode"]
    if mode == "simple":  # of Upsample and the first Resize
        mode = "ceil" if scale < 1 else "floor"
    if mode == "floor":
        x = np.floor(x)
    elif mode == "ceil":
        x = np.ceil(x)
    else:
        down = np.floor(x)
        half = x - down == np.float32(0.5)
        x = np.where(half, down if mode == "round_prefer_floor" else down + 1, np.rint(x))
    return np.clip(x, 0, n - 1).astype(np.int64)


def _kernel(t: np.ndarray, method: str, coeff: float) -> np.ndarray:
    """The interpolation kernel at distances t from the position."""
    t = np.abs(t)
    if method == "linear":
        return np.clip(1 - t, 0, 1)
    near = (coeff + 2) * t**3 - (coeff + 3) * t**2 + 1
    far = coeff * t**3 - 5 * coeff * t**2 + 8 * coeff * t - 4 * coeff
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def weights(n: int, m: int, scale: float, a: dict[str, Any], roi: Sequence[float] = ()) -> np.ndarray:
    """[m, n] float64: row k holds what output k takes of each input element."""
    x = coordinates(n, m, scale, a, roi).astype(np.float64)
    reach = 1 if a["method"] == "linear" else 2
    shrink = min(scale, 1.0) if a["antialias"] else 1.0
    base = np.floor(x)
    first = int(np.floor(-reach / shrink)) + 1
    taps = np.arange(first, 2 - first)
    value = _kernel((taps - (x - base)[:, None]) * shrink, a["method"], a["cubic_coeff"])
    at = base[:, None].astype(np.int64) + taps
    if a["exclude_outside"] or a["antialias"]:
        value = np.where((at < 0) | (at >= n), 0, value) if a["exclude_outside"] else value
        value = value / value.sum(1, keepdims=True)
    table = np.zeros((m, n))
    np.add.at(table, (np.arange(m)[:, None], np.clip(at, 0, n - 1)), value)
    return table


def resize_scales(x: Sequence[int], size: Sequence[int], a: dict[str, Any]) -> list[float]:
    if a["scales"]:
        return list(a["scales"])
    return [float(np.float32(m) / np.float32(n)) if n else 1.0 for n, m in zip(x, size)]


def check_modes(node: Node) -> None:
    a = node.attrs
    for key, allowed in (("method", METHODS), ("coordinate_mode", COORDINATES), ("nearest_mode", NEAREST)):
        if a[key] not in allowed:
            fail(node, f"{key}={a[key]!r}, allowed are {', '.join(allowed)}")
    if a["coordinate_mode"] == "tf_half_pixel_for_nn" and a["method"] != "nearest":
        fail(node, "tf_half_pixel_for_nn is a mode of the nearest method")


def gives_fractions(shape: Sequence[int | None], scales: Sequence[float]) -> bool:
    """Whether a scaled size is not whole: with align_corners the standard and onnxruntime then differ."""
    sizes = [float(np.float32(s) * n) for n, s in zip(shape, scales) if n is not None and s != 1.0]
    return any(v != round(v) for v in sizes)


def resample(x: np.ndarray, size: np.ndarray | None = None, **a: Any) -> np.ndarray:
    spatial = x.shape[1:-1]
    if size is None:
        out = [int(np.floor(np.float32(s) * n)) for n, s in zip(spatial, a["scales"])]
    else:
        out = [int(v) for v in size.reshape(-1)]
    scales = resize_scales(spatial, out, a)
    crop = a["coordinate_mode"] == "tf_crop_and_resize"
    y, outside = x, np.zeros(out, bool)
    for i, (n, m, s) in enumerate(zip(spatial, out, scales)):
        roi = a["roi"][2 * i : 2 * i + 2]
        if crop:
            at = coordinates(n, m, s, a, roi)
            shape = [1] * len(out)
            shape[i] = m
            outside |= ((at < 0) | (at > n - 1)).reshape(shape)
        elif n == m and s == 1.0:
            continue
        if a["method"] == "nearest":
            y = np.take(y, nearest_indices(n, m, s, a, roi), axis=i + 1)
        else:
            table = weights(n, m, s, a, roi).astype(np.promote_types(x.dtype, np.float32))
            y = np.moveaxis(np.moveaxis(y, i + 1, -1) @ table.T, -1, i + 1)
    if crop and outside.any():
        y = np.where(outside[None, ..., None], np.asarray(a["extrapolation"], y.dtype), y)
    return np.ascontiguousarray(y.astype(x.dtype, copy=False))


def resample_codes(x: np.ndarray, out: Sequence[int], a: dict[str, Any]) -> np.ndarray:
    """Linear resampling of codes x [N,*S,C] that share scale and zero point with the result, in integers.

    Of each axis the upper neighbour takes p = rne(1024 · part) / 1024, in float32; y = floor(Σ + 1/2). The weights sum
    to 1, so the zero point stays.
    """
    spatial = x.shape[1:-1]
    y = x.astype(np.int32)
    for i, (n, m, s) in enumerate(zip(spatial, out, resize_scales(spatial, out, a))):
        at = np.arange(m, dtype=np.float32) if n == m and s == 1.0 else coordinates(n, m, s, a)
        down = np.floor(at)
        part = np.rint((at - down) * np.float32(1024)).astype(np.int32).reshape(m, *[1] * (x.ndim - 2 - i))
        low, high = (np.clip(down.astype(np.int64) + k, 0, n - 1) for k in (0, 1))
        y = np.take(y, low, axis=i + 1) * (1024 - part) + np.take(y, high, axis=i + 1) * part
    shift = 10 * len(spatial)
    return ((y + (1 << (shift - 1))) >> shift).astype(x.dtype)
