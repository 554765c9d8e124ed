"""int8 weights whose products kernels without VNNI add in pairs (`converter/numeric/pairs.py`).

So onnxruntime is exact, and bitlite's own kernels take three instructions instead of four.

A little larger scale, for those output channels alone whose pairs exceed, costs far less than 7 bits for all. The scale
is the one of the least squared error, between the full one, where the pairs that exceed are cut off, and the one
at which none does; the descent of `rounding.py` then moves what was cut off to the layer's other codes.

Layers that multiply little may as well keep the codes they have without: the .onnx stores those as uint8
(`converter/passes/unsigned_weights.py`), exact in a slower kernel. They are the ones that lose most for their share of
the products: the first layer and the last, as a rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from ...converter.ir import Node
from ...converter.numeric.pairs import MOST, largest_sum, rounded, saturate
from ...converter.numeric.qparams import QuantParam, along, dequantize, quantize
from ...converter.schema.macs import macs
from ...converter.schema.op import quant_spec

_PARTS = np.linspace(0.0, 1.0, 9)  # of the way to the scale at which no pair exceeds
_LIMIT = 127
# Of all products, those that may go to the kernel of uint8 weights, which takes half as long again on AVX2 and up to
# three times as long where onnxruntime has VNNI for int8 alone.
_SLOWER = 0.03
# Where pairs are for speed alone (bitlite's own kernels on AVX2 take 25 % less time with them): 1 dB of a weight's
# noise, which at 8 bits is the smaller part of what an integer network loses.
_COSTLY = 10**0.1


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
    sums = largest_sum(np.rint(rows / full.astype(np.float32)[:, None]))
    excess = _of_channels(np.maximum(sums / MOST - 1, 0.0), quant, np.maximum)
    if not excess.any():
        return quant
    exceed = excess > 0 if quant.axis is not None else slice(None)
    rows, best, excess = rows[..., exceed, :], full[exceed], excess[exceed]
    least = np.full(best.shape, np.inf)
    for part in _PARTS:
        scale = (full[exceed] * (1 + excess * part)).astype(np.float32).astype(np.float64)
        step = scale.astype(np.float32)[:, None]
        lost = np.square(rounded(rows / step, _LIMIT) * step - rows).sum(axis=-1, dtype=np.float64)
        error = _of_channels(lost, quant, np.add)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    scales = full.copy()
    scales[exceed] = best
    return dataclasses.replace(quant, scale=scales)


def paired_codes(node: Node, w: np.ndarray, quant: QuantParam) -> np.ndarray:
    """int8 codes of a real weight, no neighbours of which add up to more than `pairs.MOST`."""
    codes = np.ascontiguousarray(quantize(w, quant, np.int8, narrow=True))  # rows are a view
    rows = addends(node, codes)
    if rows is not None and saturate(rows):
        real = w.astype(np.float64) / along(quant.scale, quant.axis, w.ndim)
        rows[...] = rounded(addends(node, real), _LIMIT)  # pyright: ignore[reportArgumentType]
    return codes


Layers = Iterable[tuple[Node, np.ndarray, QuantParam, QuantParam]]
"""Each with its real weight and that one's parameters without pairs and with them, of `paired_scales`."""


def costly_pairs(layers: Layers) -> frozenset[Node]:
    """The layers whose weights would have more than _COSTLY times their noise with pairs."""
    return frozenset(layer[0] for layer in layers if np.greater(*_noises(*layer, _COSTLY)))


def without_pairs(layers: Layers) -> frozenset[Node]:
    """The layers that had better not hold pairs, where those that hold none are exact, but slow."""
    sizes, losses = {}, {}
    for layer in layers:
        node = layer[0]
        sizes[node] = macs(node)
        held, plain = _noises(*layer)
        if held > plain:
            losses[node] = held - plain
    left, chosen = _SLOWER * sum(sizes.values()), []
    for node in sorted(losses, key=lambda node: losses[node] / max(sizes[node], 1), reverse=True):
        if 0 < sizes[node] <= left:
            left -= sizes[node]
            chosen.append(node)
    return frozenset(chosen)


def _noises(
    node: Node, w: np.ndarray, quant: QuantParam, held: QuantParam, allowed: float = 1.0
) -> tuple[float, float]:
    """The weight's noise with pairs, and `allowed` times the one without."""
    codes = paired_codes(node, w, held)
    return _noise(codes, held, w), allowed * _noise(quantize(w, quant, narrow=True), quant, w)


def _noise(codes: np.ndarray, quant: QuantParam, w: np.ndarray) -> float:
    """The squared error of a weight's codes over the weight's squares."""
    power = float(np.square(w, dtype=np.float64).sum())
    return float(np.square(dequantize(codes, quant) - w, dtype=np.float64).sum()) / power if power > 0 else 0.0


def _of_channels(values: np.ndarray, quant: QuantParam, reduce: np.ufunc) -> np.ndarray:
    """Figures of rows [..., channels] as one per scale."""
    return (
        reduce.reduce(values.reshape(-1, values.shape[-1]), axis=0)
        if quant.axis is not None
        else np.atleast_1d(reduce.reduce(values, axis=None))
    )
