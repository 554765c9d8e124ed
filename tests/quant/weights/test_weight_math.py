"""Weights to 1..16 bits: the real converter's grid where it is kept, less error where it is not, and the gates."""

import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.numeric.qparams import code_range, dequantize
from bitlite.converter.numeric.sparse import encoded_size
from bitlite.quant.weights.weight_math import Weight, gate, quantize_weight, quantize_weights, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st


def heavy_tailed(shape, seed=0):
    """Like trained weights: most near zero, a few far out, every channel of its own size."""
    rng = np.random.default_rng(seed)
    w = rng.standard_t(4, shape) * np.exp(rng.normal(size=(shape[0],) + (1,) * (len(shape) - 1)))
    return w.astype(np.float32)


def real_converter(w, bits):
    """What MindSpore Lite 2.0.0 reconstructs: min..max with 0, halves away from zero, mean and variance corrected."""
    rows = w.reshape(len(w), -1)
    low, high = np.minimum(rows.min(1), 0), np.maximum(rows.max(1), 0)
    qmin, qmax = code_range(bits)
    step = ((high - low) / np.float32(qmax - qmin)).astype(np.float64)[:, None]
    zero = np.round(qmin - low[:, None] / step)
    t = rows / step + zero
    d = (np.clip(np.trunc(t + np.copysign(0.5, t)), qmin, qmax) - zero) * step
    factor = rows.std(1, dtype=np.float64) / np.maximum(d.std(1), 1e-300)
    factor = np.where((factor > 0) & (factor < 10), factor, 1)[:, None]
    d = d * factor
    return (d + (rows.mean(1, dtype=np.float64, keepdims=True) - d.mean(1, keepdims=True))).reshape(w.shape)


@pytest.mark.parametrize("bits", [5, 9, 12, 16])
def test_without_kernels_the_real_converters_grid_is_kept(bits):
    w = heavy_tailed((20, 64))
    q, p = quantize_weight(Weight(w), bits)
    np.testing.assert_allclose(dequantize(q, p), real_converter(w, bits), rtol=1e-5, atol=1e-6 * np.abs(w).max())


@pytest.mark.parametrize("bits", range(1, 17))
def test_codes_use_their_width_and_the_mean_is_kept(bits):
    w = heavy_tailed((8, 3, 3, 16))
    q, p = quantize_weight(Weight(w, kernel=True), bits)
    qmin, qmax = code_range(bits)
    assert q.dtype == (np.int8 if bits <= 8 else np.int16)
    assert q.shape == w.shape
    assert (q.min(), q.max()) == (qmin, qmax)
    assert p.bits == bits
    d = dequantize(q, p)
    np.testing.assert_allclose(d.mean((1, 2, 3)), w.mean((1, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(d.std((1, 2, 3)), w.std((1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_fitted_grids_lose_less(bits):
    w = heavy_tailed((32, 400))
    got = relative_error(Weight(w), *quantize_weight(Weight(w), bits))
    real = float(((real_converter(w, bits) - w) ** 2).sum() / (w.astype(np.float64) ** 2).sum())
    assert got < {1: 0.6, 2: 0.5, 3: 0.6, 4: 0.9}[bits] * real


def test_two_levels_are_the_two_means():
    w = np.tile(np.float32([-1.0, -1.0, 3.0]), (2, 20))
    q, p = quantize_weight(Weight(w), 1)
    np.testing.assert_allclose(dequantize(q, p), w, atol=1e-6)


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
def test_errors_of_a_kernel_cancel(bits):
    w = heavy_tailed((16, 3, 3, 32), 1)
    q, p = quantize_weight(Weight(w, kernel=True), bits, fitted=False)
    plain, plain_p = quantize_weight(Weight(w), bits, fitted=False)

    def kernel_sums(codes, params):
        return np.abs((dequantize(codes, params) - w).sum((1, 2)) / params.scale[:, None])

    assert np.abs(q.astype(int) - plain).max() == 1
    # Half a step by rounding, and what the correction of mean and variance moved.
    assert np.median(kernel_sums(q, p)) < 0.45
    assert np.median(kernel_sums(q, p)) < 0.6 * np.median(kernel_sums(plain, plain_p))


@pytest.mark.parametrize("bits", [6, 8])
def test_errors_of_a_channel_cancel_where_inputs_are_large(bits):
    w = heavy_tailed((40, 300), 3) * np.exp(np.random.default_rng(4).normal(size=300)).astype(np.float32)
    size = np.sqrt((w.astype(np.float64) ** 2).mean(0))
    q, p = quantize_weight(Weight(w), bits)
    real = real_converter(w, bits)

    def channel_sums(values):
        return np.abs(((values - w) * size).sum(1) / p.scale)

    assert np.median(channel_sums(dequantize(q, p))) < 0.4 * np.median(channel_sums(real))
    assert ((dequantize(q, p) - w) ** 2).sum() < 1.1 * ((real - w) ** 2).sum()


def test_kernels_of_a_transposed_convolution_lie_elsewhere():
    w = heavy_tailed((10, 3, 3, 24), 2)
    q, p = quantize_weight(Weight(w, kernel=True), 4)
    # [O, *K, I] and [I, *K, O] hold the same kernels.
    turned = np.ascontiguousarray(np.moveaxis(w, [0, 3], [3, 0]))
    q_turned, p_turned = quantize_weight(Weight(turned, axis=3, kernel=True), 4)
    np.testing.assert_array_equal(np.moveaxis(q_turned, [0, 3], [3, 0]), q)
    np.testing.assert_array_equal(p_turned.scale, p.scale)
    assert p_turned.axis == 3


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_last_axis_gives_the_same_codes(bits):
    w = heavy_tailed((12, 50))
    q, p = quantize_weight(Weight(w), bits)
    q_t, p_t = quantize_weight(Weight(np.ascontiguousarray(w.T), axis=1), bits)
    np.testing.assert_array_equal(q_t, q.T)
    np.testing.assert_array_equal(p_t.scale, p.scale)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_constant_and_empty_channels_survive(bits):
    w = heavy_tailed((4, 30))
    w[0], w[1], w[2] = 0, 0.25, -1e-12
    q, p = quantize_weight(Weight(w), bits)
    d = dequantize(q, p)
    assert np.isfinite(d).all()
    np.testing.assert_allclose(d[:3], w[:3], atol=1e-6)
    assert (p.scale > 0).all()
    assert quantize_weight(Weight(np.zeros((3, 0), np.float32)), bits)[0].shape == (3, 0)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_per_tensor_has_one_scale_and_no_correction(bits):
    w = heavy_tailed((6, 50))
    q, p = quantize_weight(Weight(w, axis=None), bits)
    assert len(p.scale) == 1
    assert p.mean_corr is None
    assert relative_error(Weight(w, axis=None), q, p) < {1: 1.0, 3: 0.2, 8: 1e-3}[bits]


def test_without_correction_there_is_none():
    w = heavy_tailed((6, 50))
    q, p = quantize_weight(Weight(w), 4, correction=False)
    assert p.mean_corr is None
    np.testing.assert_array_equal(dequantize(p.zero_point[:, None].astype(np.int8), p), np.zeros((6, 1)))
    assert np.abs(dequantize(q, p) - w).max() <= p.scale.max() * 0.51


@pytest.mark.parametrize("bits", [1, 2])
def test_fitting_stays_within_the_real_converters_bytes(bits):
    weights = [Weight(heavy_tailed((32, 3, 3, 16 * (k + 1)), k), kernel=True) for k in range(4)]
    result = quantize_weights(weights, bits)
    plain = [quantize_weight(w, bits, fitted=False) for w in weights]
    size, limit = (sum(encoded_size(q, bits, p.zero_point) for q, p in r) for r in (result, plain))
    assert size <= limit + 12 * sum(len(p.scale) for _, p in result)
    error, before = (sum(relative_error(w, *r) for w, r in zip(weights, results)) for results in (result, plain))
    assert error < before if bits > 1 else error <= before


@given(st.integers(1, 16), st.integers(0, 100))
@settings(max_examples=25)
def test_the_same_weights_give_the_same_codes(bits, seed):
    w = Weight(heavy_tailed((5, 3, 3, 7), seed), kernel=True)
    (first, p), (second, again) = quantize_weight(w, bits), quantize_weight(w, bits)
    np.testing.assert_array_equal(first, second)
    assert p == again


def test_blocks_do_not_show():
    # Channels are worked on in blocks; each must come out as if alone.
    w = heavy_tailed((70, 3, 3, 1000), 4)
    q, p = quantize_weight(Weight(w, kernel=True), 3)
    alone, p_alone = quantize_weight(Weight(w[40:42], kernel=True), 3)
    np.testing.assert_array_equal(q[40:42], alone)
    assert p.scale[40] == p_alone.scale[0]


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((10, 64), {"min_size": 640}, "size gate: 640 elements"),
        ((10, 64), {"min_size": 639}, None),
        ((16, 3, 3, 8), {"conv": True}, "channel gate: 16 output channels"),
        ((17, 3, 3, 8), {"conv": True}, None),
        ((10, 64), {"conv": False}, None),
        ((32, 3, 3, 1), {"conv": True, "bits": 4}, "gain gate: 9 elements per channel, more than 9"),
        ((32, 3, 3, 1), {"conv": True, "bits": 3}, None),
        ((32, 3, 3, 1), {"conv": True, "bits": 4, "gain": False}, None),
        ((128, 10), {"bits": 8}, "gain gate"),
        ((128, 11), {"bits": 8}, None),
        ((128, 16), {"bits": 16}, "gain gate"),
        ((128, 17), {"bits": 16}, None),
    ],
)
def test_gates(shape, options, reason):
    options = {"conv": False, "bits": 8, "min_channels": 16, **options}
    got = gate(shape, 0, options.pop("bits"), **options)
    assert (got is None) if reason is None else got.startswith(reason)


def test_the_gain_gate_is_for_channels():
    assert gate((3, 3), None, 16, conv=False) is None


@pytest.mark.parametrize("shape", [(3, 1), (4, 15), (2, 40), (5, 1041)])
def test_moments_codes_and_errors_of_rows_are_those_of_numpy(shape):
    w = heavy_tailed(shape)
    mean, squares = _native.row_moments(w)
    np.testing.assert_allclose(mean, w.mean(1, dtype=np.float64), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(squares, w.var(1, dtype=np.float64) * shape[1], rtol=1e-12, atol=1e-15)
    scale, zero = np.abs(w).max(1) / 100.0, np.arange(shape[0], dtype=np.float64)
    for dtype, low, high in ((np.int8, -90, 95), (np.int16, -3000, 3000)):
        q = np.empty(shape, dtype)
        _native.nearest_codes(w, scale, zero, low, high, q)
        t = w / scale[:, None] + zero[:, None]
        np.testing.assert_array_equal(q, np.clip(np.trunc(t + np.copysign(0.5, t)), low, high))
        for got, want in zip(_native.code_sums(q), (q.sum(1, dtype=np.int64), np.square(q, dtype=np.int64).sum(1))):
            np.testing.assert_array_equal(got, want)
        error, energy = _native.code_error(w, q, scale, zero, mean)
        off = (q - zero[:, None]) * scale[:, None] + mean[:, None] - w
        np.testing.assert_allclose((error, energy), (np.sum(off * off), np.sum(np.square(w, dtype=np.float64))))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_a_grid_is_found_whatever_the_values(poison):
    w = heavy_tailed((3, 50))
    w[1, 7] = poison
    codes, *_ = _native.fit_grids(w, np.float32([1.0, 0.5]), 15, 8, 1e-10)
    alone, *_ = _native.fit_grids(w[:1], np.float32([1.0, 0.5]), 15, 8, 1e-10)
    assert -8 <= codes.min() <= codes.max() <= 7
    np.testing.assert_array_equal(codes[:1], alone)


def test_shapes_of_rows_must_fit():
    w, q, one = np.ones((2, 3), np.float32), np.zeros((2, 3), np.int8), np.ones(2)
    for call in (
        lambda: _native.fit_grids(w[0], np.ones(1, np.float32), 15, 8, 0.0),
        lambda: _native.fit_grids(w, np.ones(1, np.float32), 256, 8, 0.0),
        lambda: _native.fit_grids(w, np.ones(1, np.float32), 15, 129, 0.0),
        lambda: _native.row_moments(w[:, :0].copy()),
        lambda: _native.nearest_codes(w, one, one, -129, 127, q),
        lambda: _native.nearest_codes(w, one[:1], one, -8, 7, q),
        lambda: _native.code_sums(q[0]),
        lambda: _native.code_error(w, q[:1], one, one, one),
    ):
        with pytest.raises(ValueError):
            call()
