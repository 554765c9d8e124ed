"""Forms that were tried: what each takes and loses, which is the best, and a journal from which a search goes on."""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from ...converter.ir import Graph
from ..ptq.fidelity import Fidelity
from ..weights.weight_quant import FLOAT
from .goal import Goal, MaxTime
from .journal import Journal
from .loss import Loss, LossJudge, Values


@dataclass(frozen=True)
class Form:
    """How a model is quantized.

    bits: layer → bits of its weights, where they are chosen (FLOAT: none). floats: operators in float by choice, None
    where the quantization itself chooses; wide: those of them whose weights are in float, too. method: of ranges, ""
    as the options say.
    """

    bits: Mapping[str, int] = field(default_factory=dict)
    floats: tuple[str, ...] | None = None
    wide: tuple[str, ...] = ()
    method: str = ""

    @property
    def key(self) -> str:
        """The same for the same form."""
        return json.dumps(asdict(self) | {"bits": sorted(self.bits.items())}, sort_keys=True)

    def text(self) -> str:
        """In a few words: how many layers have how many bits, how many operators are in float."""
        counts = Counter(self.bits.values())
        parts = [f"{counts[b]} of {b} bits" for b in sorted(counts) if b != FLOAT]
        parts += [f"{counts[FLOAT]} in float"] if FLOAT in counts else []
        parts += [f"{len(self.floats)} operators in float"] if self.floats else []
        return ", ".join([*parts, *([self.method] if self.method else [])]) or "as it comes"


@dataclass(frozen=True)
class Trial:
    """bytes: of the file. seconds: of one run; share: of the float model's; None where time is no goal."""

    form: Form
    bytes: int
    loss: Loss
    seconds: float | None = None
    share: float | None = None

    def fits(self, goal: Goal) -> bool:
        """Whether bytes and time are within the goal."""
        if goal.size is not None and self.bytes > goal.size:
            return False
        return goal.time is None or self._time(goal.time) <= goal.time.value

    def _time(self, limit: MaxTime) -> float:
        """In the unit of the goal."""
        taken = self.seconds if limit.milliseconds else self.share
        return math.inf if taken is None else 1e3 * taken if limit.milliseconds else taken

    def meets(self, goal: Goal) -> bool:
        return self.fits(goal) and (goal.max_drop is None or self.loss.meets(goal.max_drop))

    def rank(self, goal: Goal) -> tuple[float, ...]:
        """The less the better: what meets the goal first; of that the smallest, or what loses least within a size."""
        met, smallest = self.meets(goal), goal.size is None and goal.max_drop is not None
        order = (self.bytes, self.loss.cost) if met and smallest else (self.loss.cost, self.bytes)
        return (not met, not self.fits(goal), *order)


class Made(Protocol):
    """A form of a model as its family makes it."""

    @property
    def graph(self) -> Graph: ...


MadeT = TypeVar("MadeT", bound=Made)
MadeT_co = TypeVar("MadeT_co", bound=Made, covariant=True)


@dataclass(frozen=True)
class Measures:
    """bytes_of: of the file that holds a graph. time_of: (seconds of one run, share of the float model's); None where
    time is no goal."""

    bytes_of: Callable[[Graph], int]
    time_of: Callable[[Graph], tuple[float, float]] | None = None


Apart = Callable[[Iterable[Form]], Iterator[tuple[Graph, "Values | None"]]]


class Trials(Generic[MadeT]):
    """Makes forms, measures and judges them, and keeps the best.

    make: a form's graph, and how it came about. tell: is told of each trial as it is done. keep: is given the graph of
    each that is made, before the journal knows it. apart: makes forms elsewhere, several at a time: gives the graph of
    each, in order, and its outputs on the judge's samples, or None for these. batch: of so many at a time the runs are
    timed, once all are made and nobody else is at work.
    """

    def __init__(
        self,
        make: Callable[[Form], MadeT],
        judge: LossJudge,
        goal: Goal,
        measures: Measures,
        journal: Journal,
        tell: Callable[[Trial], None] = lambda trial: None,
        keep: Callable[[Trial, Graph], None] = lambda trial, graph: None,
        apart: Apart | None = None,
        batch: int = 1,
    ) -> None:
        self.make, self.judge, self.goal, self.measures = make, judge, goal, measures
        self.journal, self.tell, self.keep, self.apart, self.batch = journal, tell, keep, apart, batch
        self.done: dict[str, Trial] = {}
        self._made: tuple[str, MadeT, Fidelity] | None = None

    def evaluate(self, form: Form) -> Trial:
        """Tries a form, or remembers how it did."""
        if form.key in self.done:
            return self.done[form.key]
        known = self.journal.known(form.key)
        if known is not None:
            trial = Trial(form, known["bytes"], Loss(**known["loss"]), known["seconds"], known["share"])
            fresh = None
        else:
            made = self.make(form)
            trial, fidelity = self._measured(form, made.graph)
            fresh = form.key, made, fidelity
        self._take(trial)
        if fresh is not None and self.winner is trial:
            self._made = fresh
        return trial

    def each(self, forms: Iterable[Form]) -> Iterator[Trial]:
        """Tries forms that do not wait for each other. Yields the trials, in order."""
        if self.apart is None:
            yield from map(self.evaluate, forms)
        elif self.measures.time_of is None:
            yield from self._made_apart(self.apart, forms)
        else:
            source = iter(forms)
            while part := list(islice(source, self.batch)):
                yield from self._made_apart(lambda new, apart=self.apart: iter(list(apart(new))), part)

    def _made_apart(self, apart: Apart, forms: Iterable[Form]) -> Iterator[Trial]:
        waiting: deque[tuple[Form, bool]] = deque()  # and whether it is made elsewhere

        def new() -> Iterator[Form]:
            keys = set(self.done)
            for form in forms:
                fresh = form.key not in keys and self.journal.known(form.key) is None
                waiting.append((form, fresh))
                keys.add(form.key)
                if fresh:
                    yield form

        made = apart(new())
        while True:
            found = next(made, None)
            while waiting and not waiting[0][1]:
                yield self.evaluate(waiting.popleft()[0])
            if found is None:
                return
            trial, _ = self._measured(waiting.popleft()[0], *found)
            self._take(trial)
            yield trial

    def _measured(self, form: Form, graph: Graph, values: Values | None = None) -> tuple[Trial, Fidelity]:
        loss, fidelity = self.judge.judge(graph, values)
        seconds, share = self.measures.time_of(graph) if self.measures.time_of else (None, None)
        trial = Trial(form, self.measures.bytes_of(graph), loss, seconds, share)
        self.keep(trial, graph)
        self.journal.keep(form.key, {k: v for k, v in asdict(trial).items() if k != "form"})
        return trial, fidelity

    def _take(self, trial: Trial) -> None:
        self.done[trial.form.key] = trial
        self.tell(trial)

    @property
    def best(self) -> Trial | None:
        """Of all that were tried; of equals the first."""
        return self.winner if self.done else None

    @property
    def winner(self) -> Trial:
        """The best; where nothing is asked for the first. Raises ValueError before any trial."""
        return min(self.done.values(), key=lambda t: () if self.goal.nothing else t.rank(self.goal))

    def made(self) -> tuple[MadeT, Fidelity]:
        """The best form, made once more where only the journal knew it, and how it does. There is one."""
        best = self.winner
        if self._made is None or self._made[0] != best.form.key:
            made = self.make(best.form)
            self._made = best.form.key, made, self.judge.judge(made.graph)[1]
        return self._made[1:]


@dataclass(frozen=True)
class Found:
    """What a search came to.

    trials: in the order in which they were made; best: of them. interrupted: by the user, before it was at its end.
    front: of the trials, where it is asked for, the smallest first.
    """

    goal: Goal
    trials: tuple[Trial, ...]
    best: Trial
    interrupted: bool = False
    front: tuple[Trial, ...] = ()

    @property
    def met(self) -> bool:
        return self.best.meets(self.goal)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Columns and a row per trial; the best is marked."""
        timed = any(trial.share is not None for trial in self.trials)
        rows = [
            (
                ("*" if trial is self.best else "") + str(number),
                f"{trial.bytes:,}",
                trial.loss.text(),
                *((f"{trial.share:.2f}",) if timed and trial.share is not None else ("",) if timed else ()),
                trial.form.text(),
                "yes" if trial.meets(self.goal) else "no",
            )
            for number, trial in enumerate(self.trials, 1)
        ]
        return ("trial", "bytes", "loss", *(("time",) if timed else ()), "form", "meets"), rows

    def as_dict(self) -> dict[str, Any]:
        """JSON's form; what is not known is null."""
        rows = [
            {
                "bytes": t.bytes, "loss": _known(t.loss.value), "error": _known(t.loss.error),
                "expected": _known(t.loss.expected), "sqnr": t.loss.sqnr, "unit": t.loss.unit, "seconds": t.seconds,
                "share_of_time": t.share, "form": t.form.text(), "meets": t.meets(self.goal), "best": t is self.best,
                "front": self.front.index(t) + 1 if t in self.front else None,
            }
            for t in self.trials
        ]  # fmt: skip
        return {"goal": self.goal.text(), "met": self.met, "interrupted": self.interrupted, "trials": rows}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
