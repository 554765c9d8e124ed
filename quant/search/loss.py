"""What a form of a model loses on samples that it was not fitted to, in the unit of the goal.

Few samples say little of rare events: 36 images cannot tell half a point of top-1. So beside what is counted stands
what is expected: each sample's margin (how far the right class is ahead in float) with each sample's change of its
margin, all pairings, as if changes knew nothing of margins. That decides, unless what is counted is worse by more than
its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...converter.errors import Setting, UsageError
from ...converter.ir import Graph
from ..ptq.fidelity import Fidelity, Reference
from ..score import rows_of
from .goal import COSINE, DECIBEL, ERROR, PERCENT, POINTS, MaxDrop, shown

_LEAST_PROBABILITY = 1e-7
Values = Sequence[Sequence[np.ndarray]]  # by sample, by output


@dataclass(frozen=True)
class Loss:
    """value: in the unit. error: its standard error, NaN where it is not known. expected: by margins, NaN where there
    are none. sqnr: of the worst output, dB."""

    value: float
    error: float
    expected: float
    sqnr: float
    unit: str

    def meets(self, limit: MaxDrop) -> bool:
        if math.isnan(self.expected):
            return limit.allows(self.value)
        return limit.allows(self.expected) and limit.allows(self.value - self.error)

    @property
    def cost(self) -> float:
        """What is lost, the smaller the better, and never 0: what forms are ordered and interpolated by."""
        if self.unit == DECIBEL:
            return 10 ** (-min(self.value, 120.0) / 10)
        if self.unit == COSINE:
            return max(1 - self.value, 1e-9)
        return max(self.value if math.isnan(self.expected) else self.expected, 1e-6)

    @property
    def smooth(self) -> bool:
        """Whether small changes of a form are seen in it."""
        return self.unit in (DECIBEL, COSINE, ERROR) or not math.isnan(self.expected)

    def text(self) -> str:
        sure = "" if math.isnan(self.error) else f" ± {self.error:.2g}"
        more = "" if math.isnan(self.expected) else f" ({self.expected:.2g} expected by margins)"
        return shown(self.value, self.unit) + sure + more


class LossJudge:
    """Forms of a graph judged in the unit of a goal.

    held_back: nothing is fitted to the reference's samples.

    Raises:
        UsageError: the unit asks for labels or classes, and there are none.
    """

    def __init__(self, reference: Reference, unit: str, *, held_back: bool) -> None:
        self.reference, self.unit, self.held_back = reference, unit, held_back
        if not reference.outputs:
            raise UsageError("no output of the model is float, so nothing tells what is lost")
        if unit == POINTS and reference.scoring is None:
            raise UsageError(
                "points are of top-1 or of a metric, and there are neither labels nor a metric",
                hint=(Setting("labels", "labels.txt"), ", or 20dB, 1% of classes, 0.99cos, which need none"),
            )
        if unit == PERCENT and not any(reference.classes):
            raise UsageError("no output of the model looks like classes", hint="20dB or 0.99cos")
        self._measure: Callable[[Values], tuple[float, float, float]] = {
            POINTS: self._points,
            PERCENT: self._changed,
            DECIBEL: self._sqnr,
            COSINE: self._cosine,
            ERROR: self._relative,
        }[unit]

    def judge(self, graph: Graph) -> tuple[Loss, Fidelity]:
        """One run of each sample."""
        values = self.reference.values_of(graph)
        fidelity = self.reference.fidelity_of(values, held_back=self.held_back)
        assert fidelity is not None
        values = [[np.nan_to_num(a, nan=0.0, posinf=0.0, neginf=0.0) for a in row] for row in values]
        return Loss(*self._measure(values), fidelity.worst.sqnr, self.unit), fidelity

    def _points(self, values: Values) -> tuple[float, float, float]:
        scoring = self.reference.scoring
        assert scoring is not None
        score = scoring.compare(self.reference.named(self.reference.values), self.reference.named(values))
        if scoring.metric is not None:
            return score.drop, score.error, math.nan
        before, after = (
            [rows_of(outputs, label) for outputs, label in zip(self.reference.named(side), scoring.labels)]
            for side in (self.reference.values, values)
        )
        margin = np.concatenate([_margins(scores, wanted) for wanted, scores in before])
        change = np.concatenate([_margins(scores, wanted) for wanted, scores in after]) - margin
        wrong = _wrong(margin, change)
        return score.drop, score.unit * score.error, 100.0 * float((wrong - (margin <= 0)).mean())

    def _changed(self, values: Values) -> tuple[float, float, float]:
        lost, expected, rows = 0.0, 0.0, 0
        for k, classes in enumerate(self.reference.classes):
            if not classes:
                continue
            before, after = (
                np.concatenate([row[k].reshape(-1, row[k].shape[-1]) for row in side])
                for side in (self.reference.values, values)
            )
            best = before.argmax(1)
            changed = float((after.argmax(1) != best).mean())
            margin = _margins(before, best)
            change = _margins(after, best) - margin
            lost = max(lost, changed)
            expected = max(expected, float(_wrong(margin, change).mean()))
            rows = len(best)
        return 100 * lost, 100 * math.sqrt(lost * (1 - lost) / rows), 100 * expected

    def _sqnr(self, values: Values) -> tuple[float, float, float]:
        return min(o.sqnr for o in self.reference.compare(values)), math.nan, math.nan

    def _cosine(self, values: Values) -> tuple[float, float, float]:
        worst = (1.0, math.nan, math.nan)
        for k in range(len(self.reference.outputs)):
            each = np.array([_cosine(a[k], b[k]) for a, b in zip(self.reference.values, values)])
            if each.mean() <= worst[0]:
                worst = float(each.mean()), _standard_error(each), math.nan
        return worst

    def _relative(self, values: Values) -> tuple[float, float, float]:
        shares = []
        for k in range(len(self.reference.outputs)):
            pairs = [(a[k].astype(np.float64), b[k]) for a, b in zip(self.reference.values, values)]
            size = sum(float(np.abs(a).sum()) for a, _ in pairs)
            shares.append(sum(float(np.abs(a - b).sum()) for a, b in pairs) / (size or 1e-30))
        return float(np.mean(shares)), math.nan, math.nan


def _margins(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How far the wanted class of each row is ahead of the best other; of probabilities in logarithms, in which a
    change of scores is the same wherever they stand."""
    table = scores.astype(np.float64)
    if (table >= 0).all() and (np.abs(table.sum(1) - 1) < 1e-3).all():
        table = np.log(np.maximum(table, _LEAST_PROBABILITY))
    rows = np.arange(len(table))
    own = table[rows, wanted]
    table[rows, wanted] = -np.inf
    return own - table.max(1)


def _wrong(margin: np.ndarray, change: np.ndarray) -> np.ndarray:
    """For each margin the share of the changes that leave nothing of it."""
    return np.searchsorted(np.sort(change), -margin, side="right") / len(change)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm else float(not np.any(x - y))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
