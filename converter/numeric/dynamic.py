"""Activations quantized while running: one range per tensor, as `native/kernels/gemm_s8/dynamic_s8.cc` finds it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MAX = np.finfo(np.float32).max


def dynamic_codes(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], np.float32, int]:
    """Codes of float32 x on its own range, with their scale and zero point, all in float32; see the two parts."""
    scale, zero = dynamic_range(x)
    return encode(x, scale, zero), scale, zero


def dynamic_range(x: NDArray[np.float32]) -> tuple[np.float32, int]:
    """Scale and zero point for the values of x.

    The range holds 0; NaN is not looked at. scale = (high - low) / 255 and zero_point = rne(-128 - low / scale); a
    range of less than 1e-30 or of no finite width has scale 1.
    """
    f = np.float32
    with np.errstate(all="ignore"):
        low = np.fmax.reduce([f(-_MAX), np.fmin.reduce(x, axis=None, initial=f(0))])
        high = np.fmin.reduce([f(_MAX), np.fmax.reduce(x, axis=None, initial=f(0))])
        scale = f(f(high - low) / f(255))
        if not f(1e-30) < scale <= _MAX:
            scale = f(1)
        zero = int(np.rint(np.clip(f(-128) - f(low / scale), -128, 127)))
    return scale, zero


def encode(x: NDArray[np.float32], scale: np.float32, zero: int) -> NDArray[np.int8]:
    """clamp(rne(x · (1 / scale)) + zero_point); NaN becomes the zero point."""
    f = np.float32
    with np.errstate(all="ignore"):
        scaled = np.nan_to_num(x * f(f(1) / scale), nan=0.0, posinf=np.inf, neginf=-np.inf)
        codes = np.rint(np.clip(scaled, f(-128 - zero), f(127 - zero))).astype(np.int32) + zero
    return codes.astype(np.int8)
