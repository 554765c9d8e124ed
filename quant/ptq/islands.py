"""Islands of float in an int8 graph: the operators and weights that cost the network's outputs more than float costs.

What each tensor's and each weight's codes lose at the outputs, alone, is known (`losses`), and adds up. So a choice is
made without running: whatever gains most for its price in work and bytes goes to float, until the goal is foreseen.
Then a run of that form says what it really loses; where that is more than was foreseen, the next choice aims lower by
as much. Choices are bounded by their number, never by a clock: the same graph and samples give the same islands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...converter.ir import Node
from ...converter.schema.macs import macs

LITTLE = 0.005  # of the work: what float takes of the time is next to nothing, on a CPU with VNNI, too
_ELEMENT = 8.0  # multiplications that computing and writing an element is worth beside its products
_LEAST_PRICE = 0.002  # what is next to nothing is not compared
_GAINED = 0.9  # of the noise, at most, must be left
_CHOICES = 4  # that are run


@dataclass(frozen=True)
class Codes:
    """A tensor or weight in codes. nodes: what must be in float for it not to be. loss: share of each output's energy
    that it costs. size: elements of a weight that is in codes in a float layer, too, unless it is chosen."""

    nodes: frozenset[Node]
    loss: np.ndarray
    size: int = 0


@dataclass(frozen=True)
class Limits:
    """Of the worst output. goal: the noise to come down to. floor: the noise that must be had. share, most: of the
    work, what may be in float for the goal and for the floor; share_of_weights, most_of_weights: of their elements."""

    goal: float
    floor: float
    share: float
    most: float
    share_of_weights: float
    most_of_weights: float


@dataclass(frozen=True)
class Islands:
    """kept: in float. weights: those of them whose weights are not in codes either. before, after: noise. share: of the
    work in float; share_of_weights: of the elements of weights. trials: runs that it took."""

    kept: frozenset[Node] = frozenset()
    weights: frozenset[Node] = frozenset()
    before: float = 0.0
    after: float = 0.0
    share: float = 0.0
    share_of_weights: float = 0.0
    trials: int = 0


NONE = Islands()


def work_of(node: Node) -> float:
    """Multiplications, roughly: of open sizes one is counted."""
    elements = math.prod(d or 1 for d in node.outputs[0].shape or ())
    return macs(node, 1) + _ELEMENT * elements


def find_islands(nodes: Sequence[Node], codes: Sequence[Codes], noise: Callable[[Islands], float], limits: Limits,
                 before: float) -> Islands:  # fmt: skip
    """Chooses among `nodes`. noise: of the worst output with a choice in float; before: with none."""
    choice = _Choice(nodes, codes)
    nothing = replace(NONE, before=before, after=before)
    best, aim = nothing, 1.0
    for trial in range(1, _CHOICES + 1):
        found = choice.made(limits.goal * aim, limits.share, limits.share_of_weights)
        left = choice.foreseen(found)
        if limits.most > limits.share and left > limits.floor * aim:
            found = choice.made(limits.floor * aim, limits.most, limits.most_of_weights)
        goal = limits.goal if left <= limits.goal * aim else limits.floor
        if not found.kept or (found.kept, found.weights) == (best.kept, best.weights):
            break
        after = noise(found)
        best = replace(best, trials=trial)
        if after < best.after:
            best = replace(found, before=before, after=after, trials=trial)
        if after <= goal:
            break
        aim *= min(0.8, max(0.2, goal / after))
    return best if best.after <= _GAINED * before else replace(nothing, trials=best.trials)


def free_islands(nodes: Sequence[Node], codes: Sequence[Codes], limits: Limits, before: float) -> Islands:
    """Where all that may be in float takes next to nothing: what gains most, by what is foreseen alone. Few samples
    would not tell it from what chance makes of one that is undecided. before: noise, as measured; after is foreseen."""
    choice = _Choice(nodes, codes)
    found = choice.made(limits.goal, limits.share, limits.share_of_weights)
    left = choice.foreseen(found) / (choice.foreseen(NONE) or 1.0)
    if left > _GAINED:
        return replace(NONE, before=before, after=before)
    return replace(found, before=before, after=before * left, trials=1)


@dataclass(frozen=True)
class Search:
    """What was found, and what it was found by."""

    nodes: Sequence[Node]
    codes: Sequence[Codes]
    limits: Limits
    islands: Islands

    def further(self, lost: float) -> Islands:
        """Islands for what must be had, where those found have lost more than that on other samples."""
        choice = _Choice(self.nodes, self.codes)
        goal = choice.foreseen(self.islands) * max(0.2, self.limits.floor / lost)
        found = choice.made(goal, self.limits.most, self.limits.most_of_weights)
        return replace(self.islands, kept=found.kept, weights=found.weights, share=found.share,
                       share_of_weights=found.share_of_weights)  # fmt: skip


class _Choice:
    def __init__(self, nodes: Sequence[Node], codes: Sequence[Codes]) -> None:
        self.codes = list(codes)
        self.work: Mapping[Node, float] = {n: work_of(n) for n in nodes}
        self.total = sum(self.work.values()) or 1.0
        self.elements = float(sum(c.size for c in codes)) or 1.0
        self.at: dict[Node, list[int]] = {}
        for k, c in enumerate(self.codes):
            for node in c.nodes:
                self.at.setdefault(node, []).append(k)

    def foreseen(self, islands: Islands) -> float:
        left = [c.loss for c in self.codes
                if not (c.nodes <= islands.kept and (not c.size or c.nodes <= islands.weights))]  # fmt: skip
        return float(np.sum(left, axis=0).max(initial=0.0)) if left else 0.0

    def made(self, goal: float, share: float, share_of_weights: float) -> Islands:
        """What gains most for its price, one after the other, until no output is foreseen to lose more than the goal,
        or nothing more may be in float."""
        kept, weights = set[Node](), set[Node]()
        left, work, size = dict(enumerate(self.codes)), 0.0, 0
        total = sum((c.loss for c in self.codes), np.zeros(1))
        while (total > goal).any():
            best, most = None, 0.0
            for k, c in left.items():
                more = sum(self.work.get(n, 0.0) for n in c.nodes - kept) / self.total
                if work + more > share or (size + c.size) / self.elements > share_of_weights:
                    continue
                freed = self._freed(kept, c.nodes, left, k)
                after = total - sum(self.codes[i].loss for i in freed)
                gain = float((np.maximum(total, goal) - np.maximum(after, goal)).sum())
                price = more / share + c.size / self.elements / share_of_weights + _LEAST_PRICE
                if gain > most * price:
                    best, most = (k, freed, after, more), gain / price
            if best is None:
                break
            k, freed, total, more = best
            kept |= self.codes[k].nodes
            work, size = work + more, size + self.codes[k].size
            weights |= self.codes[k].nodes if self.codes[k].size else set()
            for i in freed:
                del left[i]
        return Islands(frozenset(kept), frozenset(weights), share=work, share_of_weights=size / self.elements)

    def _freed(self, kept: set[Node], nodes: frozenset[Node], left: Mapping[int, Codes], chosen: int) -> list[int]:
        """What is in codes no longer once `nodes` are in float, too."""
        near = dict.fromkeys(i for n in nodes - kept for i in self.at[n])
        now = kept | nodes
        return [chosen, *(i for i in near if i != chosen and i in left and not self.codes[i].size
                          and self.codes[i].nodes <= now)]  # fmt: skip
