"""Ranges from histograms: known optima on known distributions, and what holds for every method."""

import numpy as np
import pytest
from bitlite.quant.calibrate import methods
from bitlite.quant.calibrate.histogram import Histogram
from bitlite.quant.calibrate.methods import (
    _divergence,
    aciq,
    admm,
    mse,
    percentile,
    removal_outlier,
    removal_outlier_r1,
)
from bitlite.quant.calibrate.thresholds import choose, method_of
from hypothesis import given, settings
from hypothesis import strategies as st

THRESHOLDS = {name: method_of(name) for name in methods.names()}
RNG = np.random.default_rng(0)
DATA = {
    "gauss": RNG.normal(size=200_000),
    "laplace": RNG.laplace(size=200_000),
    "relu": np.maximum(RNG.normal(size=200_000), 0),
    "negative": -RNG.gamma(2, 1, 100_000),
    "skewed": RNG.gamma(2, 1, 200_000) - 1,
    "outliers": np.concatenate([RNG.normal(size=200_000), [-40, 90]]),
}


def histogram(x, samples=10, bins=4096):
    h = Histogram(bins)
    for part in np.array_split(np.asarray(x, np.float32), samples):
        h.add(part)
    return h


SEEN = {name: histogram(x) for name, x in DATA.items()}


def error(x, low, high, bits=8, symmetric=False):
    """The mean squared error of x with all codes spread over the range."""
    if symmetric:
        step = 2 * high / (2**bits - 1)
        q = np.clip(np.rint(x / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step
    else:
        step = (high - low) / (2**bits - 1)
        zero = np.rint(-low / step)
        q = (np.clip(np.rint(x / step) + zero, 0, 2**bits - 1) - zero) * step
    return float(np.mean((x - q) ** 2))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", THRESHOLDS)
def test_ranges_hold_zero_and_stay_within_what_was_seen(method, data, symmetric):
    h = SEEN[data]
    low, high = THRESHOLDS[method](h, symmetric=symmetric)
    assert low <= 0 <= high
    assert high > low
    if symmetric:
        assert low == -high
    else:
        assert min(h.low, 0) <= low
        assert high <= max(h.high, 0)


@pytest.mark.parametrize(("data", "best"), [("gauss", 3.92), ("laplace", 10.1), ("relu", 4.14)])
@pytest.mark.parametrize("method", ["MSE", "OCTAV"])
def test_known_optima(method, data, best):
    _, high = THRESHOLDS[method](SEEN[data])
    assert high == pytest.approx(best, rel=0.04)


@pytest.mark.parametrize("data", DATA)
def test_mse_is_the_best_range_there_is(data):
    x, h = DATA[data].astype(np.float32), SEEN[data]
    best = error(x, *mse.method(h))
    grid = [error(x, h.low * a, h.high * b) for a in np.linspace(0.1, 1, 7) for b in np.linspace(0.1, 1, 7)]
    assert best <= 1.05 * min(grid)
    for method in THRESHOLDS.values():
        assert best <= 1.02 * error(x, *method(h))


def test_mse_clips_each_side_by_its_own_tail():
    low, high = mse.method(SEEN["skewed"])
    assert low == pytest.approx(-1, abs=0.1)
    assert 10 < high < SEEN["skewed"].high


def kl_by_definition(mass, i, levels):
    """KL of one candidate, bin by bin."""
    p = mass[:i].astype(float).copy()
    kept = p.copy()
    p[i - 1] += mass[i:].sum()
    q = np.zeros(i)
    for k in range(levels):
        begin, end = k * i / levels, (k + 1) * i / levels
        share = np.clip(np.minimum(np.arange(1, i + 1), end) - np.maximum(np.arange(i), begin), 0, None)
        filled = (share * (kept > 0)).sum()
        if filled > 0:
            q += share * (kept > 0) * (share * kept).sum() / filled
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(np.maximum(p, 1e-10) / np.maximum(q, 1e-10))).sum())


@pytest.mark.parametrize("i", [128, 129, 200, 333, 512])
def test_divergences_are_computed_as_defined(i):
    mass = np.round(np.random.default_rng(3).gamma(0.4, 50, 600) * np.exp(-np.arange(600) / 90))
    got = _divergence.kl(*_divergence._pair(mass, np.array([i, 600]), 128))
    assert got[0] == pytest.approx(kl_by_definition(mass, i, 128), rel=1e-9)


@pytest.mark.parametrize("method", ["KL", "SYMKL", "JSD"])
def test_divergences_drop_far_outliers(method):
    low, high = THRESHOLDS[method](SEEN["outliers"])
    assert 3 < high < 45
    assert -45 < low < -3


def test_jensen_shannon_is_bounded():
    p, q = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    middle = (p + q) / 2
    assert (_divergence.kl(p, middle) + _divergence.kl(q, middle))[0] / 2 == pytest.approx(np.log(2))


def test_percentiles_are_those_of_the_data():
    x, h = DATA["gauss"], SEEN["gauss"]
    low, high = choose("PERCENTILE:99", h)
    assert (low, high) == pytest.approx(np.quantile(x, [0.01, 0.99]), abs=0.02)
    assert choose("PERCENTILE:99", h, symmetric=True)[1] == pytest.approx(np.quantile(np.abs(x), 0.99), abs=0.02)
    assert choose("PERCENTILE", h) == percentile.method(h, percent=99.99)


def test_removal_outlier_averages_the_samples_tails():
    x = np.random.default_rng(5).normal(size=(4, 50_000)).astype(np.float32)
    h = Histogram(4096)
    for row in x:
        h.add(row)
    tails = np.quantile(x, [1e-4, 1 - 1e-4], axis=1).mean(axis=1)
    assert removal_outlier.method(h) == pytest.approx(tuple(tails), abs=0.06)


def test_old_removal_outlier_takes_percentiles_of_the_extremes():
    h = Histogram(512)
    for i in range(1, 21):
        h.add(np.float32([-i, 10 * i]))
    # Of 20 sorted values: between the 2nd and 3rd lowest, between the 18th and 19th.
    assert removal_outlier_r1.method(h) == (-18.5, 185.0)


def test_admm_restarts_come_close_to_the_optimum():
    x, h = DATA["laplace"].astype(np.float32), SEEN["laplace"]
    assert error(x, *admm.method(h)) < 1.05 * error(x, *mse.method(h))


def test_aciq_factors_are_the_published_ones():
    laplace = [2.8307, 3.8972, 5.0286, 6.2048, 7.4131, 8.6456, 9.8968]
    gauss = [1.71064, 2.15159, 2.55914, 2.93620, 3.28691, 3.61511, 3.92404]
    assert [aciq.laplace_factor(b) for b in range(2, 9)] == pytest.approx(laplace, abs=5e-5)
    assert [aciq.gauss_factor(b) for b in range(2, 9)] == pytest.approx(gauss, abs=5e-6)


@pytest.mark.parametrize(("data", "expected"), [("gauss", 3.924), ("laplace", 9.897)])
def test_aciq_recognises_the_distribution(data, expected):
    assert aciq.method(SEEN[data])[1] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("method", THRESHOLDS)
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_constants_have_a_range(method, value):
    low, high = THRESHOLDS[method](histogram(np.full(100, value)))
    assert (low, high) == pytest.approx((min(value, 0), max(value, 0)), rel=0.01)


@pytest.mark.parametrize("method", THRESHOLDS)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_work(method, bits):
    low, high = THRESHOLDS[method](SEEN["gauss"], bits)
    assert low < 0 < high


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30), st.sampled_from(sorted(THRESHOLDS)))
@settings(max_examples=150)
def test_few_values_work(values, method):
    h = histogram(values, 1, 512)
    low, high = THRESHOLDS[method](h)
    assert min(h.low, 0) <= low <= 0 <= high <= max(h.high, 0)


def test_a_range_set_by_hand_wins():
    h = histogram(DATA["gauss"])
    h.fixed = (-0.5, 2.0)
    assert choose("KL", h) == (-0.5, 2.0)
    assert choose("KL", h, symmetric=True) == (-2.0, 2.0)


def test_nothing_seen_is_no_range():
    assert choose("KL", Histogram()) == (0.0, 0.0)


def test_what_a_function_is_flat_for_needs_no_codes():
    x = np.concatenate([DATA["gauss"], DATA["gauss"] - 30])
    assert THRESHOLDS["MSE"](histogram(x))[0] < -25
    low, high = THRESHOLDS["MSE"](histogram(x), function=lambda v: np.maximum(v, -0.5))
    assert -0.7 < low <= -0.5 and high > 2


def test_of_a_function_that_changes_nothing_the_range_is_the_same():
    h = histogram(DATA["laplace"])
    assert THRESHOLDS["MSE"](h, function=lambda v: v) == THRESHOLDS["MSE"](h)
