"""8 bits for the few weights that cost the outputs most where all are asked to have fewer.

What each layer's codes, alone in the float graph, cost the outputs is measured at 6 bits, where errors are small enough
to add up, which they do not at 4. Those that cost most for their elements have 8 bits, within the share that the
smallest layers have otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...converter.ir import Node
from ...converter.numeric.qparams import dequantize, quantize
from ...converter.schema.op import quant_spec
from ..weights.symmetric_weights import symmetric
from .fidelity import GOOD, Reference, scores_of, spread
from .integer_forms import IntegerForms
from .losses import weight_losses
from .placement import weight_index
from .reruns import kept_samples
from .settings import Samples
from .weight_codes import finest, has_few

_MEASURED = 6  # bits
_LEAST = 1e-5  # of an output's energy: what loses no more together is not told apart
_ROUNDED = 0.1  # of what the nearest codes lose, about, is left by those that keep each layer's output
_SAMPLES = 4, 8


def with_fine_weights(forms: IntegerForms, samples: Samples) -> IntegerForms:
    """The forms with those weights finer that cost most, of all whose bits nothing else says; as they are where outputs
    are foreseen to be good."""
    settings, plan = forms.settings, forms.placement()
    weights: dict[Node, np.ndarray] = {}
    sizes: dict[Node, int] = {}
    for node in forms.graph.nodes:
        index = weight_index(node) if node in plan.int8_nodes else None
        if index is None or node in settings.layer_bits:
            continue
        w, axis = node.required(index).value, quant_spec(node).channel_axis(node) if settings.per_channel else None
        sizes[node] = w.size
        if not has_few(w, axis):
            quant = symmetric(w, axis, _MEASURED)
            weights[node] = dequantize(quantize(w, quant, np.int8, narrow=True), quant)
    if not weights:
        return forms
    picked = list(samples.only(spread(len(samples), kept_samples(forms.graph, *_SAMPLES))))
    judge = Reference(forms.graph, picked, settings.threads, scores_of(forms.graph))
    losses = weight_losses(forms.graph, weights, judge, _LEAST)
    total = sum(losses.values(), np.zeros(1)).max(initial=0.0) * 4.0 ** (_MEASURED - settings.bits)
    if _ROUNDED * total <= 10 ** (-GOOD / 10):
        return forms
    gains = {node: float(loss.max(initial=0.0)) / max(sizes[node], 1) for node, loss in losses.items()}
    fine = finest(sizes, sorted(gains, key=gains.__getitem__, reverse=True))
    return IntegerForms(forms.graph, samples, replace(settings, fine=fine), forms.statistics)
