"""Weights read back and compared with what was written, block by block: what is checked of a file too large to run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..converter.errors import OutputError
from ..converter.formats.files import sweep
from ..converter.ir import Graph, Tensor, is_quantized
from ..converter.numeric.qparams import QuantParam

_BLOCK = 1 << 20  # elements compared at once
_FEW = 16  # fewer are as often what says how to compute, which each container says in its own way
_CLOSE = 1e-6  # relative: files keep scales in float32


def check_weights(path: str, written: Graph, read: Graph) -> tuple[int, int]:
    """Compares constants of both graphs by name; returns (bytes compared, bytes of all). Raises OutputError naming one
    that differs."""
    stored = {t.name: t for t in read.constants()}
    compared = total = 0
    for t in sweep(written.constants(), lambda t: 2 * t.nbytes):
        total += t.value.nbytes
        twin = stored.get(t.name)
        codes = is_quantized(t) or t.dtype == np.uint8  # bytes hold packed codes, whose scales are other constants
        if t.value.size < _FEW or not (t.dtype.kind == "f" or codes):
            continue
        if (
            twin is None
            or twin.data is None
            or twin.data.dtype != t.value.dtype
            or is_quantized(t) != is_quantized(twin)
        ):
            continue
        value = next(_as(twin.data, t.value.shape), None)
        if value is None:
            continue
        same = any(_equal(t.value, x) for x in _as(twin.data, t.value.shape))
        if not same or (is_quantized(t) and not _means_the_same(t, twin)):
            raise OutputError(f"{path}: weight {t.name!r} {list(t.value.shape)} is not what was written")
        compared += t.value.nbytes
    return compared, total


def _as(value: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The value with its axes in the orders that containers have for weights, where these give the shape."""
    turned = [value, value.T, *((np.moveaxis(value, 1, -1), np.moveaxis(value, -1, 1)) if value.ndim > 2 else ())]
    turned.append(np.moveaxis(value, 0, -1) if value.ndim > 2 else value)
    return (x for x in turned if x.shape == shape)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a.ndim == 0:
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    rows = max(1, _BLOCK // max(1, a[0].size if len(a) else 1))
    return all(
        np.array_equal(a[k : k + rows], b[k : k + rows], equal_nan=a.dtype.kind == "f") for k in range(0, len(a), rows)
    )


def _means_the_same(a: Tensor, b: Tensor) -> bool:
    left, right = _factors(a.qparams), _factors(b.qparams)
    return all(x.shape == y.shape and np.allclose(x, y, rtol=_CLOSE, atol=0) for x, y in zip(left, right))


def _factors(q: QuantParam) -> tuple[np.ndarray, ...]:
    """Scale, zero point and mean of each channel, as `dequantize` takes them."""
    factor = 1.0 if q.var_corr is None else q.var_corr.astype(np.float64)
    mean = np.zeros(len(q.scale)) if q.mean_corr is None else q.mean_corr.astype(np.float64)
    return q.scale * factor, q.zero_point, mean
