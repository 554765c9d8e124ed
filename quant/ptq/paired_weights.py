"""int8 weights whose products onnxruntime adds exactly on every CPU (`converter/numeric/pairs.py`).

A little larger scale, for those output channels alone whose pairs exceed, costs far less than 7 bits for all. The scale
is the one of the least squared error, between the full one, where the pairs that exceed are cut off, and the one
at which none does; the descent of `rounding.py` then moves what was cut off to the layer's other codes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ...converter.ir import Node
from ...converter.numeric.pairs import MOST, largest_sum, rounded, saturate
from ...converter.numeric.qparams import QuantParam, along, quantize
from ...converter.schema.op import quant_spec

_PARTS = np.linspace(0.0, 1.0, 9)  # of the way to the scale at which no pair exceeds
_LIMIT = 127


def addends(node: Node, w: np.ndarray) -> np.ndarray | None:
    """The node's weight as rows [..., channels, K] of one sum each, a view; None where it is not added in pairs."""
    view = quant_spec(node).addends
    return None if view is None else view(node, w)


def paired_scales(node: Node, w: np.ndarray, quant: QuantParam) -> QuantParam:
    """The parameters for a real weight with the scales at which its codes come nearest, pairs held."""
    rows = addends(node, w)
    if rows is None or quant.bits < 8:  # two codes of 7 bits add up to less than MOST
        return quant
    full = quant.scale
    excess = _of_channels(np.maximum(largest_sum(np.rint(rows / full[:, None])) / MOST - 1, 0.0), quant, np.maximum)
    best, least = full, np.full(full.shape, np.inf)
    for part in _PARTS if excess.any() else ():
        scale = (full * (1 + excess * part)).astype(np.float32).astype(np.float64)
        step = scale[:, None]
        error = _of_channels(np.square(rounded(rows / step, _LIMIT) * step - rows).sum(axis=-1), quant, np.add)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return dataclasses.replace(quant, scale=best)


def paired_codes(node: Node, w: np.ndarray, quant: QuantParam) -> np.ndarray:
    """int8 codes of a real weight, no neighbours of which add up to more than `pairs.MOST`."""
    codes = quantize(w, quant, np.int8, narrow=True)
    rows = addends(node, codes)
    if rows is not None and saturate(rows):
        real = w.astype(np.float64) / along(quant.scale, quant.axis, w.ndim)
        rows[...] = rounded(addends(node, real), _LIMIT)  # pyright: ignore[reportArgumentType]
    return codes


def _of_channels(values: np.ndarray, quant: QuantParam, reduce: np.ufunc) -> np.ndarray:
    """Figures of rows [..., channels] as one per scale."""
    return (
        reduce.reduce(values.reshape(-1, values.shape[-1]), axis=0)
        if quant.axis is not None
        else np.atleast_1d(reduce.reduce(values, axis=None))
    )
