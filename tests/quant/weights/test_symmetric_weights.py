"""Weights with a zero point of 0: codes of every width are codes that the width holds."""

import numpy as np
import pytest
from bitlite.converter.numeric.packing import pack, unpack
from bitlite.converter.numeric.qparams import dequantize, quantize
from bitlite.quant.weights.symmetric_weights import quantize_symmetric, symmetric
from bitlite.quant.weights.weight_math import Weight

W = np.random.default_rng(3).standard_normal((6, 40)).astype(np.float32)


def by_share(bits):
    return quantize_symmetric(Weight(W, 0), bits)


def by_least_squares(bits):
    params = symmetric(W, 0, bits)
    return quantize(W, params, narrow=True), params


@pytest.mark.parametrize("how", [by_share, by_least_squares])
@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_survive_being_packed(how, bits):
    codes, params = how(bits)
    np.testing.assert_array_equal(unpack(pack(codes, bits), codes.size, bits).reshape(codes.shape), codes)
    assert not params.zero_point.any() and params.bits == bits
    if bits > 1:
        assert codes.min() == -codes.max()


@pytest.mark.parametrize("how", [by_share, by_least_squares])
def test_one_bit_keeps_some_of_what_is_negative(how):
    codes, params = how(1)
    assert set(np.unique(codes)) == {-1, 0}
    assert np.square(dequantize(codes, params) - W).sum() < np.square(W).sum()
