"""Codes whose products 16 bits hold in pairs."""

import numpy as np
import pytest
from bitlite.converter.numeric.pairs import MOST, largest_sum, rounded, saturate


def adds_in_16_bits(rows, activations):
    """What vpmaddubsw and a sum of 32 bits make of uint8 activations and int8 rows."""
    products = rows.astype(np.int64) * activations
    pairs = products.reshape(*rows.shape[:-1], -1, 2).sum(-1)
    return pairs.clip(-(2**15), 2**15 - 1).sum(-1)


@pytest.mark.parametrize(("pair", "beyond"), [((64, 64), 0), ((65, 64), 1), ((-64, -64), 0), ((-65, -64), 1)])
def test_the_limit_is_where_16_bits_end(pair, beyond):
    rows = np.int8([pair])
    full = np.full(2, 255)
    assert (adds_in_16_bits(rows, full) != rows.astype(int) @ full) == beyond
    assert saturate(rows) == beyond


def test_signs_that_differ_and_neighbours_of_two_pairs_never_saturate():
    assert not saturate(np.int8([[127, -127, 1, 127]]))
    assert not saturate(np.int8([[0, 127, 127, 0, 127]]))
    assert largest_sum(np.int8([[1, 2, 3], [-100, -100, 0]])).tolist() == [3, 200]


@pytest.mark.parametrize("k", [1, 2, 9, 16])
def test_rounded_codes_hold_for_any_activations(k):
    rng = np.random.default_rng(k)
    real = rng.uniform(-140, 140, (200, k))
    codes = rounded(real, 127)
    assert (codes == np.rint(codes)).all() and np.abs(codes).max() <= 127 and largest_sum(codes).max() <= MOST
    whole = np.concatenate([codes, np.zeros((200, k % 2))], axis=1).astype(np.int8)
    for x in (np.full(whole.shape[1], 255), rng.integers(0, 256, whole.shape[1])):
        np.testing.assert_array_equal(adds_in_16_bits(whole, x), whole.astype(int) @ x)


def test_codes_that_fit_are_the_nearest_and_the_others_the_nearest_that_fit():
    codes = rounded(np.array([[10.4, -120.6, 90.2, 80.1], [127.0, 127.0, -127.0, -3.0]]), 127)
    assert codes.tolist() == [[10, -121, 69, 59], [64, 64, -126, -2]]
