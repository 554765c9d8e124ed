"""What codes of each tensor and of each weight cost the outputs, each of them alone in the float graph.

Errors of codes are noise: they add up at an output, so a form's error is foreseen from these alone, also where
everything together has destroyed the output and nothing would be seen of the parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam
from .fidelity import Reference
from .integer_forms import IntegerForms
from .islands import Codes
from .placement import data_inputs, weight_index
from .reruns import Reruns
from .result import Result

_MOST = 2.0  # of an output's energy: what is beyond says no more


@dataclass(frozen=True)
class Rounded:
    """Something in codes: tensors of one scale, or the weight of a node.

    nodes: what must be in float for it not to be. size: of a weight that stays in codes all the same, its elements.
    """

    nodes: frozenset[Node]
    tensors: tuple[Tensor, ...] = ()
    weight: np.ndarray | None = None
    size: int = 0


def measure_losses(forms: IntegerForms, form: Result, judge: Reference, least: float) -> tuple[list[Codes], int]:
    """All that is in codes in a form of the graph, with what it costs each of the judge's tensors; and the runs.

    least: a share of an output's energy; what loses no more together is not told apart.
    """
    codes = form.quantized.quantized_of
    params = {t: q.quant for t, q in codes.items() if q.quant is not None and not t.is_const}
    parts = [*_activations(form, params), *_weights(forms, form)]
    losses, runs = _measured(forms.graph, parts, params, judge, least)
    return [Codes(part.nodes, loss, part.size) for part, loss in zip(parts, losses)], runs


def weight_losses(
    graph: Graph, weights: Mapping[Node, np.ndarray], judge: Reference, least: float
) -> dict[Node, np.ndarray]:
    """What each of other weights, reals by node, costs each of the judge's tensors. least: as above."""
    parts = [Rounded(frozenset([node]), weight=w) for node, w in weights.items()]
    losses, _ = _measured(graph, parts, {}, judge, least)
    return dict(zip(weights, losses))


def costliest(
    losses: Mapping[Node, np.ndarray], sizes: Mapping[Node, int], goal: float, *, left: float, most: float = math.inf
) -> tuple[frozenset[Node], float]:
    """The weights that are to be finer, those first that gain most for their size, until no output is foreseen to lose
    more than `goal`; and what the worst one loses with none.

    left: the share of a loss that a finer weight has. most: elements, at most.
    """
    waiting, total, elements = dict(losses), sum(losses.values(), np.zeros(1)), 0
    before, chosen = float(total.max(initial=0.0)), set[Node]()
    while (total > goal).any():
        gains = {
            node: (np.maximum(total, goal) - np.maximum(total - loss, goal)).sum() / sizes[node]
            for node, loss in waiting.items()
            if elements + sizes[node] <= most
        }
        best = max(gains, key=gains.__getitem__, default=None)
        if best is None or not gains[best] > 0:
            break
        total = total - waiting.pop(best) * (1 - left)
        elements += sizes[best]
        chosen.add(best)
    return frozenset(chosen), before


def _measured(
    graph: Graph, parts: Sequence[Rounded], params: Mapping[Tensor, QuantParam], judge: Reference, least: float
) -> tuple[list[np.ndarray], int]:
    with Reruns(graph, judge.samples, judge.threads) as reruns:

        def lost(parts: Sequence[Rounded]) -> np.ndarray:
            activations = {t: params[t] for part in parts for t in part.tensors}
            weights = {node: part.weight for part in parts if part.weight is not None for node in part.nodes}
            return np.minimum(judge.noise_of(reruns.values(judge.tensors, activations, weights)), _MOST)

        return _told_apart(parts, lost, least)


def _activations(form: Result, params: Mapping[Tensor, QuantParam]) -> list[Rounded]:
    """A layer that only operators in float read gives float: what reads a tensor holds it in codes, and what computes
    it without being a layer."""
    needs: dict[int, set[Node]] = {id(group): set() for group in form.groups.groups}
    makers: dict[int, set[Node]] = {id(group): set() for group in form.groups.groups}
    for node in form.source.nodes:
        if node in form.plan.int8_nodes:
            for t in (node.required(i) for i in data_inputs(node)):
                needs[id(form.groups.of[t])].add(node)
        if node in form.plan.integer:
            group = id(form.groups.of[node.outputs[0]])
            (makers if weight_index(node) is not None else needs)[group].add(node)
    found = []
    for group in form.groups.groups:
        tensors = tuple(t for t in group.members if t in params)
        nodes = needs[id(group)] or makers[id(group)]
        if tensors and nodes:
            found.append(Rounded(frozenset(nodes), tensors))
    return found


def _weights(forms: IntegerForms, form: Result) -> list[Rounded]:
    settings = forms.settings
    return [
        Rounded(frozenset([node]), weight=w, size=w.size if settings.float_weights is not None else 0)
        for node, w in forms.weights.rounded(form.source, form.plan.int8_nodes).items()
    ]


def _told_apart(
    parts: Sequence[Rounded], lost: Callable[[Sequence[Rounded]], np.ndarray], least: float
) -> tuple[list[np.ndarray], int]:
    """The loss by each of the parts; stretches that lose next to nothing share it evenly."""
    losses: list[np.ndarray] = [np.zeros(0)] * len(parts)
    waiting, runs = [range(len(parts))] if parts else [], 0
    while waiting:
        stretch = waiting.pop()
        loss, runs = lost([parts[k] for k in stretch]), runs + 1
        if len(stretch) == 1 or loss.max(initial=0.0) <= least:
            for k in stretch:
                losses[k] = loss / len(stretch)
        else:
            half = len(stretch) // 2
            waiting += [stretch[half:], stretch[:half]]
    return losses, runs
