"""What codes of each tensor and of each weight cost the outputs, each of them alone in the float graph.

Errors of codes are noise: they add up at an output, so a form's error is foreseen from these alone, also where
everything together has destroyed the output and nothing would be seen of the parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam, dequantize
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


class FormLosses:
    """What the codes of a form of the graph cost each of the judge's tensors: each tensor's and weight's alone, and
    those of other forms with the same ranges. To be closed, as a context.

    Weights are those that were found for the form, which lose a tenth of what the nearest codes do, and biases go with
    them where they are corrected.
    """

    def __init__(self, forms: IntegerForms, form: Result, judge: Reference) -> None:
        self.form, self.judge, self.runs = form, judge, 0
        layers = form.quantized.weighted_layers
        self._weights = {n: dequantize(layer.weight.value, layer.weight.qparams) for n, layer in layers.items()}
        self._stored = forms.settings.float_weights is not None
        steady = forms.settings.bias_correction != "off"
        self._reruns = Reruns(forms.graph, judge.samples, judge.threads, self._weights, steady=steady)

    def __enter__(self) -> FormLosses:
        return self

    def __exit__(self, *error: object) -> None:
        self._reruns.__exit__(*error)

    def codes(self, least: float) -> list[Codes]:
        """All that is in codes, with its loss. least: a share of an output's energy; what loses no more together is not
        told apart."""
        params = _codes_of(self.form)
        parts = [*_activations(self.form, params), *(self._weight(n, w) for n, w in self._weights.items())]
        losses, runs = _measured(self._reruns, parts, params, self.judge, least)
        self.runs += runs
        return [Codes(part.nodes, loss, part.size) for part, loss in zip(parts, losses)]

    def noise(self, other: Result, weights: Collection[Node]) -> np.ndarray:
        """What another form loses. weights: layers that the form has in float and whose weights are not codes."""
        stored = other.quantized.node if self._stored else ()
        layers = [n for n in self._weights if n in other.plan.int8_nodes or (n in stored and n not in weights)]
        self.runs += 1
        values = self._reruns.values(self.judge.tensors, _codes_of(other), layers, other.plan)
        return self.judge.noise_of(values)

    def _weight(self, node: Node, w: np.ndarray) -> Rounded:
        return Rounded(frozenset([node]), weight=w, size=w.size if self._stored else 0)


def _codes_of(form: Result) -> dict[Tensor, QuantParam]:
    codes = form.quantized.quantized_of
    return {t: q.quant for t, q in codes.items() if q.quant is not None and not t.is_const}


def weight_losses(
    graph: Graph, weights: Mapping[Node, np.ndarray], judge: Reference, least: float
) -> dict[Node, np.ndarray]:
    """What each of other weights, reals by node, costs each of the judge's tensors. least: as above."""
    parts = [Rounded(frozenset([node]), weight=w) for node, w in weights.items()]
    with Reruns(graph, judge.samples, judge.threads, weights) as reruns:
        losses, _ = _measured(reruns, parts, {}, judge, least)
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
    reruns: Reruns, parts: Sequence[Rounded], params: Mapping[Tensor, QuantParam], judge: Reference, least: float
) -> tuple[list[np.ndarray], int]:
    def lost(parts: Sequence[Rounded]) -> np.ndarray:
        activations = {t: params[t] for part in parts for t in part.tensors}
        layers = [node for part in parts if part.weight is not None for node in part.nodes]
        return np.minimum(judge.noise_of(reruns.values(judge.tensors, activations, layers)), _MOST)

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
