"""One search for the form that the goals ask for.

What the quantization gives by itself comes first. Where that loses too much, forms with more in float follow, the
cheapest first; where it loses less than is allowed, or is too large, bits of layers are chosen by the knapsack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from ..weights.bit_budget import BitBudget
from .goal import Goal
from .ladder import smallest
from .spread_forms import Recipe
from .trials import Form, MadeT_co, Trial

_MARGINS = (10, 8, 6, 5)
"""Of a try each: codes by output are larger than those without data where these are SPARSE or INDEXING, and each try
that is too large leaves them a larger part, 1/2^margin, of the bytes."""


class Family(Protocol[MadeT_co]):
    """Forms of one model by one kind of quantization.

    first: what the quantization chooses by itself; None where that is no form to begin with. settled: a form that was
    made, with what was chosen in making it by name. repairs: forms that lose or take less than a trial, those that cost
    least first. budget: what each layer's bits cost in a form; None where bits change no file. recipe: by which workers
    make settled forms.
    """

    def make(self, form: Form) -> MadeT_co: ...
    def first(self) -> Form | None: ...
    def settled(self, form: Form) -> Form: ...
    def repairs(self, trial: Trial, goal: Goal) -> Iterator[Form]: ...
    def budget(self, form: Form) -> BitBudget | None: ...
    def recipe(self) -> Recipe: ...


Each = Callable[[Iterable[Form]], Iterable[Trial]]
"""Of forms that do not wait for each other: their trials, in order."""


def find_form(family: Family[Any], goal: Goal, evaluate: Callable[[Form], Trial], each: Each | None = None) -> None:
    """Tries forms of the family; `evaluate` remembers them, and so does `each`, which may try several at a time.

    Raises:
        UsageError: a file of the fewest bits is larger than the goal.
    """
    base, first = Form(), family.first()
    if first is not None:
        trial = evaluate(first)
        base = family.settled(first)
        within_size = replace(goal, size=None)
        if not trial.meets(within_size):
            base, trial = _repaired(family, trial, base, within_size, each or partial(map, evaluate))
        if goal.size is None and (goal.max_drop is None or not trial.meets(goal)):
            return
        if goal.size is not None and trial.bytes <= goal.size:
            return
    budget = family.budget(base)
    if budget is None or not budget.widths:
        return

    def tried(bits: Mapping[str, int]) -> Trial:
        return evaluate(replace(base, bits=dict(bits)))

    if goal.size is not None:
        _within(budget, goal.size, tried)
    elif goal.max_drop is not None:
        smallest(budget, goal.max_drop, lambda bits: (tried(bits).loss, tried(bits).meets(goal)))


def _repaired(family: Family[Any], trial: Trial, base: Form, goal: Goal, each: Each) -> tuple[Form, Trial]:
    """The first form that meets the goal, or the one that loses least."""
    best, least = base, trial
    for other in each(family.repairs(trial, goal)):
        if trial.fits(goal) and not other.fits(goal):
            break
        if other.rank(goal) < least.rank(goal):
            best, least = other.form, other
        if other.meets(goal):
            break
    return best, least


def _within(budget: BitBudget, size: int, tried: Callable[[Mapping[str, int]], Trial]) -> None:
    bits, foreseen = budget.choose(size)
    room, smallest = size, budget.smallest
    for margin in _MARGINS:
        trial = tried(bits)
        if trial.bytes <= size or foreseen <= smallest:
            return
        room = max(room - (trial.bytes - size + (size >> margin)), smallest)
        bits, foreseen = budget.choose(room)
