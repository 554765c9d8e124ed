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
from collections.abc import Iterable, Mapping

import numpy as np

from ... import _native
from ...converter.ir import Node
from ...converter.numeric.pairs import MOST
from ...converter.numeric.qparams import QuantParam, quantize
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
_SEARCHED = 10**0.05


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
    sums = _native.largest_pairs(_lines(rows), _of_lines(full.astype(np.float32), rows))
    excess = _of_scales(np.maximum(sums / np.float32(MOST) - 1, 0), len(full), np.maximum)
    if not excess.any():
        return quant
    exceed = excess > 0
    rows = rows[..., exceed, :] if quant.axis is not None else rows
    scales = (full[exceed, None] * (1 + excess[exceed, None] * _PARTS)).astype(np.float32)
    lost = _native.held_errors(_lines(rows), _of_lines(scales, rows), MOST, _LIMIT)
    best = _of_scales(lost, len(scales), np.add).argmin(axis=1)
    wider = full.copy()
    wider[exceed] = scales[np.arange(len(scales)), best]
    return dataclasses.replace(quant, scale=wider)


def paired_codes(node: Node, w: np.ndarray, quant: QuantParam) -> np.ndarray:
    """int8 codes of a real weight, no neighbours of which add up to more than `pairs.MOST`."""
    rows, codes = addends(node, w), np.empty(w.shape, np.int8)
    to = addends(node, codes)
    if rows is None or to is None or quant.bits < 8:
        return quantize(w, quant, np.int8, narrow=True)
    to[...] = _native.held_codes(_lines(rows), _of_lines(quant.scale, rows), MOST, _LIMIT).reshape(rows.shape)
    return codes


def held_codes(rows: np.ndarray, scale: np.ndarray, most: int = MOST) -> np.ndarray:
    """int8 codes of real rows [channels, K] at scales [channels], no neighbours of which add up to more than `most`."""
    return _native.held_codes(_lines(rows), np.ascontiguousarray(scale), most, _LIMIT).reshape(rows.shape)


Layers = Iterable[tuple[Node, np.ndarray, QuantParam, QuantParam]]
"""Each with its real weight and that one's parameters without pairs and with them, of `paired_scales`."""

Noises = Mapping[Node, tuple[float, float]]
"""By layer, the noise of its weight with pairs and without, as shares of the weight's energy."""


def noises(layers: Layers) -> Noises:
    """Of the layers some of whose pairs exceed."""
    return {
        node: (_noise(node, w, held, MOST), _noise(node, w, plain, 2 * _LIMIT))
        for node, w, plain, held in layers
        if held is not plain
    }


def costly_pairs(noises: Noises) -> frozenset[Node]:
    """The layers whose weights would have more than _COSTLY times their noise with pairs."""
    return _beyond(noises, _COSTLY)


def searched_scales(noises: Noises) -> frozenset[Node]:
    """The layers of whose weights pairs take enough to look for the scales at which their outputs come nearest."""
    return _beyond(noises, _SEARCHED)


def _beyond(noises: Noises, times: float) -> frozenset[Node]:
    return frozenset(node for node, (held, plain) in noises.items() if held > times * plain)


def without_pairs(noises: Noises, layers: Iterable[Node]) -> frozenset[Node]:
    """Those of all layers that had better not hold pairs, where those that hold none are exact, but slow."""
    left, chosen = _SLOWER * sum(map(macs, layers)), []
    losses = {node: held - plain for node, (held, plain) in noises.items() if held > plain}
    for node in sorted(losses, key=lambda node: losses[node] / max(macs(node), 1), reverse=True):
        if 0 < macs(node) <= left:
            left -= macs(node)
            chosen.append(node)
    return frozenset(chosen)


def _noise(node: Node, w: np.ndarray, quant: QuantParam, most: int) -> float:
    """The squared error of a weight's codes, pairs of which add up to `most` at most, over the weight's squares."""
    rows = addends(node, w)
    if rows is None:
        return 0.0
    lines, scale = _lines(rows), _of_lines(quant.scale, rows)
    codes, none = _native.held_codes(lines, scale, most, _LIMIT), np.zeros_like(scale)
    error, power = _native.code_error(lines, codes, scale, none, none)
    return error / power if power > 0 else 0.0


def _lines(rows: np.ndarray) -> np.ndarray:
    """Rows [..., channels, K], one after another, float32."""
    return np.ascontiguousarray(rows, np.float32).reshape(-1, rows.shape[-1])


def _of_lines(figures: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Figures [channels, ...], or [1, ...] for all channels, of each of the rows' lines."""
    return np.ascontiguousarray(
        np.broadcast_to(figures, (*rows.shape[:-1], *figures.shape[1:])).reshape(-1, *figures.shape[1:])
    )


def _of_scales(of_lines: np.ndarray, scales: int, reduce: np.ufunc) -> np.ndarray:
    """Figures [lines, ...] as one per scale."""
    return reduce.reduce(of_lines.reshape(-1, scales, *of_lines.shape[1:]), axis=0)
