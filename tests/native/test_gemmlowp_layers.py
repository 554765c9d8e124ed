"""Layers in the profile `gemmlowp`: every size of multiplier, in the kernels' epilogue and out of it, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.numeric.qparams import quantized_multiplier, requantize_gemmlowp
from bitlite.native.lower import with_bounds

ZX, ZY, SX, SY = 7, -20, np.float32(0.04), np.float32(0.05)


def tensor(name, array, scale=None, zero_point=None, axis=None, constant=False):
    return {
        "name": name,
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "data": array if constant else None,
        "scale": None if scale is None else np.atleast_1d(np.float64(scale)).tolist(),
        "zero_point": None if zero_point is None else [zero_point] * np.size(scale),
        "axis": axis,
    }


def check(op, x, w, sw, bias, sums, attrs, act):
    multiplier = (SX * sw.astype(np.float32)).astype(np.float64) / np.float64(SY)
    low = ZY if act == "relu" else -128
    wrapped = sums.astype(np.int64).astype(np.uint32).view(np.int32)
    expected = requantize_gemmlowp(wrapped, *quantized_multiplier(multiplier), ZY, low, 127, np.int8)
    assert len(np.unique(expected)) > 20
    specs = [
        tensor("x", x, float(SX), ZX),
        tensor("w", w, sw, 0, 0, constant=True),
        tensor("b", bias, constant=True),
        tensor("y", expected, float(SY), ZY),
    ]
    step = {"op": op, "name": op, "inputs": [0, 1, 2], "outputs": [3]}
    step["attrs"] = with_bounds(attrs | {"rounding": "gemmlowp", "act": act})
    for isa in _native.isas():
        program = _native.Program(specs, [step], [0], [3], threads=1, isa=isa)
        np.testing.assert_array_equal(program.run([x])[0], expected, err_msg=isa)


def scales(channels, magnitudes):
    """Weight scales whose multipliers have the given powers of two, in turn, at any mantissa."""
    fraction = np.random.default_rng(9).uniform(0.5, 1, channels)
    powers = np.resize(np.asarray(magnitudes, float), channels)
    return (fraction * 2.0**powers * float(SY) / float(SX)).astype(np.float32).astype(np.float64)


# Powers of two: shifts to the right, none at all (0), and shifts to the left.
MAGNITUDES = {"right": (-5, -6, -7, -8, -9), "none": (-6, 0, -7), "left": (-6, 1, -8, 3), "far": (-6, -28, -7, -40)}


@pytest.mark.parametrize("act", ["none", "relu"])
@pytest.mark.parametrize("magnitudes", MAGNITUDES)
@pytest.mark.parametrize("channels", [3, 16, 70])
def test_a_layer_rounds_twice_whatever_its_multipliers(channels, magnitudes, act):
    rng = np.random.default_rng(channels)
    x, w = rng.integers(-128, 128, (61, 12)).astype(np.int8), rng.integers(-127, 128, (channels, 12)).astype(np.int8)
    bias = rng.integers(-3000, 3000, channels).astype(np.int32)
    sums = (x.astype(np.int64) - ZX) @ w.T.astype(np.int64) + bias
    check("fully_connected", x, w, scales(channels, MAGNITUDES[magnitudes]), bias, sums, {}, act)


@pytest.mark.parametrize("act", ["none", "relu"])
@pytest.mark.parametrize("magnitudes", MAGNITUDES)
@pytest.mark.parametrize("channels", [3, 16, 70])
def test_a_depthwise_layer_rounds_twice_whatever_its_multipliers(channels, magnitudes, act):
    rng = np.random.default_rng(channels)
    x = rng.integers(-128, 128, (1, 9, 8, channels)).astype(np.int8)
    w = rng.integers(-127, 128, (channels, 3, 3, 1)).astype(np.int8)
    bias = rng.integers(-3000, 3000, channels).astype(np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64) - ZX, (3, 3), (1, 2))
    sums = np.einsum("nhwcij,cij->nhwc", windows, w[..., 0].astype(np.int64)) + bias
    attrs = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4, "pad_mode": "explicit", "group": channels}
    check("conv", x, w, scales(channels, MAGNITUDES[magnitudes]), bias, sums, attrs, act)


@pytest.mark.parametrize("largest", [1 << 29, 1_200_000_000, (1 << 31) - 1])
def test_biases_of_dead_channels_do_not_disturb(largest):
    """As converters write them: a weight scale near zero makes the bias huge. Sums wrap where they must."""
    rng = np.random.default_rng(3)
    x, w = rng.integers(-128, 128, (40, 12)).astype(np.int8), rng.integers(-127, 128, (24, 12)).astype(np.int8)
    bias = rng.integers(-3000, 3000, 24).astype(np.int32)
    sw = scales(24, (-6, -7))
    bias[::5], sw[::5] = largest, sw[::5] * 2.0**-22
    bias[1::5], sw[1::5] = -largest, sw[1::5] * 2.0**-22
    sums = (x.astype(np.int64) - ZX) @ w.T.astype(np.int64) + bias
    check("fully_connected", x, w, sw, bias, sums, {}, "none")


def test_halves_of_both_signs_go_away_from_zero():
    x = np.arange(-128, 128, dtype=np.int8).reshape(256, 1)
    w, bias = np.array([[1]], np.int8), np.array([ZX], np.int32)
    for shift in (1, 2, 3):
        sw = np.array([2.0**-shift * float(SY) / float(SX)]).astype(np.float32).astype(np.float64)
        sums = (x.astype(np.int64) - ZX) + bias
        check("fully_connected", x, w, sw, bias, sums, {}, "none")
