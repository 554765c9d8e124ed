"""Weights for containers whose kernels want a zero point of 0 and keep no correction (TFLite, QDQ ONNX)."""

from __future__ import annotations

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
    limit = max(2 ** (bits - 1) - 1, 1)
    best = _scale(top, bits)
    codes = _codes(rows, best, limit)
    if bits <= _FITTED_BITS:
        error = _error(rows, codes, best)
        for share in _SHARES[:-1]:
            scale = _scale(top * share, bits)
            tried = _codes(rows, scale, limit)
            tried_error = _error(rows, tried, scale)
            better = tried_error < error
            codes[better], best[better], error[better] = tried[better], scale[better], tried_error[better]
    stored = codes.astype(storage_dtype(bits))
    if axis is not None:
        rest = [n for i, n in enumerate(values.shape) if i != axis]
        stored = np.moveaxis(stored.reshape(values.shape[axis], *rest), 0, axis)
    return np.ascontiguousarray(stored.reshape(values.shape)), QuantParam(best, np.zeros(1, np.int32), axis, bits)


def _scale(top: NDArray, bits: int) -> NDArray[np.float64]:
    return choose_symmetric(top, bits, 0).scale.astype(np.float32).astype(np.float64)


def _codes(rows: NDArray, scale: NDArray, limit: int) -> NDArray[np.int16]:
    return np.clip(np.rint(rows / scale[:, None]), -limit, limit).astype(np.int16)


def _error(rows: NDArray, codes: NDArray, scale: NDArray) -> NDArray[np.float64]:
    return ((codes * scale[:, None] - rows) ** 2).sum(axis=1)


def symmetric(w: np.ndarray, axis: int | None, bits: int) -> QuantParam:
    """Parameters of a weight with zero point 0, per channel along `axis`: from the largest magnitude at 8 bits, below
    that from the part of it that gives the least squared error."""
    rest = tuple(i for i in range(w.ndim) if i != axis) if axis is not None else tuple(range(w.ndim))
    q = choose_symmetric(np.abs(w).max(axis=rest, initial=0.0), bits, axis)
    scale = q.scale.astype(np.float32).astype(np.float64)
    if bits < 8:
        scale = _least_squares(w, scale, axis, rest, bits)
    return QuantParam(scale, q.zero_point, axis, bits)


def _least_squares(w: np.ndarray, full: np.ndarray, axis: int | None, rest: tuple[int, ...], bits: int) -> np.ndarray:
    best, least = full, np.full(full.shape, np.inf)
    low, high = code_range(bits, narrow=bits > 1)
    for factor in _PARTS:
        scale = (full * factor).astype(np.float32).astype(np.float64)
        step = along(scale, axis, w.ndim)
        error = np.square(np.clip(np.rint(w / step), low, high) * step - w).sum(axis=rest).reshape(full.shape)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best
