"""What outputs are worth to a user: top-1 against labels, or a metric of the user's own, in float and quantized."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..converter.errors import DataError

Outputs = Mapping[str, np.ndarray]
Metric = Callable[[Sequence[Outputs], Sequence[Any]], Any]
_GROUPS = 10  # that a metric of all samples together is computed without, for the error of its difference


@dataclass(frozen=True)
class Score:
    """One score on the same samples, of float and of a quantized form.

    name: "top-1", or that of the user's function. before, after: the larger the better; of top-1 shares. error: the
    standard error of the paired difference, NaN where one sample is all there is.
    """

    name: str
    before: float
    after: float
    error: float
    samples: int

    @property
    def drop(self) -> float:
        """What is lost: points of top-1, or of the metric in its own unit."""
        return self.unit * (self.before - self.after)

    @property
    def unit(self) -> float:
        """What the scores are multiplied by where they are shown: shares become percent."""
        return 100.0 if self.name == TOP1 else 1.0

    def text(self) -> str:
        before, after, error = (f"{self.unit * x:.4g}" for x in (self.before, self.after, self.error))
        points = " points" if self.name == TOP1 else ""
        sure = "" if math.isnan(self.error) else f" ± {error}"
        return f"{self.name} {before} → {after}, {-self.drop:+.3g}{sure}{points} (n={self.samples})"

    def as_dict(self) -> dict[str, Any]:
        """JSON's form; error null where it is not known."""
        error = None if math.isnan(self.error) else self.error
        return {"name": self.name, "before": self.before, "after": self.after, "error": error, "samples": self.samples}


TOP1 = "top-1"


@dataclass(frozen=True)
class Scoring:
    """How outputs are scored.

    labels: of each sample; class numbers from 0 where there is no metric (several of one sample are of its rows).
    metric: called with a list of {output: array} and the list of their labels ([] without); returns a number, the
    larger the better, or one for each sample.
    """

    labels: tuple[Any, ...] = ()
    metric: Metric | None = None

    @property
    def name(self) -> str:
        return TOP1 if self.metric is None else str(getattr(self.metric, "__name__", type(self.metric).__name__))

    def only(self, rows: Sequence[int]) -> Scoring:
        """Of the samples of these numbers."""
        return replace(self, labels=tuple(self.labels[k] for k in rows) if self.labels else ())

    def compare(self, before: Sequence[Outputs], after: Sequence[Outputs]) -> Score:
        """Raises DataError: labels that no output has classes for, or what the metric raises or returns."""
        a, b = self.values(before), self.values(after)
        if self.metric is not None and not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            error = self._jackknife(self.metric, before, after)
            return Score(self.name, float(np.mean(a)), float(np.mean(b)), error, len(before))
        apart = np.asarray(b) - np.asarray(a)
        error = float(apart.std(ddof=1) / math.sqrt(len(apart))) if len(apart) > 1 else math.nan
        return Score(self.name, float(np.mean(a)), float(np.mean(b)), error, len(before))

    def values(self, outputs: Sequence[Outputs]) -> np.ndarray | float:
        """The score of each sample, or of all of them where that is what the metric returns."""
        return self._right(outputs) if self.metric is None else self._own(self.metric, outputs, list(self.labels))

    def _right(self, outputs: Sequence[Outputs]) -> np.ndarray:
        right = []
        for values, label in zip(outputs, self.labels):
            wanted, scores = rows_of(values, label)
            right.append(float(np.mean(scores.argmax(1) == wanted)))
        return np.array(right)

    def _own(self, metric: Metric, outputs: Sequence[Outputs], labels: list[Any]) -> np.ndarray | float:
        try:
            value = np.asarray(metric(list(outputs), labels), np.float64)
        except Exception as error:  # the user's function may raise anything
            raise DataError(f"metric {self.name}: {type(error).__name__}: {error}") from error
        if value.size != 1 and value.shape != (len(outputs),):
            raise DataError(
                f"metric {self.name}: returns {list(value.shape)} values for {len(outputs)} samples",
                hint="a number, or one for each sample",
            )
        if not np.isfinite(value).all():
            raise DataError(f"metric {self.name}: returns NaN or infinity")
        return float(value.reshape(())) if value.ndim == 0 or value.shape != (len(outputs),) else value

    def _jackknife(self, metric: Metric, before: Sequence[Outputs], after: Sequence[Outputs]) -> float:
        """The standard error of the difference of a metric of all samples, by leaving out a tenth of them at a time."""
        count = min(_GROUPS, len(before))
        if count < 2:
            return math.nan
        apart = []
        for group in range(count):
            rows = [k for k in range(len(before)) if k % count != group]
            labels = [self.labels[k] for k in rows] if self.labels else []
            a, b = (np.mean(self._own(metric, [side[k] for k in rows], labels)) for side in (before, after))
            apart.append(float(b - a))
        return math.sqrt((count - 1) * float(np.var(apart)))


def rows_of(values: Outputs, label: Any) -> tuple[np.ndarray, np.ndarray]:
    """(class numbers, scores [rows, classes]) of a sample. Raises DataError where no output has such classes."""
    try:
        wanted = np.atleast_1d(np.asarray(label)).ravel()
    except ValueError:  # rows of other lengths
        wanted = np.empty(0)
    if wanted.dtype.kind not in "iu" or not wanted.size:
        raise DataError(f"label {label!r} is no class number", hint="a metric for other labels")
    for scores in values.values():
        if scores.size > len(wanted) and scores.size % len(wanted) == 0:
            table = scores.reshape(len(wanted), -1)
            if wanted.min() >= 0 and wanted.max() < table.shape[1]:
                return wanted, table
    shown = ", ".join(f"{name!r} {list(a.shape)}" for name, a in values.items())
    raise DataError(f"label {label!r} is no class of an output: they are {shown}")
