"""Codes chosen for the layer's output: never worse on the rows they were chosen on, within their limits."""

import numpy as np
import pytest
from bitlite.quant.rounding import descend


def problem(seed, batch=1, k=24, columns=11, rows=200):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((batch, k, k))
    x = np.rint(rng.standard_normal((batch, rows, k)) @ mix * 9)
    gram = x.transpose(0, 2, 1) @ x
    real = rng.uniform(-7.4, 7.4, (batch, k, columns))
    return gram, real, np.clip(np.rint(real), -7, 7)


def cost(gram, real, q):
    e = q - real
    return np.einsum("bko,bkl,blo->bo", e, gram, e)


@pytest.mark.parametrize("batch", [1, 5])
def test_every_column_gets_better(batch):
    gram, real, q = problem(1, batch)
    before, exact = cost(gram, real, q), gram.copy()
    descend(gram, real, q, (-7.0, 7.0), ridge=0.0)
    after = cost(exact, real, q)
    assert (after <= before * (1 + 1e-9)).all() and after.sum() < 0.6 * before.sum()
    assert np.abs(q).max() <= 7 and (q == np.rint(q)).all()


def test_threads_do_not_matter():
    results = []
    for threads in (1, 2, 3):
        gram, real, q = problem(2, columns=29)
        descend(gram, real, q, (-7.0, 7.0), threads=threads)
        results.append(q)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_a_strong_ridge_keeps_plain_rounding():
    gram, real, q = problem(3)
    plain = q.copy()
    descend(gram, real, q, (-7.0, 7.0), ridge=1e6)
    assert np.array_equal(q, plain)


def test_shapes_must_fit():
    from bitlite import _native

    gram, real, q = problem(4)
    with pytest.raises(ValueError):
        _native.descend(gram[:, :-1], real, q, 0, 3, -7.0, 7.0, 1)
    with pytest.raises(ValueError):
        _native.descend(gram, real, q, 0, 99, -7.0, 7.0, 1)
