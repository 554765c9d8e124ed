import numpy as np
import pytest
from bitlite.converter.numeric.fixed_point import sigmoid_codes, tanh_codes

CODES = np.arange(-32768, 32768)


@pytest.mark.parametrize("bits", range(7))
def test_codes_lie_near_the_functions(bits):
    x = CODES / 2.0 ** (15 - bits)
    assert np.abs(sigmoid_codes(CODES, bits) - 32768 / (1 + np.exp(-x))).max() < 8
    assert np.abs(tanh_codes(CODES, bits) - 32768 * np.tanh(x)).max() < 13


def test_zero_has_its_own_codes():
    assert sigmoid_codes(np.int64([0]), 3).tolist() == [16384]
    assert tanh_codes(np.int64([0]), 3).tolist() == [0]


def test_signs_mirror():
    x = CODES[CODES > 0]
    np.testing.assert_array_equal(tanh_codes(-x, 4), -tanh_codes(x, 4))
    np.testing.assert_array_equal(sigmoid_codes(-x, 3), 32767 - sigmoid_codes(x, 3))
