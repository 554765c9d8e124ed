"""What a form of a model loses on samples that it was not fitted to, in the unit of the goal.

Few samples say little of rare events: 36 images cannot tell half a point of top-1. So beside what is counted stands
what is expected: each sample's margin (how far the right class is ahead in float) with each sample's change of its
margin, all pairings, as if changes knew nothing of margins. That decides, with its standard error on top, unless what
is counted is worse by more than its own. Margins are those of the float model alone, so samples that forms are fitted
to have some, too: more of them leave less open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...converter.errors import Setting, UsageError
from ...converter.ir import Graph
from ..ptq.fidelity import Fidelity, Reference
from ..score import Scoring, rows_of
from .goal import COSINE, DECIBEL, ERROR, PERCENT, POINTS, MaxDrop, shown

_LEAST_PROBABILITY = 1e-7
_NO_MARGINS = (math.nan, 0.0)
Values = Sequence[Sequence[np.ndarray]]  # by sample, by output
Measured = tuple[float, float, tuple[float, float]]
"""A value, its standard error, and what margins expect with the standard error of that."""


@dataclass(frozen=True)
class Loss:
    """value: in the unit. error: its standard error, NaN where it is not known. expected: by margins, NaN where there
    are none; doubt: its standard error. sqnr: of the worst output, dB."""

    value: float
    error: float
    expected: float
    sqnr: float
    unit: str
    doubt: float = 0.0

    def meets(self, limit: MaxDrop) -> bool:
        if math.isnan(self.expected):
            return limit.allows(self.value)
        return limit.allows(self.expected + self.doubt) and limit.allows(self.value - self.error)

    def more_samples(self, limit: MaxDrop) -> float | None:
        """How many times as many samples would tell that the limit is kept, where it is by what margins expect and only
        their standard error is in the way; else None."""
        gap = limit.value - self.expected
        if math.isnan(gap) or gap <= 0 or self.doubt <= gap or not limit.allows(self.value - self.error):
            return None
        return (self.doubt / gap) ** 2

    @property
    def cost(self) -> float:
        """What is lost, the smaller the better, and never 0: what forms are ordered and interpolated by."""
        if self.unit == DECIBEL:
            return 10 ** (-min(self.value, 120.0) / 10)
        if self.unit == COSINE:
            return max(1 - self.value, 1e-9)
        return max(self.value if math.isnan(self.expected) else self.expected + self.doubt, 1e-6)

    @property
    def smooth(self) -> bool:
        """Whether small changes of a form are seen in it."""
        return self.unit in (DECIBEL, COSINE, ERROR) or not math.isnan(self.expected)

    def text(self) -> str:
        sure = "" if math.isnan(self.error) else f" ± {self.error:.2g}"
        more = "" if math.isnan(self.expected) else f" ({self.expected:.2g} ± {self.doubt:.2g} expected by margins)"
        return shown(self.value, self.unit) + sure + more


class LossJudge:
    """Forms of a graph judged in the unit of a goal.

    held_back: nothing is fitted to the reference's samples. others: the same graph on more samples, for their margins.

    Raises:
        UsageError: the unit asks for labels or classes, and there are none.
    """

    def __init__(self, reference: Reference, unit: str, *, held_back: bool, others: Reference | None = None) -> None:
        self.reference, self.unit, self.held_back = reference, unit, held_back
        if not reference.outputs:
            raise UsageError("no output of the model is float, so nothing tells what is lost")
        scoring = reference.scoring
        if unit == POINTS and scoring is None:
            raise UsageError(
                "points are of top-1 or of a metric, and there are neither labels nor a metric",
                hint=(Setting("labels", "labels.txt"), ", or 20dB, 1% of classes, 0.99cos, which need none"),
            )
        if unit == PERCENT and not any(reference.classes):
            raise UsageError("no output of the model looks like classes", hint="20dB or 0.99cos")
        known = [reference] if others is None else [reference, others]
        self._places = [k for k, classes in enumerate(reference.classes) if classes]
        self._margins = [np.concatenate(m) for m in zip(*(self._in_float(one) for one in known))]
        self._measure: Callable[[Values], Measured] = (
            partial(self._points, scoring)
            if scoring and unit == POINTS
            else {
                PERCENT: self._changed,
                DECIBEL: self._sqnr,
                COSINE: self._cosine,
                ERROR: self._relative,
            }[unit]
        )

    def judge(self, graph: Graph, values: Values | None = None) -> tuple[Loss, Fidelity]:
        """values: what the graph gives, by sample and output; None: one run of each sample tells."""
        values = self.reference.values_of(graph) if values is None else values
        fidelity = self.reference.judged(values, held_back=self.held_back)
        values = [[np.nan_to_num(a, nan=0.0, posinf=0.0, neginf=0.0) for a in row] for row in values]
        value, error, (expected, doubt) = self._by_metric(fidelity) or self._measure(values)
        return Loss(value, error, expected, fidelity.worst.sqnr, self.unit, doubt), fidelity

    def _in_float(self, reference: Reference) -> list[np.ndarray]:
        """By output that tells classes, the margins of its rows: of labels, or of what is best in float."""
        if self.unit == PERCENT:
            tables = [_rows(reference.values, k) for k in self._places]
            return [_margins(table, table.argmax(1)) for table in tables]
        scoring = reference.scoring
        if self.unit != POINTS or scoring is None or scoring.metric is not None:
            return []
        return [_labelled(reference, reference.values, scoring)]

    def _by_metric(self, fidelity: Fidelity) -> Measured | None:
        """What the user's metric says, which is run once; None where the loss is another."""
        scoring, score = self.reference.scoring, fidelity.score
        if self.unit != POINTS or scoring is None or scoring.metric is None or score is None:
            return None
        return score.drop, score.error, _NO_MARGINS

    def _points(self, scoring: Scoring, values: Values) -> Measured:
        score = scoring.compare(self.reference.named(self.reference.values), self.reference.named(values))
        margin, after = self._margins[0], _labelled(self.reference, values, scoring)
        return score.drop, score.unit * score.error, _expected(margin, after - margin[: len(after)])

    def _changed(self, values: Values) -> Measured:
        lost, expected, rows = 0.0, (0.0, 0.0), 0
        for k, margin in zip(self._places, self._margins):
            before, after = (_rows(side, k) for side in (self.reference.values, values))
            best = before.argmax(1)
            changed = float((after.argmax(1) != best).mean())
            change = _margins(after, best) - margin[: len(best)]
            lost = max(lost, changed)
            expected = max(expected, _expected(margin, change))
            rows = len(best)
        return 100 * lost, 100 * math.sqrt(lost * (1 - lost) / rows), expected

    def _sqnr(self, values: Values) -> Measured:
        return min(o.sqnr for o in self.reference.compare(values)), math.nan, _NO_MARGINS

    def _cosine(self, values: Values) -> Measured:
        worst: Measured = (1.0, math.nan, _NO_MARGINS)
        for k in range(len(self.reference.outputs)):
            each = np.array([_cosine(a[k], b[k]) for a, b in zip(self.reference.values, values)])
            if each.mean() <= worst[0]:
                worst = float(each.mean()), _standard_error(each), _NO_MARGINS
        return worst

    def _relative(self, values: Values) -> Measured:
        shares = []
        for k in range(len(self.reference.outputs)):
            pairs = [(a[k].astype(np.float64), b[k]) for a, b in zip(self.reference.values, values)]
            size = sum(float(np.abs(a).sum()) for a, _ in pairs)
            shares.append(sum(float(np.abs(a - b).sum()) for a, b in pairs) / (size or 1e-30))
        return float(np.mean(shares)), math.nan, _NO_MARGINS


def _labelled(reference: Reference, values: Values, scoring: Scoring) -> np.ndarray:
    """The margins of the labels' classes."""
    rows = [rows_of(outputs, label) for outputs, label in zip(reference.named(values), scoring.labels)]
    return np.concatenate([_margins(scores, wanted) for wanted, scores in rows])


def _rows(values: Values, k: int) -> np.ndarray:
    """An output of all samples, float [rows, classes]."""
    return np.concatenate([row[k].reshape(-1, row[k].shape[-1]) for row in values])


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


def _expected(margin: np.ndarray, change: np.ndarray) -> tuple[float, float]:
    """The percentage of margins that the changes, in all pairings, turn from right to wrong, less that of the reverse;
    and its standard error. There may be more margins than changes."""
    wrong = np.searchsorted(np.sort(change), -margin, side="right") / len(change)
    by_change = np.searchsorted(np.sort(margin), -change, side="right") / len(margin)
    lost = wrong - (margin <= 0)
    error = math.sqrt(sum(float(part.var()) / max(len(part) - 1, 1) for part in (lost, by_change)))
    return 100.0 * float(lost.mean()), 100.0 * error


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm else float(not np.any(x - y))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
