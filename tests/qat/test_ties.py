"""Which codes of a runtime are taken for the same value, rounded the other way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bitlite.qat.ties import Beside


@pytest.mark.parametrize(
    "real, mine, other, bits, tie",
    [
        (2.5, 2, 3, 8, True),
        (2.5001, 3, 2, 8, True),
        (2.51, 3, 2, 8, False),
        (2.51, 3, 2, 16, True),
        (2.6, 3, 2, 16, False),
        (2.5, 2, 4, 16, False),
        (2.5, 2, 2, 8, False),
    ],
)
def test_a_tie_is_a_value_that_lies_between_both_codes(real, mine, other, bits, tie):
    beside = Beside({"t": np.array([other - 5], np.int16)})
    codes = beside.settled("t", torch.tensor([real]), torch.tensor([float(mine)]), -5, bits)
    assert codes.tolist() == [other if tie else mine]
    assert beside.ties == ({"t": 1} if tie else {})


def test_a_tensor_that_the_runtime_lacks_stays():
    codes = torch.tensor([2.0])
    assert Beside({}).settled("t", torch.tensor([2.5]), codes, 0, 8) is codes
