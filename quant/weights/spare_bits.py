"""More bits, up to 8, for the weights that cost the outputs most, within the bytes that a plain file takes.

A `.ms` in which each channel has its own scale and mean takes 20 bytes for them. Rounded on data, channels share grids
(`ptq/grid`), and weights that the gates leave have smaller forms than float (`left_by_gates`). What both save is
spent by the knapsack of `bit_budget`: no weight has fewer bits than were asked for, and all together take no more bytes
than with grids of their own and the gates' weights in float.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np

from ...converter.ir import Graph, Tensor
from ...converter.numeric.packing import packed_size
from ..calibrate.spread import Chosen
from ..ptq.fidelity import spread
from ..ptq.grid import SHARED_BITS, shared_form
from ..ptq.rounding import shares
from .bit_budget import (
    SAMPLES,
    SHARED_ROW,
    Width,
    Widths,
    coded_bytes,
    knapsack,
    largest_within,
    measure_layers,
    rows_of,
    with_codes,
)
from .left_by_gates import forms_by_width, halves
from .weight_quant import FLOAT, HALF, WIDTHS, WeightSettings, named_widths

_MOST = 8
_LEFT_BITS = (8, 10, 12)  # that weights may have which the gates leave
_GRID = 16  # bytes of a scale, a zero point and a mean
_PLACE, _TABLE = 4, 16  # bytes for each channel, and for each weight, that say where its grids stand
_UNLIKE = 0.1  # of the nearest codes' grids there are more, at most, where codes are rounded on data
_HALVINGS = 12
_LARGE = 1 << 26  # elements, of which codes of all widths would take too much memory
SizeOf = Callable[[Graph], int]
Grid = tuple[float, ...]
"""Bits, scale, zero point and mean."""


def shares_grids(settings: WeightSettings) -> bool:
    """Whether the file can say once what several channels have in common."""
    return not settings.container


def spare_bits(
    graph: Graph, settings: WeightSettings, samples: Chosen, threads: int, size_of: SizeOf | None, float_bytes: int = 4
) -> dict[str, int]:
    """Node → bits of the weights of a float graph that have more than is asked for, or than the gates leave in float;
    empty where bits are chosen, there are no bytes to spare, no output is float or the model is large.

    samples: those that codes are fitted to, of which few are looked at. size_of: bytes of the file that holds a graph;
    float_bytes: of an element in it that stays float.
    """
    bits = settings.bits
    offered = [b for b in range(bits, _MOST + 1) if b in WIDTHS.get(settings.container, (b,))]
    if not 1 < bits <= SHARED_BITS or bits not in offered or len(offered) < 2 or settings.block_size or settings.chosen:
        return {}
    if not any(t.dtype.kind == "f" for t in graph.outputs):
        return {}
    if sum(t.value.size for t in graph.constants()) > _LARGE:
        return {}
    named = {node.name for node in named_widths(graph, settings)}
    forms = forms_by_width(graph, settings, offered)
    asked = {name: form for name, form in forms[bits].items() if name not in named}
    sharing = set[str]()
    if shares_grids(settings):
        sharing = {n.name for n in graph.nodes if n.name in asked and all(shares(n, t) for t in asked[n.name])}
    left = {name: form for name, form in halves(graph, settings).items() if name not in asked}
    if not sharing and not left:
        return {}
    forms = {b: {name: form for name, form in found.items() if name in asked} for b, found in forms.items()}
    widths_left = [b for b in _LEFT_BITS if b in WIDTHS.get(settings.container, (b,))]
    for b, found in forms_by_width(graph, settings, widths_left).items():
        forms.setdefault(b, {}).update({name: form for name, form in found.items() if name in left})
    picked = list(samples.only(spread(len(samples), SAMPLES)))
    shared = {t.name for name in sharing for t in asked[name]}

    def bytes_of(t: Tensor) -> float:
        each = SHARED_ROW if t.name in shared and t.qparams.bits <= SHARED_BITS else _GRID + _PLACE
        return coded_bytes(t, settings.container) + each * rows_of(t)

    widths = measure_layers(graph, picked, forms, bytes_of, threads)
    for name, form in left.items():
        size = sum(t.value.size for t in form)
        widths.setdefault(name, {}).update({HALF: Width(2 * size, 0.0), FLOAT: Width(float_bytes * size, 0.0)})
    start = dict.fromkeys(widths, bits) | dict.fromkeys(left, FLOAT)
    forms.setdefault(HALF, {}).update(left)

    ledger = Ledger(widths, forms, sharing, settings.container)
    room = ledger.alone(start)
    if size_of is None:
        best = ledger.spend(start, room)
    else:

        def file_of(chosen: Mapping[str, int], sharing: Collection[str]) -> int:
            codes = [t for name, b in chosen.items() for t in forms.get(b, {}).get(name, ())]
            return size_of(with_codes(graph, codes, sharing))

        def sized(chosen: Mapping[str, int]) -> float:
            return file_of(chosen, shared) + _GRID * ledger.unlike(chosen) + ledger.unpacked(chosen)

        most = file_of(start, ())
        spend = partial(ledger.spend, start)
        best = largest_within(most, 0.0, room, spend, sized, ledger.error) or start
    return {name: b for name, b in best.items() if b != start[name]}


class Ledger:
    """What layers take in a file, and what they cost the outputs.

    widths: what layers cost, and about take. forms: bits → layer → its weights in codes; a layer that has none of some
    bits is in float with them. sharing: layers whose channels share grids. container: as in `WeightSettings`.
    """

    def __init__(
        self,
        widths: Widths,
        forms: Mapping[int, Mapping[str, Sequence[Tensor]]],
        sharing: Collection[str],
        container: str = "",
    ) -> None:
        coded = {
            (name, b): [t for t in form[name] if t.quant is not None] for b, form in forms.items() for name in form
        }
        self._container = container
        self._widths, self._codes = widths, {at: weights for at, weights in coded.items() if weights}
        self._grids = {at: _grids(weights, at[1], at[0] in sharing) for at, weights in self._codes.items()}

    def alone(self, chosen: Mapping[str, int]) -> float:
        """Bytes of codes with grids of their own, and of floats."""
        return self._places(chosen) + _GRID * sum(rows_of(t) for at in chosen.items() for t in self._codes.get(at, ()))

    def shared(self, chosen: Mapping[str, int]) -> float:
        """Bytes of codes with grids that channels share, and of floats."""
        own = sum(self._grids[at][0] for at in chosen.items() if at in self._grids)
        return self._places(chosen) + _GRID * (own + self._alike(chosen) + self.unlike(chosen))

    def unlike(self, chosen: Mapping[str, int]) -> int:
        """How many grids there may be besides those of the nearest codes."""
        return round(_UNLIKE * self._alike(chosen))

    def unpacked(self, chosen: Mapping[str, int]) -> int:
        """Bytes that the nearest codes do not take, as few of them are there, and others may."""
        codes = [t for at in chosen.items() for t in self._codes.get(at, ())]
        return sum(packed_size(t.value.size, t.qparams.bits) - coded_bytes(t, self._container) for t in codes)

    def error(self, chosen: Mapping[str, int]) -> float:
        """The square of the outputs' mean relative error that is foreseen."""
        return sum(self._widths[name][b].error for name, b in chosen.items())

    def spend(self, start: Mapping[str, int], most: float) -> dict[str, int]:
        """The bits of each layer that take no more than `most` bytes; those of `start` where none are better."""
        best = dict(start)
        low, high = (
            sum(pick(w.bytes for w in found.values()) for found in self._widths.values()) for pick in (min, max)
        )
        for _ in range(_HALVINGS):
            room = (low + high) / 2
            chosen = knapsack(self._widths, room)
            fits = self.shared(chosen) <= most
            low, high = (room, high) if fits else (low, room)
            if fits and self.error(chosen) < self.error(best):
                best = chosen
        return best

    def _places(self, chosen: Mapping[str, int]) -> float:
        size = 0.0
        for name, b in chosen.items():
            codes = self._codes.get((name, b))
            size += self._widths[name][b].bytes if codes is None else sum(map(self._coded, codes))
        return size

    def _coded(self, t: Tensor) -> int:
        """Bytes of codes, and of what says where their grids are."""
        return coded_bytes(t, self._container) + _TABLE + _PLACE * rows_of(t)

    def _alike(self, chosen: Mapping[str, int]) -> int:
        return len(set[Grid]().union(*(self._grids[at][1] for at in chosen.items() if at in self._grids)))


def _grids(weights: Sequence[Tensor], bits: int, shared: bool) -> tuple[int, set[Grid]]:
    """How many grids are the weights' own, and those that others may have, too."""
    own, alike = 0, set[Grid]()
    for t in weights:
        if not shared or bits > SHARED_BITS:
            own += rows_of(t)
            continue
        q = shared_form(t.qparams)
        mean = np.zeros(len(q.scale)) if q.mean_corr is None else q.mean_corr
        zero = np.broadcast_to(q.zero_point, len(q.scale))
        alike |= {(bits, *row) for row in zip(q.scale.tolist(), zero.tolist(), mean.tolist())}
    return own, alike
