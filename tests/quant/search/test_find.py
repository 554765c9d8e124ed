"""What a search does with a goal of bytes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from bitlite.converter.errors import UsageError
from bitlite.quant.search.find import find_form
from bitlite.quant.search.goal import Goal
from bitlite.quant.weights.bit_budget import BitBudget, Width

WIDTHS = {name: {b: Width(100.0 * b, 4.0**-b) for b in (2, 4, 8)} for name in "abcd"}


class Family:
    """Weights alone, of which the knapsack foresees 100 bytes a bit and layer."""

    def first(self):
        return None

    def budget(self, form):
        return BitBudget(WIDTHS, lambda bits: sum(100 * b for b in bits.values()))


def sizes(goal, larger):
    """The bytes of what is tried, where files are this much larger than foreseen."""
    tried = []

    def evaluate(form):
        tried.append(round(larger * sum(100 * b for b in form.bits.values())))
        return SimpleNamespace(bytes=tried[-1])

    find_form(Family(), Goal(size=goal), evaluate)
    return tried


@pytest.mark.parametrize(("goal", "larger"), [(2000, 1.0), (2000, 1.2), (900, 1.1), (810, 1.0)])
def test_what_comes_out_larger_than_foreseen_gets_fewer_bits_until_it_fits(goal, larger):
    tried = sizes(goal, larger)
    assert tried[-1] <= goal and all(size > goal for size in tried[:-1])


def test_where_the_fewest_bits_come_out_too_large_they_are_tried_and_the_search_ends():
    assert sizes(810, 1.2)[-1] == 960 and len(sizes(810, 1.2)) == len(set(sizes(810, 1.2)))


def test_a_size_below_what_the_fewest_bits_take_is_refused():
    with pytest.raises(UsageError, match=r"the smallest file has 800 bytes.* and 799 are asked for"):
        sizes(799, 1.0)
