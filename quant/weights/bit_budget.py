"""Bits of layers within a number of bytes: those with which the model's outputs are off least.

What a layer costs at each width is measured, on its float input: the energy D(b) that its own outputs are off. What
that does to the model is measured at one width r, with all other layers in float: E(r), the square of the outputs'
mean relative error. Between the two lies the rest of the network, which small errors cross alike: E(b) = E(r) D(b) /
D(r). Errors of layers add up in squares, so the sum of E is what a knapsack over real bytes keeps small.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...converter.errors import Setting, UsageError
from ...converter.ir import Graph, Tensor
from ...converter.numeric.packing import packed_size
from ...converter.numeric.sparse import encoded_size
from ..calibrate.observe import Sample
from ..parallel import Workers
from ..ptq.grid import SHARED_BITS, shared_form
from ..ptq.rounding import shares
from .left_by_gates import forms_by_width, halves
from .weight_quant import FLOAT, HALF, WIDTHS, WeightSettings, named_widths
from .weight_trials import WeightTrials

BITS = (*range(2, 9), 10, 12, 16)
_MOST_ELSEWHERE = 8  # bits in another container than .ms: older readers of such a file know no more
SAMPLES = 8  # that layers are measured on
_MEASURED = 4  # the width at which the outputs are looked at: all formats have it
_TRIES = 8  # of meeting the target by what a file really takes
_NEAR = 64  # bytes that may be left
_HALVINGS = 16
_PARTS = 2048  # of what there is to spend
_HOPELESS = 1e30  # more than any error that can be compared
SHARED_ROW = 6.0  # bytes for a channel's place and its part of a grid, about


@dataclass(frozen=True)
class Width:
    """What a layer takes at a width: bytes of codes, and its share of the outputs' squared error."""

    bytes: float
    error: float


@dataclass(frozen=True)
class BitBudget:
    """Measured layers.

    widths: node name → bits → cost. sized: the file's bytes with these bits, codes as without data.
    """

    widths: dict[str, dict[int, Width]]
    sized: Callable[[Mapping[str, int]], int]

    def choose(self, target: int) -> tuple[dict[str, int], int]:
        """The bits of each layer, and the bytes of a file with them.

        Raises:
            UsageError: a file of the fewest bits is larger.
        """
        least = knapsack(self.widths, 0)
        size = self.sized(least)
        if size > target:
            raise UsageError(
                f"the smallest file has {size:,} bytes, with {min(least.values(), default=2)} bits in every layer that"
                f" the gates let through, and {target:,} are asked for",
                hint=(
                    "a larger one, ",
                    Setting("fp16", True),
                    " for what stays float, or ",
                    Setting("quant_weight_channel", 0),
                    ", which lets more layers through",
                ),
            )
        low = self._bytes(least)
        best = largest_within(target, low, low + target - size, self.within, self.sized, self.error_of)
        return (
            (least, size) if best is None or self.error_of(best) >= self.error_of(least) else (best, self.sized(best))
        )

    @property
    def smallest(self) -> int:
        """Bytes of a file of the fewest bits."""
        return self.sized(knapsack(self.widths, 0))

    @property
    def least(self) -> float:
        """Bytes of weights where they are fewest."""
        return self._bytes(knapsack(self.widths, 0))

    @property
    def most(self) -> float:
        """Bytes of weights where the outputs are off least."""
        return sum(min(ws.values(), key=lambda w: (w.error, w.bytes)).bytes for ws in self.widths.values())

    def within(self, room: float) -> dict[str, int]:
        """The bits of weights of so many bytes."""
        return knapsack(self.widths, room)

    def error_of(self, bits: Mapping[str, int]) -> float:
        """The square of the outputs' mean relative error that is foreseen."""
        return sum(self.widths[name][b].error for name, b in bits.items())

    def room_for(self, error: float) -> float:
        """The bytes of weights from which on no more is foreseen."""
        low, high = self.least, self.most
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.error_of(self.within(middle)) <= error else (middle, high)
        return high

    def _bytes(self, bits: Mapping[str, int]) -> float:
        return sum(self.widths[name][b].bytes for name, b in bits.items())


Track = Callable[[Iterable[tuple[int, str]], str], Iterable[tuple[int, str]]]
Widths = dict[str, dict[int, Width]]
"""Node name → bits → cost."""


def largest_within(
    target: int,
    low: float,
    room: float,
    spend: Callable[[float], dict[str, int]],
    sized: Callable[[dict[str, int]], float],
    error: Callable[[dict[str, int]], float],
) -> dict[str, int] | None:
    """What `spend` gives for as much room as a file of `target` bytes turns out to have, and errs least; None where no
    try fits.

    low: room that is not too much; room: what is tried first. A file takes more or less than its room by an amount that
    differs little from try to try, so that the next room is off by what the last file was, within what is known; files
    that are too large, of the same bits again, are left ever more behind.
    """
    best, high, margin, sizes = None, math.inf, 0.0, dict[tuple[int, ...], float]()
    for _ in range(_TRIES):
        chosen = spend(room)
        at = tuple(chosen.values())
        size = sizes[at] if at in sizes else sizes.setdefault(at, sized(chosen))
        if size <= target:
            low = max(low, room)
            if best is None or error(chosen) < error(best):
                best = chosen
            if target - size < _NEAR:
                break
        else:
            high = min(high, room)
            margin = 2 * margin or room / _PARTS
        room += target - size - margin
        if not low < room < high:
            if high - low < 1 or high == math.inf:
                break
            room = (low + high) / 2
    return best


def knapsack(layers: Mapping[str, Mapping[int, Width]], room: float) -> dict[str, int]:
    """The width of each layer that keeps the sum of errors small, with no more bytes than `room` where the smallest
    widths leave any: the least there is of bytes in whole parts of the room, and what steps still fit. Ties go to what
    comes first."""
    bits = {name: min(widths, key=lambda b: (widths[b].bytes, widths[b].error)) for name, widths in layers.items()}
    spare = room - sum(layers[name][b].bytes for name, b in bits.items())
    if spare > 0:
        bits = _least(layers, bits, spare)
    return _steps(layers, bits, room - sum(layers[name][b].bytes for name, b in bits.items()))


def _least(layers: Mapping[str, Mapping[int, Width]], least: Mapping[str, int], spare: float) -> dict[str, int]:
    """The widths of the least sum of errors with `spare` bytes more than the least ones, each layer's rounded up."""
    total, picked = np.zeros(_PARTS + 1), list[tuple[list[int], np.ndarray, list[int]]]()
    for name, widths in layers.items():
        at = widths[least[name]]
        options = [b for b, w in widths.items() if b == least[name] or w.error < at.error]
        costs = [math.ceil(max(0.0, widths[b].bytes - at.bytes) * _PARTS / spare) for b in options]
        found, which = np.full(_PARTS + 1, np.inf), np.zeros(_PARTS + 1, np.int16)
        for k, (b, cost) in enumerate(zip(options, costs)):
            if cost > _PARTS:
                continue
            tried = total[: _PARTS + 1 - cost] + min(widths[b].error, _HOPELESS)
            better = tried < found[cost:]
            found[cost:][better], which[cost:][better] = tried[better], k
        total = found
        picked.append((options, which, costs))
    bits, left = dict[str, int](), _PARTS
    for name, (options, which, costs) in reversed(list(zip(layers, picked))):
        k = int(which[left])
        bits[name], left = options[k], left - costs[k]
    return {name: bits[name] for name in layers}


def _steps(layers: Mapping[str, Mapping[int, Width]], start: Mapping[str, int], room: float) -> dict[str, int]:
    """From these widths on, the step that takes most off the sum of errors for a byte, as long as one fits."""
    bits = dict(start)
    steps: list[tuple[float, int, str, int]] = []
    order = {name: k for k, name in enumerate(layers)}

    def offer(name: str) -> None:
        widths = layers[name]
        at = widths[bits[name]]
        better = [b for b, w in widths.items() if w.error < at.error and w.bytes - at.bytes <= room]
        if better:
            gain = {b: (at.error - widths[b].error) / max(widths[b].bytes - at.bytes, 1e-9) for b in better}
            best = max(better, key=lambda b: gain[b])
            heapq.heappush(steps, (-gain[best], order[name], name, best))

    for name in layers:
        offer(name)
    while steps:
        _, _, name, b = heapq.heappop(steps)
        more = layers[name][b].bytes - layers[name][bits[name]].bytes
        if more <= room:
            room -= more
            bits[name] = b
        offer(name)
    return bits


def measure(
    graph: Graph,
    samples: Sequence[Sample],
    settings: WeightSettings,
    size_of: Callable[[Graph], int],
    threads: int = 1,
    *,
    float_bytes: int = 4,
    floats: bool = False,
    shared: bool = False,
    track: Track = lambda items, label: items,
    remember: Callable[[Callable[[], Widths]], Widths] = lambda measure: measure(),
) -> BitBudget:
    """Measures each layer that settings.layer_bits does not name; the graph stays as it is.

    size_of: bytes of the file that holds a graph; float_bytes: those of an element that stays float; floats: a layer
    may stay so; shared: channels will share grids of few bits (`ptq/grid`). remember: gives what its argument gives, or
    gave before. What is found does not depend on `threads`.

    Raises:
        UsageError: no output is float. DataError: the float model gives NaN or infinity on the samples.
    """
    held = WIDTHS.get(settings.container)
    allowed = [b for b in BITS if held is None or (b in held and b <= _MOST_ELSEWHERE)]
    forms, small = forms_by_width(graph, settings, allowed), halves(graph, settings)
    fixed = {node.name for node in named_widths(graph, settings)}
    free = {b: {name: form for name, form in forms[b].items() if name not in fixed} for b in allowed}
    named = {name: form for name, form in forms[allowed[0]].items() if name in fixed}
    most = forms[max(allowed)]
    small = {name: form for name, form in small.items() if name not in fixed and float_bytes > 2}
    sharing = {t.name for n in graph.nodes for t in most.get(n.name, ()) if shared and shares(n, t)}

    def sized(bits: Mapping[str, int]) -> int:
        chosen = [free[b][name] for name, b in bits.items() if name in free.get(b, {})]
        chosen += [
            small[name] for name, b in bits.items() if b == HALF and name in small and name not in free.get(b, {})
        ]
        return size_of(with_codes(graph, (t for tensors in (*named.values(), *chosen) for t in tensors), sharing))

    def bytes_of(t: Tensor) -> float:
        each = SHARED_ROW if t.name in sharing and t.qparams.bits <= SHARED_BITS else rows
        return coded_bytes(t, settings.container) + each * rows_of(t)

    names = list(dict.fromkeys(name for form in free.values() for name in form))
    rows = 0.0  # bytes of a file for a channel's scale and what goes with it: of all layers in codes, and of none
    whole = [t for name in names for t in free[max(allowed)].get(name, ())]
    if whole:
        more = sized(dict.fromkeys(names, max(allowed))) - sized({})
        saved = sum(float_bytes * t.value.size - coded_bytes(t, settings.container) for t in whole)
        rows = max(0.0, more + saved) / sum(map(rows_of, whole))
    widths = remember(lambda: measure_layers(graph, samples, free, bytes_of, threads, track))
    for name in dict.fromkeys((*widths, *small)):
        found = widths.setdefault(name, {})
        elements = max(sum(t.value.size for t in form.get(name, ())) for form in (*free.values(), small))
        stays = [b for b in allowed if b not in found]  # where the gates leave it in float
        if name in small and HALF not in found:
            found[HALF] = Width(2 * elements, 0.0)
        elif stays:
            found[stays[-1]] = Width(float_bytes * elements, 0.0)
        if floats:
            found[FLOAT] = Width(float_bytes * elements, 0.0)
    return BitBudget(widths, sized)


def with_codes(graph: Graph, codes: Iterable[Tensor], sharing: Collection[str]) -> Graph:
    """A copy of the graph with these constants for its own, those in `sharing` on grids as channels share them."""
    trial = graph.copy()
    constants = {t.name: t for t in trial.constants()}
    for t in codes:
        quant = shared_form(t.qparams) if t.name in sharing and t.quant is not None else t.quant
        constants[t.name].data, constants[t.name].dtype, constants[t.name].quant = t.data, t.dtype, quant
    return trial


def measure_layers(
    graph: Graph,
    samples: Sequence[Sample],
    forms: Mapping[int, Mapping[str, Sequence[Tensor]]],
    bytes_of: Callable[[Tensor], float],
    threads: int = 1,
    track: Track = lambda items, label: items,
) -> Widths:
    """What each layer costs at the widths that it has.

    forms: bits → node name → its weights in codes. Raises as `measure`.
    """
    trials = WeightTrials(graph, samples, threads)
    names = [(at, n.name) for at, n in enumerate(graph.nodes) if any(n.name in form for form in forms.values())]
    widths: Widths = {}
    with Workers(threads) as workers:
        for at, name in track(names, "measuring layers"):
            there = [b for b, form in forms.items() if name in form]
            trials.begin(workers, at)
            noise = dict(zip(there, trials.layer_noise(workers, at, [forms[b][name] for b in there])))
            middle = min(there, key=lambda b: abs(b - _MEASURED))
            before = trials.put(forms[middle][name])
            felt = trials.error(workers) ** 2
            trials.put(before)
            share = felt / noise[middle] if noise[middle] else 0.0
            widths[name] = {b: Width(sum(map(bytes_of, forms[b][name])), share * noise[b]) for b in there}
    return widths


def coded_bytes(t: Tensor, container: str) -> int:
    """What a weight's codes take in a file."""
    q = t.qparams
    if container:
        return packed_size(t.value.size, q.bits)
    return encoded_size(t.value, q.bits, q.zero_point, q.axis)


def rows_of(t: Tensor) -> int:
    """Channels that have a grid each."""
    return len(t.qparams.scale)
