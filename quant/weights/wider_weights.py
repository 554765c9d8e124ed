"""Weights that 8 bits are too few for: channels whose largest weights leave the others hardly a code.

What each weight's codes, alone in the float graph, cost the outputs adds up (`ptq/losses`). Those that cost most for
their size have 16 bits, until the outputs are foreseen to be good.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...converter.ir import Graph
from ..calibrate.observe import Sample
from ..ptq.fidelity import GOOD, Reference, scores_of
from ..ptq.losses import costliest, weight_losses
from ..ptq.placement import weight_index
from .weight_quant import WIDTHS, WeightSettings, quantize_graph_weights

BITS = 16
_GOAL = 10 ** (-(GOOD + 3) / 10)  # of an output's energy
_SHARE = 0.2  # of the elements of weights, at most


def may_be_wider(settings: WeightSettings) -> bool:
    """Whether weights have 8 bits, and the file could hold more."""
    return settings.bits == 8 and BITS in WIDTHS.get(settings.container, (BITS,)) and not settings.block_size


def wider_weights(graph: Graph, settings: WeightSettings, samples: Sequence[Sample], threads: int) -> dict[str, int]:
    """Node → bits of the weights of a float graph that had better have more than 8; what is named keeps its bits."""
    trial = graph.copy()
    quantize_graph_weights(trial, settings)
    weights, elements = {}, 0
    for node, coded in zip(graph.nodes, trial.nodes):
        index = weight_index(node)
        w = None if index is None else coded.required(index)
        if w is None or w.quant is None:
            continue
        elements += w.value.size
        if w.quant.bits == settings.bits and node.name not in settings.chosen:
            weights[node] = w.real()
    judge = Reference(graph, samples, threads, scores_of(graph))
    losses = weight_losses(graph, weights, judge, 0.02 * _GOAL)
    sizes = {node: w.size for node, w in weights.items()}
    chosen, _ = costliest(losses, sizes, _GOAL, left=0.0, most=_SHARE * elements)
    return {node.name: BITS for node in graph.nodes if node in chosen}
