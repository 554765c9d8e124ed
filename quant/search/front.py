"""The front of a model's forms: those that no other beats in size, time or loss and equals in the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..weights.weight_quant import FLOAT
from .find import Each, Family
from .goal import Goal
from .trials import Form, Trial

_ROOMS = 8  # along the knapsack, from the fewest bits to the most
_SAME_TIME = 1.1  # quotient of times below which neither is faster: what is measured is never the same twice


def sweep(family: Family[Any], evaluate: Callable[[Form], Trial], each: Each | None = None) -> None:
    """Tries what the quantization gives by itself, forms with more and more operators in float, and bits of layers from
    the most to the fewest; `evaluate` remembers them, and so does `each`, which may try several at a time."""
    first = family.first()
    trial = None if first is None else evaluate(first)
    for _ in (each or partial(map, evaluate))(_forms(family, trial)):
        pass


def _forms(family: Family[Any], trial: Trial | None) -> Iterator[Form]:
    """Behind the trial of the first form."""
    base = Form()
    if trial is not None:
        base = family.settled(trial.form)
        yield from family.repairs(trial, Goal())
    budget = family.budget(base)
    if budget is None:
        return
    codes = {name: {b: width for b, width in widths.items() if b != FLOAT} for name, widths in budget.widths.items()}
    budget = replace(budget, widths={name: widths for name, widths in codes.items() if widths})
    if not budget.widths:
        return
    least, most = budget.least, budget.most
    for k in range(_ROOMS):
        yield replace(base, bits=budget.within(most - k * (most - least) / (_ROOMS - 1)))


def front_of(trials: Iterable[Trial]) -> list[Trial]:
    """The front, the smallest first; of equal forms the one that was tried first."""
    every = list(trials)
    kept = [t for k, t in enumerate(every) if not any(_beats(o, t, j < k) for j, o in enumerate(every) if j != k)]
    return sorted(kept, key=lambda t: (t.bytes, t.loss.cost))


def _beats(one: Trial, other: Trial, earlier: bool) -> bool:
    pairs: Sequence[tuple[float, float]] = [
        (one.bytes, other.bytes),
        (one.loss.cost, other.loss.cost),
        (one.share or 0.0, _SAME_TIME * (other.share or 0.0)),
    ]
    if any(mine > theirs for mine, theirs in pairs):
        return False
    faster = _SAME_TIME * (one.share or 0.0) < (other.share or 0.0)
    return earlier or faster or any(mine < theirs for mine, theirs in pairs[:2])
