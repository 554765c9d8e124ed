"""More bits, up to 8, for the weights that fewer bits are too few for.

Where outputs of values are less than usable with the bits that all weights were asked to have, what each layer's codes
alone cost every output is measured at 6 bits, where errors are small enough to add up, which they do not at 4. A bit
more is a quarter of that energy, so the costs of all widths follow. The bits that take most off what outputs lack for
their bytes are spent first, within a third more bytes. Codes are taken to be the nearest ones: what rounding by the
outputs brings on top is for samples that are unlike those seen. Outputs of classes, which are mostly the same at far
less, are left to who asks for so few bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...converter.ir import Graph
from ..calibrate.observe import Sample
from ..parallel import Workers
from ..ptq.fidelity import POOR, Fidelity, scores_of
from .weight_quant import WIDTHS, WeightSettings, named_widths
from .weight_trials import WeightTrials, codes_by_layer

_LEAST = 4  # bits asked for: with fewer the size is what counts
_MOST = 8
_MEASURED = 6  # bits, or the nearest that the file holds
_MARGIN = 3.0  # dB more than usable that outputs are to be foreseen to have
_MORE = 1 / 3  # of the bytes of codes, at most


def lacking(settings: WeightSettings, fidelity: Fidelity) -> float:
    """dB that the worst output of values may lack of what is usable, on other samples, too; 0 or less: nothing, or more
    bits are not to be had."""
    if settings.block_size or not _LEAST <= settings.bits < _MOST:
        return 0.0
    return max((POOR - o.sqnr + o.margin for o in fidelity.outputs if o.same_class is None), default=0.0)


def finer_weights(graph: Graph, settings: WeightSettings, samples: Sequence[Sample], threads: int) -> dict[str, int]:
    """Node → bits of the weights of a float graph that had better have more than is asked for; what is named keeps its
    bits."""
    widths = [b for b in range(settings.bits + 1, _MOST + 1) if b in WIDTHS.get(settings.container, (b,))]
    measured = min(widths, key=lambda b: abs(b - _MEASURED))
    forms = codes_by_layer(graph, replace(settings, bits=measured, alone=True))
    named = {node.name for node in named_widths(graph, settings)} | set(settings.chosen)
    trials = WeightTrials(graph, samples, threads, scores_of(graph).values())
    names, losses = list[str](), list[np.ndarray]()
    with Workers(threads) as workers:
        for at, node in enumerate(graph.nodes):
            if node.name in forms and node.name not in named:
                trials.begin(workers, at)
                before = trials.put(forms[node.name])
                names.append(node.name)
                losses.append(trials.noise(workers))
                trials.put(before)
    sizes = np.array([sum(t.value.size for t in forms[name]) for name in names], np.int64)
    bits = spend(np.array(losses), sizes, settings.bits, measured, widths, 10 ** (-(POOR + _MARGIN) / 10))
    return {name: b for name, b in zip(names, bits.tolist()) if b != settings.bits}


def spend(
    losses: np.ndarray, sizes: np.ndarray, start: int, measured: int, widths: Sequence[int], goal: float
) -> np.ndarray:
    """The bits of each layer, int [layers], until no output is foreseen to lose more than `goal`, or a third more bytes
    are spent.

    losses: shares of outputs' energies with a layer in `measured` bits, float64 [layers, outputs]. sizes: elements of
    layers. start: the bits that all begin with; widths: those that a layer may have instead.
    """
    bits = np.full(len(sizes), start)
    room = int(sizes.sum()) * start * _MORE
    total = (losses * 4.0 ** (measured - start)).sum(axis=0)
    while len(sizes) and (total > goal).any():
        best, gain = None, 0.0
        for b in widths:
            less = losses * (4.0 ** (measured - bits) - 4.0 ** (measured - b))[:, None]
            more = sizes * (b - bits)
            gains = (np.maximum(total, goal) - np.maximum(total - less, goal)).sum(axis=1) / np.maximum(more, 1)
            gains[(more <= 0) | (more > room)] = 0.0
            k = int(gains.argmax())
            if gains[k] > gain:
                best, gain = (k, b, less[k]), float(gains[k])
        if best is None:
            break
        k, b, less = best
        room -= int(sizes[k]) * (b - int(bits[k]))
        bits[k], total = b, total - less
    return bits
