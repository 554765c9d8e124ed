"""Grids fitted to the codes that stand on them."""

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.quant.ptq.grid import Grid

K, CHANNELS = 24, 5


def gram(batch=1, seed=0):
    x = np.random.default_rng(seed).integers(-100, 100, (batch, 200, K)).astype(np.float64)
    return x.transpose(0, 2, 1) @ x


def grid(bits, mean, shape=(1, 1, CHANNELS)):
    rng, count = np.random.default_rng(1), shape[0] * shape[2]
    zero = rng.integers(-2, 2, count) if mean else np.zeros(count, np.int32)
    offset = rng.normal(0, 0.01, count).astype(np.float32) if mean else None
    scale = (0.05 + rng.random(count)).astype(np.float32).astype(np.float64)
    quant = QuantParam(scale, zero, 0, bits, mean_corr=offset)
    return Grid.of(quant, shape), quant


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, CHANNELS), (CHANNELS, 1, 1)])
def test_a_planted_grid_is_found_again(mean, shape):
    planted, quant = grid(4, mean, shape)
    q = np.random.default_rng(2).integers(-7, 8, (shape[0], K, shape[2])).astype(np.float64)
    weights = (q - planted.zero_point) * planted.scale + (0 if planted.mean is None else planted.mean)
    off = Grid(planted.scale * 1.2, planted.zero_point, planted.mean, 4)
    fitted = off.fitted(gram(shape[0]), weights, q).stored(quant)
    np.testing.assert_allclose(fitted.scale, quant.scale, rtol=2e-3)
    if mean:
        np.testing.assert_allclose(fitted.mean_corr, quant.mean_corr, atol=2e-3)


def test_the_fit_never_costs_output():
    rng = np.random.default_rng(3)
    start, _ = grid(3, True)
    weights, h = rng.normal(0, 1, (1, K, CHANNELS)), gram()
    q = np.clip(np.rint(start.wanted(weights)), *start.limits)

    def error(g):
        apart = weights - (q - g.zero_point) * g.scale - g.mean
        return np.einsum("bkc,bkl,blc->c", apart, h, apart)

    assert (error(start.fitted(h, weights, q)) <= error(start) * (1 + 1e-3)).all()


def test_dead_inputs_leave_the_grid():
    start, quant = grid(4, True)
    dead = np.zeros((1, K, K))
    dead[:, 0, 0] = 1.0
    q = np.zeros((1, K, CHANNELS)) + start.zero_point
    fitted = start.fitted(dead, np.ones((1, K, CHANNELS)), q).stored(quant)
    assert (fitted.scale == quant.scale).all() and np.isfinite(fitted.mean_corr).all()


def test_symmetric_grids_have_symmetric_limits():
    assert grid(4, False)[0].limits == (-7, 7) and grid(4, True)[0].limits == (-8, 7)
    assert grid(1, False)[0].limits == (-1, 0)


def test_no_scale_falls_below_the_least_one():
    start, quant = grid(4, False)
    q = np.clip(np.rint(start.wanted(np.random.default_rng(4).normal(0, 1, (1, K, CHANNELS)))), *start.limits)
    smaller = (q - start.zero_point) * start.scale * 0.8
    assert (start.fitted(gram(), smaller, q).scale < 0.85 * start.scale).all()
    held = Grid.of(quant, (1, 1, CHANNELS), quant.scale * [1.0, 0.1, 0.9, 0.1, 0.1])
    fitted = held.fitted(gram(), smaller, q).scale.reshape(-1) / quant.scale
    assert (fitted[[0, 2]] == 1).all() and (fitted[[1, 3, 4]] < 0.85).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_channels_share_grids_that_are_near_their_own(bits):
    own, quant = grid(bits, True)
    shared = own.shared()
    assert (np.abs(shared.scale / own.scale - 1) <= 1 / 32).all()
    digits = np.ldexp(np.frexp(shared.scale)[0], 6)
    assert (digits == np.rint(digits)).all()
    q = np.arange(-2.0, 2.0)[None, :, None]
    off = np.abs(shared.reals(q) - own.reals(q)) / own.scale
    assert off.max() <= 0.5 / max(1, 16 >> bits) + 4 / 32
    kept = shared.stored(quant)
    if bits >= 4:
        assert not kept.mean_corr.any() and kept.zero_point.dtype == np.int32
    assert np.array_equal(Grid.of(kept, own.scale.shape).reals(q), shared.reals(q))


def test_grids_of_many_bits_and_zero_points_beyond_codes_stay_apart():
    own, _ = grid(8, True)
    assert own.shared() is own
    far = Grid(np.full((1, 1, 2), 0.1), np.zeros((1, 1, 2)), np.array([0.2, 90.0]).reshape(1, 1, 2), 4)
    assert not far.shared().zero_point.any() and np.allclose(far.shared().mean, far.mean, atol=0.06)


def test_codes_move_to_what_is_nearest_on_another_grid():
    own, _ = grid(4, True)
    q = np.random.default_rng(4).integers(-7, 7, (1, K, CHANNELS)).astype(np.float64)
    shared = own.shared()
    moved = shared.moved(q, own)
    assert np.abs(moved).max() <= 8 and (np.abs(shared.reals(moved) - own.reals(q)) <= shared.scale * 1.01).all()
