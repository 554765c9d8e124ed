"""Bits of weights by their own error: in each layer as few as it allows, without data (`bit_num=0`).

The error is MindSpore Lite's: ‖w - ŵ‖ / ‖w‖ of an output channel, and the mean of that over the channels. More bits
lose less, so that the fewest are found by halving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...converter.ir import Graph, Tensor
from ...converter.numeric.qparams import QuantParam
from ...converter.ops import row
from .symmetric_weights import quantize_symmetric
from .weight_math import Weight, quantize_weight
from .weight_quant import WIDTHS, WeightSettings, named_widths

_BITS = range(2, 17)
_NONE = 1e-10  # a channel of no more energy says nothing


def bits_within(graph: Graph, settings: WeightSettings, limit: float) -> dict[str, int]:
    """Node name → the fewest bits of its weights of which none is off more than `limit`, or the most that the container
    has; of nodes that settings.layer_bits does not name."""
    widths = WIDTHS.get(settings.container, _BITS)
    named = named_widths(graph, settings)
    found: dict[str, int] = {}
    for node in graph.nodes:
        cell = row(node.op).quant
        if cell is None or node in named:
            continue
        axis = cell.channel_axis(node) if settings.per_channel else None
        for t in map(node.input, cell.weights):
            if t is None or t.data is None or t.dtype.kind != "f" or t.data.ndim < 2 or not np.isfinite(t.data).all():
                continue
            weight = Weight(t.data.astype(np.float32, copy=False), axis, kernel=cell.conv_family)

            def error(bits: int, weight: Weight = weight) -> float:
                codes = (
                    quantize_symmetric(weight, bits)
                    if settings.container in WIDTHS
                    else quantize_weight(weight, bits, correction=settings.correction)
                )
                return weight_error(weight.values, *codes)

            found[node.name] = max(found.get(node.name, 0), fewest(widths, error, limit))
    return found


def fewest(widths: Sequence[int], error: Callable[[int], float], limit: float) -> int:
    """The first of the widths whose error is within the limit, or the last one."""
    low, high = 0, len(widths) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if error(widths[middle]) <= limit else (middle + 1, high)
    return widths[low]


def weight_error(w: np.ndarray, codes: np.ndarray, quant: QuantParam) -> float:
    """The mean over the channels of ‖w - ŵ‖ / ‖w‖; 0 where all of them are zero."""
    apart = Tensor("w", codes.dtype, codes.shape, codes, quant).real() - w
    rest = tuple(i for i in range(w.ndim) if i != quant.axis)
    energy, lost = (
        np.square(a, dtype=np.float64).sum(axis=rest if quant.axis is not None else None) for a in (w, apart)
    )
    live = energy > _NONE
    return float(np.sqrt(lost[live] / energy[live]).mean()) if live.any() else 0.0
