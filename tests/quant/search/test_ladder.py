"""The walk along the knapsack ends near the smallest form that meets the goal, in few trials."""

import math

import numpy as np
import pytest
from bitlite.quant.search.goal import DECIBEL, POINTS, MaxDrop
from bitlite.quant.search.ladder import TRIALS, smallest
from bitlite.quant.search.loss import Loss
from bitlite.quant.weights.bit_budget import BitBudget, Width
from bitlite.quant.weights.weight_quant import FLOAT


def budget(seed, count=30):
    rng = np.random.default_rng(seed)
    widths = {}
    for k in range(count):
        size, error = int(rng.integers(100, 4000)), float(rng.uniform(0.1, 10))
        widths[f"l{k}"] = {b: Width(size * b / 8, error * 4.0**-b) for b in range(2, 9)}
        widths[f"l{k}"][FLOAT] = Width(size * 4, 0.0)
    return BitBudget(widths, len)


def bytes_of(budget, bits):
    return sum(budget.widths[name][b].bytes for name, b in bits.items())


def walk(budget, limit, loss_of):
    tried = []

    def evaluate(bits):
        loss = loss_of(budget.error_of(bits))
        tried.append((loss.meets(limit), bytes_of(budget, bits)))
        return loss, loss.meets(limit)

    smallest(budget, limit, evaluate)
    return tried


def smallest_room(budget, limit, loss_of):
    rooms = np.linspace(budget.least, budget.most, 4000)
    return next(r for r in rooms if loss_of(budget.error_of(budget.within(r))).meets(limit))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("factor", [0.03, 1.0, pytest.param(20.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["dB", "margins", "counted"])
def test_the_smallest_form_that_meets_the_goal_is_nearly_found(seed, factor, kind):
    def loss_of(error):
        power = factor * error
        if kind == "dB":
            sqnr = -10 * math.log10(max(power, 1e-12))
            return Loss(sqnr, math.nan, math.nan, sqnr, DECIBEL)
        points = 8 * math.sqrt(power)
        return Loss(points, 0.1, points if kind == "margins" else math.nan, 20.0, POINTS)

    layers = budget(seed)
    limit = MaxDrop(22.0, DECIBEL) if kind == "dB" else MaxDrop(1.0)
    tried = walk(layers, limit, loss_of)
    assert len(tried) <= TRIALS
    best = min(size for met, size in tried if met)
    assert best <= 1.04 * smallest_room(layers, limit, loss_of)


def test_what_float_alone_meets_is_tried():
    layers = budget(0, 3)
    tried = walk(layers, MaxDrop(0.0), lambda error: Loss(100 * error, 0.0, math.nan, 20.0, POINTS))
    assert any(met for met, _ in tried)
