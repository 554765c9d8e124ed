"""More than 8 bits for the weights that limit a graph whose activations have 16.

What each weight's codes of 8 bits, alone in the float graph, cost the outputs adds up (`losses`). Those that cost most
for their size get WIDE_BITS, until all together are foreseen to cost no more than the goal; layers that compute in
float have their weights in float16 instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...converter.ir import Node
from ...converter.numeric.qparams import dequantize, quantize
from ...converter.schema.op import quant_spec
from ..weights.symmetric_weights import symmetric
from .fidelity import Reference, scores_of, spread
from .integer_forms import IntegerForms
from .losses import costliest, weight_losses
from .placement import weight_index
from .reruns import kept_samples
from .settings import Samples
from .weight_codes import WIDE_BITS, WideWeights

_STEPS = 1 << (WIDE_BITS - 8)  # of a code of WIDE_BITS in one of 8
_GOAL = 10**-4.6  # of an output's energy, 46 dB
_LEAST = 0.02 * _GOAL  # what loses no more together is not told apart
_SAMPLES = 4, 8


def widened(forms: IntegerForms, samples: Samples) -> tuple[IntegerForms, WideWeights]:
    """The forms with the weights that limit the outputs wider than 8 bits, where no bits are asked for; and which."""
    settings, plan = forms.settings, forms.placement()
    free = [n for n in forms.graph.nodes if n not in settings.kept and n not in settings.layer_bits]
    nodes = [n for n in free if n in plan.wide and weight_index(n) is not None]
    stored = [n for n in free if n not in plan.int8_nodes] if settings.float_weights is not None else []
    count = kept_samples(forms.graph, *_SAMPLES)
    picked = list(samples.only(spread(len(samples), count)))
    judge = Reference(forms.graph, picked, settings.threads, scores_of(forms.graph))
    weights = forms.weights.rounded(forms.graph, nodes) | _stored(stored)
    losses, sizes = weight_losses(forms.graph, weights, judge, _LEAST), {n: w.size for n, w in weights.items()}
    chosen, before = costliest(losses, sizes, _GOAL, left=_STEPS**-2)
    codes, elements = chosen & plan.wide, sum(sizes[n] for n in chosen)
    found = WideWeights(codes, chosen - codes, len(losses), elements, before)
    bits = {**settings.layer_bits, **dict.fromkeys((n for n in nodes if n in codes), WIDE_BITS)}
    other = replace(settings, layer_bits=bits, float16_weights=found.reals)
    return IntegerForms(forms.graph, samples, other, forms.statistics), found


def _stored(nodes: Sequence[Node]) -> dict[Node, np.ndarray]:
    """The reals that codes of 8 bits of the one weight of nodes in float stand for."""
    found: dict[Node, np.ndarray] = {}
    for node in nodes:
        cell, index = quant_spec(node), weight_index(node)
        if index is None and cell.weights == (0,):
            index = 0  # a table of which rows are taken
        w = None if index is None else node.required(index)
        if w is None or w.data is None or w.dtype != np.float32 or w.data.ndim < 2:
            continue
        quant = symmetric(w.data, cell.channel_axis(node), 8)
        found[node] = dequantize(quantize(w.data, quant, narrow=True), quant)
    return found
