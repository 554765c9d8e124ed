"""Walks along the knapsack: the smallest file that loses no more than is allowed, and the best within a size.

A form's loss grows with the sum of errors that the knapsack foresees for it: as a power of it, nearly, as long as both
are small. So a trial says where along the knapsack the next one should be, and a bracket around the goal keeps that
honest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..weights.bit_budget import BitBudget
from .goal import COSINE, DECIBEL, MaxDrop
from .loss import Loss

TRIALS = 8
_NEAR = 0.015  # of the bytes of weights: closer than that nothing is tried
_FIRST = 0.01  # sum of squared errors of the outputs that the first trial has
_AIM = 0.9  # of what is allowed: what a next trial is aimed at
_LEAST_POWER, _MOST_POWER = 0.3, 1.5

Evaluate = Callable[[Mapping[str, int]], tuple[Loss, bool]]
"""Of a form with these bits: its loss, and whether that meets the goal."""


def smallest(budget: BitBudget, limit: MaxDrop, evaluate: Evaluate) -> None:
    """Tries forms around the smallest that meets `limit`; `evaluate` remembers them."""
    failed, met = budget.least, budget.most
    room, tried, points = budget.room_for(_FIRST), set[str](), list[tuple[float, float]]()
    for _ in range(TRIALS):
        bits = budget.within(room)
        if str(bits) in tried:
            break
        tried.add(str(bits))
        loss, meets = evaluate(bits)
        failed, met = (failed, room) if meets else (room, met)
        if met - failed <= _NEAR * met:
            break
        points.append((max(budget.error_of(bits), 1e-12), loss.cost))
        room = _next(budget, points, limit, loss) if loss.smooth else math.sqrt(failed * met)
        margin = 0.1 * (met - failed)
        room = min(max(room, failed + margin), met - margin)
    if met == budget.most:
        evaluate(budget.within(met))


def _next(budget: BitBudget, points: list[tuple[float, float]], limit: MaxDrop, loss: Loss) -> float:
    """The room with which the loss should be what is allowed."""
    power = 1.0 if loss.unit in (DECIBEL, COSINE) else 0.5
    (error, cost), before = points[-1], points[:-1]
    nearest = min(before, key=lambda p: abs(math.log(p[1] / cost)), default=None)
    if nearest is not None and nearest[0] != error and nearest[1] != cost:
        power = math.log(nearest[1] / cost) / math.log(nearest[0] / error)
    power = min(max(power, _LEAST_POWER), _MOST_POWER)
    aim = {DECIBEL: 10 ** (-limit.value / 10), COSINE: 1 - limit.value}.get(limit.unit, limit.value)
    return budget.room_for(error * (max(_AIM * aim, 1e-6) / cost) ** (1 / power))
