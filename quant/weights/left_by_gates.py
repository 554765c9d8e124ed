"""Smaller forms of weights that the gates leave in float: float16, and codes of 8 bits and more.

The gates keep few bits from weights that these would hurt, or that would take no less with them. Neither is true of
float16, nor, of convolutions with few output channels, of 8 bits; and what they save gives other layers a bit more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.ops import row
from ..selection import select
from .weight_math import gate
from .weight_quant import HALF, OPEN_BITS, WeightSettings, named_widths, of_layers
from .weight_trials import codes_by_layer

_NEAR = 2.0**-9  # of a channel's size that float16 may lose

Forms = dict[int, dict[str, list[Tensor]]]
"""Bits → layer → its weights in codes."""


def forms_by_width(graph: Graph, settings: WeightSettings, widths: Iterable[int]) -> Forms:
    """Each layer's codes at these widths, by itself, where the gates let them through."""

    def at(bits: int) -> WeightSettings:
        opened = settings.gates_yield and OPEN_BITS <= bits < HALF
        least = 0 if opened else settings.min_channels
        return replace(settings, bits=bits, alone=True, min_channels=least)

    return {b: codes_by_layer(graph, at(b)) for b in widths}


def halves(graph: Graph, settings: WeightSettings) -> dict[str, list[Tensor]]:
    """Layer → its weights as float16, of layers that the gates leave in float at 16 bits and that float16 holds."""
    if not settings.gates_yield:
        return {}
    named, kept, read = named_widths(graph, settings), select(graph, settings.keep_float), of_layers(graph)[0]
    found, seen = dict[str, list[Tensor]](), set[Tensor]()
    for node in graph.nodes:
        left = [] if node in named or node in kept else _left(node, settings)
        forms = [_half(w, axis) for w, axis in left if w in read and w not in seen]
        held = [t for t in forms if t is not None]
        if left and len(held) == len(left):
            found[node.name] = held
            seen |= {w for w, _ in left}
    return found


def _left(node: Node, settings: WeightSettings) -> list[tuple[Tensor, int | None]]:
    """The weights of a layer, each with its channel axis, if the gates leave all of them in float."""
    cell = row(node.op).quant
    if cell is None:
        return []
    axis = cell.channel_axis(node) if settings.per_channel else None
    constants = [w for w in map(node.input, cell.weights) if w is not None and w.data is not None]
    weights = [w for w in constants if w.dtype == np.float32 and w.value.ndim >= 2]
    gates = [
        gate(
            w.value.shape,
            axis,
            HALF,
            conv=cell.conv_family,
            min_size=settings.min_size,
            min_channels=settings.min_channels,
            gain=settings.gain_gate,
        )
        for w in weights
    ]
    return [(w, axis) for w in weights] if all(gates) else []


def _half(w: Tensor, axis: int | None) -> Tensor | None:
    with np.errstate(over="ignore"):
        half = w.value.astype(np.float16)
    rest = tuple(k for k in range(half.ndim) if k != axis)
    with np.errstate(invalid="ignore", over="ignore"):
        lost = np.square(half.astype(np.float64) - w.value).sum(axis=rest)
        near = lost <= _NEAR**2 * np.square(w.value, dtype=np.float64).sum(axis=rest)
    return Tensor(w.name, half.dtype, w.shape, half) if np.all(near) else None
