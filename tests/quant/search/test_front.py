"""Which forms are on the front."""

import math

import pytest
from bitlite.quant.search.front import front_of
from bitlite.quant.search.goal import DECIBEL
from bitlite.quant.search.loss import Loss
from bitlite.quant.search.trials import Form, Trial


def trial(size, decibels, share=None):
    loss = Loss(decibels, math.nan, math.nan, decibels, DECIBEL)
    return Trial(Form(method=f"{size} {decibels}"), size, loss, share, share)


@pytest.mark.parametrize(
    ("trials", "front"),
    [
        ([(100, 40), (50, 20), (70, 15)], [1, 0]),
        ([(100, 40), (100, 40)], [0]),
        ([(100, 40, 2), (100, 40, 1)], [1]),
        ([(100, 40, 1), (100, 40, 0.95)], [0]),
        ([(100, 40, 1), (100, 41, 1.05)], [1]),
        ([(100, 40, 1), (100, 41, 2)], [1, 0]),
        ([(100, 40, 2), (50, 20, 1), (50, 10, 0.5)], [1, 2, 0]),
    ],
)
def test_nothing_on_it_is_beaten(trials, front):
    made = [trial(*values) for values in trials]
    assert {id(t) for t in front_of(made)} == {id(made[k]) for k in front}
