"""Whole runs of forms of a graph, to choose what is in float where the outputs ask for it.

A layer's own error says how much is lost there, not what that does to the outputs, which a few operators may carry all
of. So islands of float are chosen (`islands`) by what each tensor's codes lose at the outputs (`losses`), and at the
scores in front of a last Softmax or Sigmoid: where outputs are at the end of their range, those show what these do not.
A few undecided samples carry most of such an output's error, and a trial has few of them: what it finds has to hold on
more (`improves`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .fidelity import GOOD, POOR, Fidelity, Output, Reference, scores_of, spread
from .integer_forms import IntegerForms
from .islands import LITTLE, NONE, Islands, Limits, Search, find_islands, free_islands, work_of
from .losses import FormLosses
from .reruns import kept_samples
from .result import Result
from .settings import Samples

GOOD_OF_16_BITS = 40.0  # dB that outputs should have where activations have 16 bits, and weights as they need
_GOOD_CLASSES = 25.0  # dB at which nearly all classes are the same
_ROOM = 5.0  # dB above poor that calibration samples should have, for others may have as much less
_LEAST_SAMPLES, _MOST_SAMPLES, _WORK = 6, 16, 3e11  # samples of a trial: so many multiplications of all, roughly
_LEAST_LOSS = 0.02  # of the noise to come down to
_FEW_WEIGHTS, _MOST_WEIGHTS = 0.05, 0.2  # of their elements, may keep 16 bits
_SMALL = 1e8  # multiplications of a network that is quickly tried
_TINY = 1e6  # multiplications of which half may be in float: next to nothing
_FREE = 1e7  # multiplications that may be in float whatever their share: a millisecond or less
_LEAST_GAIN = 0.75  # dB
_SURE = 1.5  # standard errors of the difference of two shares of lost classes, at most


def choose_islands(forms: IntegerForms, samples: Samples, first: Result) -> Search | None:
    """What had better be in float; None where AUTO is not to choose or the outputs are what they should be."""
    graph, settings, fidelity = forms.graph, forms.settings, first.fidelity
    widths = {settings.bits, *settings.layer_bits.values()}
    if fidelity is None or "AUTO" not in settings.methods or min(widths) < 8:
        return None
    nodes = [n for n in graph.nodes if n in first.plan.int8_nodes]
    total = sum(map(work_of, nodes))
    poor = fidelity.worst.sqnr < POOR
    good = all(o.same_class is not None and o.sqnr >= _GOOD_CLASSES for o in fidelity.outputs)
    wide = settings.wide_weights and fidelity.worst.sqnr < GOOD_OF_16_BITS
    free = good and not wide
    unsure = free and total < _SMALL and any(o.sqnr - o.margin < GOOD for o in fidelity.outputs)
    if not nodes or not (wide or unsure or lacking(fidelity, total)):
        return None
    limits = Limits(
        goal=10 ** (-(GOOD_OF_16_BITS if free else GOOD_OF_16_BITS + 4 if wide else GOOD + 2) / 10),
        floor=10 ** (-(POOR + _ROOM) / 10),
        share=LITTLE if free else max(0.1, min(0.5, _TINY / max(total, 1))),
        most=max(0.5, min(1.0, _FREE / max(total, 1))) if poor else 0.0,
        share_of_weights=_FEW_WEIGHTS,
        most_of_weights=_MOST_WEIGHTS,
    )
    return islands_within(forms, samples, first, limits)


def islands_within(forms: IntegerForms, samples: Samples, first: Result, limits: Limits) -> Search:
    """What had better be in float by these limits. first: the form with nothing in float by choice."""
    graph, settings = forms.graph, forms.settings
    nodes = [n for n in graph.nodes if n in first.plan.int8_nodes]
    total = sum(map(work_of, nodes))
    most = min(_MOST_SAMPLES, max(_LEAST_SAMPLES, int(_WORK / max(total * len(nodes), 1))))
    count = kept_samples(graph, _LEAST_SAMPLES, most)
    judge = Reference(graph, list(samples.only(spread(len(samples), count))), settings.threads, scores_of(graph))
    known = methods_of(first)

    with FormLosses(forms, first, judge) as losses:

        def noise(choice: Islands) -> float:
            plan = forms.placement(choice.kept)
            if not forms.covered(plan):
                return math.inf
            return float(losses.noise(forms.form(plan, known), choice.weights).max(initial=0.0))

        codes = losses.codes(_LEAST_LOSS * limits.goal)
        before = noise(NONE)
        islands = (
            free_islands(nodes, codes, limits, before)
            if limits.most <= limits.share <= LITTLE
            else find_islands(nodes, codes, noise, limits, before)
        )
        return Search(nodes, codes, limits, replace(islands, trials=losses.runs))


def lacking(fidelity: Fidelity, work: float) -> bool:
    """Whether outputs are less than they should be.

    At 20 dB classes are mostly the same; of other outputs, and where looking costs little, the figures are wanted.
    work: multiplications of the network.
    """
    return any(o.sqnr < (GOOD if o.same_class is None or work < _SMALL else POOR) for o in fidelity.outputs)


def methods_of(result: Result) -> dict[str, str]:
    """Tensor → the method of its range."""
    return {t.name: result.methods[g.name] for t, g in result.groups.of.items()}


def improves(new: Sequence[Output], old: Sequence[Output], rows: int, share: float = 1.0) -> bool:
    """Whether outputs are better on the same `rows` samples: classes first, as far as so few can tell, then SQNR, by as
    much as is worth the share of the work that is in float."""
    for a, b in zip(new, old):
        if a.same_class is not None and b.same_class is not None:
            lost, before = 1 - a.same_class, 1 - b.same_class
            if abs(lost - before) > _SURE * math.sqrt((lost + before) / rows):
                return lost < before
    least = _LEAST_GAIN if share > LITTLE else 0.0
    return min(o.sqnr for o in new) >= min(o.sqnr for o in old) + least
