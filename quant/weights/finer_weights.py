"""More bits, up to 8, for the weights that fewer bits are too few for.

Where outputs of values are less than usable with the bits that all weights were asked to have, each layer is measured
at all widths up to 8 (`bit_budget`), and the knapsack spends what the outputs lack, as far as errors of weights are
foreseen to make it up, within a third more bytes. Outputs of classes, which are mostly the same at far less, are left
to who asks for so few bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...converter.ir import Graph
from ..calibrate.observe import Sample
from ..ptq.fidelity import POOR, Fidelity
from .bit_budget import BitBudget, coded_bytes, measure_layers
from .weight_quant import WIDTHS, WeightSettings, named_widths
from .weight_trials import codes_by_layer

_LEAST = 4  # bits asked for: with fewer the size is what counts
_MOST = 8
_MARGIN = 3.0  # dB more than wanted that a choice is to foresee
_MORE = 1 / 3  # of the bytes of codes, at most


def lacking(settings: WeightSettings, fidelity: Fidelity) -> float:
    """dB that the worst output of values may lack of what is usable, on other samples, too; 0 or less: nothing, or more
    bits are not to be had."""
    if settings.block_size or not _LEAST <= settings.bits < _MOST:
        return 0.0
    return max((POOR - o.sqnr + o.margin for o in fidelity.outputs if o.same_class is None), default=0.0)


def finer_weights(
    graph: Graph, settings: WeightSettings, missing: float, samples: Sequence[Sample], threads: int
) -> dict[str, int]:
    """Node → bits of the weights of a float graph that had better have more than is asked for; what is named keeps its
    bits. missing: dB."""
    widths = [b for b in range(settings.bits, _MOST + 1) if b in WIDTHS.get(settings.container, (b,))]
    forms = {b: codes_by_layer(graph, replace(settings, bits=b, alone=True)) for b in widths}
    named = {node.name for node in named_widths(graph, settings)} | set(settings.chosen)
    free = [name for name in forms[settings.bits] if name not in named]
    measured = measure_layers(
        graph,
        samples,
        {b: {name: form[name] for name in free if name in form} for b, form in forms.items()},
        lambda t: coded_bytes(t, settings.container),
        threads,
    )
    budget = BitBudget(measured, lambda bits: round(sum(measured[name][b].bytes for name, b in bits.items())))
    plain = dict.fromkeys(measured, settings.bits)
    room = budget.room_for(budget.error_of(plain) * 10 ** (-(missing + _MARGIN) / 10))
    bits = budget.within(min(room, budget.sized(plain) * (1 + _MORE)))
    return {name: b for name, b in bits.items() if b != settings.bits}
