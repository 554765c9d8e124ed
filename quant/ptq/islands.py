"""Islands of float in an int8 graph: the operators that cost the network's outputs more than float costs time.

Every figure is a whole run on samples: the share of the worst output's energy that is lost with certain operators in
float. Errors of operators add up like noise as long as they are small; where one has destroyed an output, nothing is
seen of the others. So there are two steps:

* `faults`, from the last operator to the first: a stretch joins the int8 ones behind it unless it takes a tenth of
  the output's energy; then its halves are looked at, and a single operator that does stays in float.
* `improve`: the stretches whose return to float gives most, halved as long as trials are left, and of those the ones
  that give most for their work, until the goal is met.

Trials are bounded by their number, never by a clock: the same graph and samples give the same islands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...converter.ir import Node
from ...converter.schema.op import quant_spec
from .placement import weight_index

FAULT = 0.1  # of an output's energy
_ELEMENT = 8.0  # multiplications that an element of an operator without a weight is worth
_LEAST_GAIN = 0.03  # of what is to be gained
_APART = 0.6  # of a stretch's gain: what halves that do not depend on each other gain
_NEARLY = 0.9
_GAINED = 0.9  # of the noise, at most, must be left
_CHEAP = 0.03  # of the work: where that does, nothing finer is looked for

Piece = tuple[float, list[Node]]  # what a stretch of operators gains in float
Noise = Callable[[frozenset[Node]], float]


@dataclass(frozen=True)
class Limits:
    """goal: the noise to come down to. floor: the noise that must be had. share: of the work, what may be in float for
    the goal; most: for the floor. trials: runs."""

    goal: float
    floor: float
    share: float
    most: float
    trials: int


@dataclass(frozen=True)
class Islands:
    """kept: in float. before, after: noise. share: of the work in float. trials: runs that it took."""

    kept: frozenset[Node]
    before: float
    after: float
    share: float
    trials: int


def work_of(node: Node) -> float:
    """Multiplications, roughly: of open sizes one is counted."""
    shape = node.outputs[0].shape or ()
    elements = float(np.prod([d or 1 for d in shape]))
    index = weight_index(node)
    w = node.inputs[index] if index is not None else None
    if w is None or w.data is None:
        return _ELEMENT * elements
    axis = quant_spec(node).channel_axis(node)
    return elements * (w.data.size / (w.data.shape[axis] if axis is not None else 1) + _ELEMENT)


def find_islands(nodes: Sequence[Node], noise: Noise, limits: Limits) -> Islands:
    """Looks for islands among `nodes`, in graph order. noise: of the graph with these nodes in float, in [0, inf]."""
    search = _Search(nodes, noise, limits)
    before = search.noise(frozenset())
    kept = search.faults() if before > FAULT else frozenset[Node]()
    while search.noise(kept) > (limits.goal if search.share(kept) < limits.share else limits.floor):
        better = search.improve(kept)
        if better == kept:
            break
        kept = better
    return Islands(kept, before, search.noise(kept), search.share(kept), search.trials)


class _Search:
    def __init__(self, nodes: Sequence[Node], noise: Noise, limits: Limits) -> None:
        self.nodes, self._noise, self.limits, self.trials = list(nodes), noise, limits, 0
        self.work: Mapping[Node, float] = {n: work_of(n) for n in nodes}
        self.total = sum(self.work.values())
        self._known: dict[frozenset[Node], float] = {}

    def noise(self, kept: frozenset[Node]) -> float:
        if kept not in self._known:
            self.trials += 1
            self._known[kept] = self._noise(kept)
        return self._known[kept]

    def share(self, kept: frozenset[Node]) -> float:
        return sum(self.work[n] for n in self.nodes if n in kept) / self.total

    @property
    def left(self) -> bool:
        return self.trials < self.limits.trials

    def faults(self) -> frozenset[Node]:
        kept, now = frozenset(self.nodes), 0.0
        waiting = [self.nodes]
        while waiting and self.left:
            stretch = waiting.pop()
            trial = kept - set(stretch)
            after = self.noise(trial)
            if after - now <= FAULT:
                kept, now = trial, after
            elif len(stretch) > 1:
                half = len(stretch) // 2
                waiting += [stretch[:half], stretch[half:]]
        return kept

    def improve(self, kept: frozenset[Node]) -> frozenset[Node]:
        """More of the nodes in float, by as little work as the limits' goal or floor lets be; the same where a run does
        not confirm that something is gained."""
        limits, now = self.limits, self.noise(kept)
        pieces = self._pieces(kept)
        for goal, share in ((limits.goal, limits.share), (limits.floor, limits.most)):
            chosen, _ = self._choose(kept, pieces, goal, share)
            last = share >= limits.most
            if chosen != kept and self.noise(chosen) <= (_GAINED * now if last else min(limits.floor, _GAINED * now)):
                return chosen
        chosen, _ = self._choose(kept, pieces, limits.goal, limits.share)
        return chosen if chosen != kept and self.noise(chosen) <= _GAINED * now else kept

    def _pieces(self, kept: frozenset[Node]) -> list[Piece]:
        goal = self.limits.goal
        now = self.noise(kept)
        least = _LEAST_GAIN * (now - goal)
        most = self.trials + (self.limits.trials - self.trials) * 2 // 3
        pieces: list[Piece] = []
        waiting: list[Piece] = [(now, [n for n in self.nodes if n not in kept])]
        while waiting:
            gain, stretch = waiting.pop(max(range(len(waiting)), key=lambda k: (waiting[k][0], k)))
            here = [*pieces, *waiting, (gain, stretch)]
            enough = self._choose(kept, here, goal, _CHEAP)[1] <= goal
            if enough or not self.left or self.trials >= most:
                pieces = here
                break
            if len(stretch) == 1:
                pieces.append((gain, stretch))
                continue
            half = len(stretch) // 2
            parts = [(now - self.noise(kept | set(part)), part) for part in (stretch[:half], stretch[half:])]
            if sum(max(gained, 0.0) for gained, _ in parts) >= _APART * gain:
                waiting += [piece for piece in parts if piece[0] > least]
            else:
                pieces.append(self._trimmed(kept, (gain, stretch)))
        return pieces

    def _trimmed(self, kept: frozenset[Node], piece: Piece) -> Piece:
        """The stretch without what it gains next to nothing by, on either side: operators in a row that each lose the
        same, as those between the parts of a normalization, gain only together."""
        (gain, part), now = piece, self.noise(kept)
        step = len(part) // 2
        while step and self.left:
            for cut in (part[step:], part[:-step]):
                if cut and (gained := now - self.noise(kept | set(cut))) >= _NEARLY * gain:
                    gain, part = gained, cut
                    break
            else:
                step //= 2
        return gain, part

    def _choose(
        self, kept: frozenset[Node], pieces: list[Piece], goal: float, share: float
    ) -> tuple[frozenset[Node], float]:
        """`kept` and the pieces that gain most for their work, and the noise that this should leave."""
        foreseen, chosen = self.noise(kept), kept
        least = 0.002 * self.total  # what is next to nothing is not compared
        for gain, part in sorted(pieces, key=lambda p: -p[0] / (sum(self.work[n] for n in p[1]) + least)):
            if foreseen <= 0.8 * goal:
                break
            if self.share(chosen | set(part)) <= share:
                chosen, foreseen = chosen | set(part), foreseen - gain
        return chosen, foreseen
