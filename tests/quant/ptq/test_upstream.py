"""Weights to round to behind layers that are quantized."""

import numpy as np
from bitlite.quant.ptq.upstream import toward_float


def rows(noise, samples=16, count=40, k=12, seed=0):
    """What a layer reads in float, and with noise that its inputs share, which another weight can undo."""
    rng = np.random.default_rng(seed)
    mix = np.eye(k) + noise * np.random.default_rng(99).normal(size=(k, k)) / k
    real = [rng.normal(size=(count, k)) * 40 for _ in range(samples)]
    seen = [r @ mix + rng.normal(size=r.shape) for r in real]
    return [[np.rint(np.clip(r, -127, 127)).astype(np.int16) for r in side] for side in (seen, real)]


WEIGHTS = np.random.default_rng(1).normal(size=(1, 12, 9))


def error(seen, real, weights):
    x, y = np.concatenate(seen).astype(float), np.concatenate(real).astype(float)
    apart = (x - x.mean(0)) @ weights[0] - (y - y.mean(0)) @ WEIGHTS[0]
    return (apart**2).sum()


def test_outputs_on_other_samples_come_nearer_to_float():
    found = toward_float(*rows(0.8), WEIGHTS, 0.01, 2).weights
    fresh = rows(0.8, seed=5)
    assert error(*fresh, found) < 0.3 * error(*fresh, WEIGHTS)


def test_noise_that_only_the_fitted_samples_have_is_not_followed():
    rng = np.random.default_rng(2)
    real = [rng.integers(-100, 100, (4, 12)).astype(np.int16) for _ in range(4)]
    seen = [r + rng.integers(-20, 20, r.shape).astype(np.int16) for r in real]
    seen[3] = real[3] - 3 * (seen[3] - real[3])  # the judge sees the opposite
    found = toward_float(seen, real, WEIGHTS, 0.01, 1).weights
    assert error(seen[3:], real[3:], found) <= error(seen[3:], real[3:], WEIGHTS) * (1 + 1e-9)


def test_without_judges_or_error_the_weights_stay():
    seen, real = rows(0.5, samples=3)
    assert toward_float(seen, real, WEIGHTS, 0.01, 1).weights is WEIGHTS
    assert np.array_equal(toward_float(real * 3, real * 3, WEIGHTS, 0.01, 1).weights, WEIGHTS)


def test_threads_do_not_matter():
    both = rows(0.8)
    one, three = (toward_float(*both, WEIGHTS, 0.01, threads) for threads in (1, 3))
    assert np.array_equal(one.weights, three.weights) and one.error(WEIGHTS + 1) == three.error(WEIGHTS + 1)


def test_its_error_is_that_of_the_outputs_on_the_judges():
    seen, real = rows(0.8)
    target = toward_float(seen, real, WEIGHTS, 0.01, 2)
    judged = [side[3::4] for side in (seen, real)]
    others = [WEIGHTS, WEIGHTS * 0.9, target.weights]
    want = [error(*judged, other) - error(*judged, WEIGHTS) for other in others]
    assert np.allclose([target.error(other) for other in others], want, rtol=1e-6, atol=1.0)
