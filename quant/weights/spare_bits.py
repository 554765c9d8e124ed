"""More bits, up to 8, for the weights that cost the outputs most, within the bytes that shared grids leave.

A `.ms` in which each channel has its own scale and mean takes 20 bytes for them. Rounded on data, channels share grids
(`ptq/grid`), and what that saves is spent by the knapsack of `bit_budget`: no weight has fewer bits than were asked
for, and all together take no more bytes than with grids of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...converter.ir import Graph, Tensor
from ..calibrate.spread import Chosen
from ..ptq.fidelity import spread
from ..ptq.grid import SHARED_BITS, shared_form
from ..ptq.rounding import shares
from .bit_budget import SAMPLES, Widths, coded_bytes, knapsack, measure_layers
from .weight_quant import WeightSettings, named_widths
from .weight_trials import codes_by_layer

_MOST = 8
_GRID = 16  # bytes, and 4 that say where it stands
_UNLIKE = 1.1  # times as many grids, at most, as the nearest codes have, where codes are rounded on data
_HALVINGS = 12
_LARGE = 1 << 26  # elements, of which codes of all widths would take too much memory

Grid = tuple[float, ...]
"""Bits, scale, zero point and mean."""


def shares_grids(settings: WeightSettings) -> bool:
    """Whether the file can say once what several channels have in common."""
    return not settings.container


def spare_bits(graph: Graph, settings: WeightSettings, samples: Chosen, threads: int) -> dict[str, int]:
    """Node → bits of the weights of a float graph that have more than is asked for; empty where bits are chosen, there
    are no bytes to spare, no output is float or the model is large.

    samples: those that codes are fitted to, of which few are looked at.
    """
    bits = settings.bits
    if not shares_grids(settings) or not 1 < bits <= SHARED_BITS or settings.block_size or settings.chosen:
        return {}
    if not any(t.dtype.kind == "f" for t in graph.outputs):
        return {}
    if sum(t.value.size for t in graph.constants()) > _LARGE:
        return {}
    named = {node.name for node in named_widths(graph, settings)}
    forms = {b: codes_by_layer(graph, replace(settings, bits=b, alone=True)) for b in range(bits, _MOST + 1)}
    asked = {name: form for name, form in forms[bits].items() if name not in named}
    forms = {b: {name: form for name, form in found.items() if name in asked} for b, found in forms.items()}
    sharing = {n.name for n in graph.nodes if n.name in asked and all(shares(n, t) for t in asked[n.name])}
    if not sharing:
        return {}
    picked = list(samples.only(spread(len(samples), SAMPLES)))
    widths = measure_layers(graph, picked, forms, lambda t: coded_bytes(t, settings.container), threads)
    return {name: b for name, b in spent(widths, forms, bits, sharing).items() if b != bits}


def spent(
    widths: Widths, forms: Mapping[int, Mapping[str, Sequence[Tensor]]], bits: int, sharing: Collection[str]
) -> dict[str, int]:
    """The bits of each layer with which codes and grids take no more than codes of `bits` and grids of their own.

    widths: what layers cost, in bytes of codes. forms: bits → layer → its weights in codes. sharing: layers whose
    channels share grids, as nearly as the nearest codes' grids say.
    """

    grids = {(name, b): _grids(form[name], b, name in sharing) for b, form in forms.items() for name in form}

    def size(chosen: Mapping[str, int]) -> float:
        found = [grids[name, b] for name, b in chosen.items()]
        count = sum(own for own, _ in found) + round(_UNLIKE * len(set[Grid]().union(*(alike for _, alike in found))))
        return sum(widths[name][b].bytes for name, b in chosen.items()) + _GRID * count

    best = dict.fromkeys(widths, bits)
    codes = sum(found[bits].bytes for found in widths.values())
    most = codes + _GRID * sum(len(t.qparams.scale) for form in forms[bits].values() for t in form)
    low, high, reached = codes, most, size(best)
    for _ in range(_HALVINGS):
        room = (low + high) / 2
        chosen = knapsack(widths, room)
        found = size(chosen)
        low, high = (room, high) if found <= most else (low, room)
        if reached < found <= most:
            best, reached = chosen, found
    return best


def _grids(weights: Sequence[Tensor], bits: int, shared: bool) -> tuple[int, set[Grid]]:
    """How many grids are the weights' own, and those that others may have, too."""
    own, alike = 0, set[Grid]()
    for t in weights:
        if not shared or bits > SHARED_BITS:
            own += len(t.qparams.scale)
            continue
        q = shared_form(t.qparams)
        mean = np.zeros(len(q.scale)) if q.mean_corr is None else q.mean_corr
        zero = np.broadcast_to(q.zero_point, len(q.scale))
        alike |= {(bits, *row) for row in zip(q.scale.tolist(), zero.tolist(), mean.tolist())}
    return own, alike
