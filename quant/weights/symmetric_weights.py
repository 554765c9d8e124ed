"""Weights for containers whose kernels want a zero point of 0 and keep no correction (TFLite, QDQ ONNX)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...converter.numeric.packing import storage_dtype
from ...converter.numeric.qparams import QuantParam, along, choose_symmetric, code_range
from .weight_math import Weight

_FITTED_BITS = 6
# Shares of the largest magnitude that the fit tries; at more bits nothing is worth cutting off.
_SHARES = np.linspace(0.4, 1.0, 31)
_PARTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.25)


def quantize_symmetric(weight: Weight, bits: int) -> tuple[NDArray, QuantParam]:
    """Codes (int8 up to 8 bits, else int16) and parameters of a weight: scales from the largest magnitude, or up to
    6 bits from the share of it that has the least squared error."""
    axis, values = weight.axis, weight.values
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1) if axis is not None else values.reshape(1, -1)
    top = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    limits = code_range(bits, narrow=True)
    shares = (1.0, *_SHARES[:-1]) if bits <= _FITTED_BITS else (1.0,)
    best = _least_squares(rows, [_scale(top * share, bits) for share in shares], 0, *limits)
    codes = np.clip(np.rint(rows / best[:, None]), *limits)
    stored = codes.astype(storage_dtype(bits))
    if axis is not None:
        rest = [n for i, n in enumerate(values.shape) if i != axis]
        stored = np.moveaxis(stored.reshape(values.shape[axis], *rest), 0, axis)
    return np.ascontiguousarray(stored.reshape(values.shape)), QuantParam(best, np.zeros(1, np.int32), axis, bits)


def _scale(top: NDArray, bits: int) -> NDArray[np.float64]:
    return choose_symmetric(top, bits, 0).scale.astype(np.float32).astype(np.float64)


def symmetric(w: np.ndarray, axis: int | None, bits: int) -> QuantParam:
    """Parameters of a weight with zero point 0, per channel along `axis`: from the largest magnitude at 8 bits, below
    that from the part of it that gives the least squared error."""
    rest = tuple(i for i in range(w.ndim) if i != axis) if axis is not None else tuple(range(w.ndim))
    q = choose_symmetric(np.abs(w).max(axis=rest, initial=0.0), bits, axis)
    full = q.scale.astype(np.float32).astype(np.float64)
    scales = [(full * part).astype(np.float32).astype(np.float64) for part in (_PARTS if bits < 8 else (1.0,))]
    scale = _least_squares(w, scales, axis, *code_range(bits, narrow=True))
    return QuantParam(scale, q.zero_point, axis, bits)


def _least_squares(
    w: NDArray, scales: Sequence[NDArray[np.float64]], axis: int | None, low: int, high: int
) -> NDArray[np.float64]:
    """Per channel along `axis`, the scale whose codes in [low, high] have the least squared error; the first wins ties.

    scales: the candidates, each [channels], or [1] without an axis.
    """
    best = scales[0]
    if len(scales) == 1:
        return best
    rest = tuple(i for i in range(w.ndim) if i != axis)
    least = np.full(best.shape, np.inf)
    for scale in scales:
        step = along(scale, axis, w.ndim)
        error = np.square(np.clip(np.rint(w / step), low, high) * step - w).sum(axis=rest).reshape(best.shape)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best
