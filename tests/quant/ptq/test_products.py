"""Products and systems of the rows that reach a layer."""

import numpy as np
import pytest
from bitlite import _native
from bitlite.quant.ptq.products import by_columns, cross, factored


def rows(seed, k=21, count=90):
    return np.random.default_rng(seed).integers(-255, 256, (count, k)).astype(np.int16)


@pytest.mark.parametrize("k", [1, 7, 16, 33])
def test_cross_is_the_product_of_both_centred(k):
    x, y = rows(1, k), rows(2, k)
    want = (x - x.mean(axis=0)).T @ (y - y.mean(axis=0))
    assert np.allclose(cross(x, y, 2)[0], want, rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize("k", [1, 31, 32, 70])
def test_what_is_solved_is_solved(k):
    rng = np.random.default_rng(3)
    x = rows(4, k, 3 * k + 5).astype(float)
    gram, real = (x.T @ x)[None], rng.normal(size=(1, k, 37))
    found = by_columns(_native.solve, factored(gram), real, 2)
    assert np.allclose(gram[0] @ found[0], real[0], rtol=1e-6, atol=1e-8)


def test_products_take_the_transpose():
    matrix, real = np.random.default_rng(5).normal(size=(2, 1, 40, 40))
    assert np.allclose(by_columns(_native.multiply, matrix, real, 2)[0], matrix[0].T @ real[0])


@pytest.mark.parametrize("matrix", [np.ones((1, 3, 3)), np.diag([1.0, 0.0, 2.0])[None], -np.eye(3)[None] + 0.0])
def test_a_matrix_that_is_not_positive_definite_is_damped(matrix):
    assert not _native.factor(matrix.copy())
    if matrix[0, 0, 0] > 0:
        factor = factored(matrix)
        lower = np.tril(factor[0])
        assert np.isfinite(factor).all() and np.abs(lower @ lower.T - matrix[0]).max() < 0.3


def test_shapes_must_fit():
    x = rows(6)
    with pytest.raises(ValueError):
        _native.cross(x, x[:-1], np.empty((21, 21)), 0, 1)
    with pytest.raises(ValueError):
        _native.cross(x, x, np.empty((21, 20)), 0, 1)
    with pytest.raises(ValueError):
        _native.solve(np.ones((1, 3, 3)), np.ones((1, 4, 2)), np.ones((1, 4, 2)), 0, 2)


@pytest.mark.parametrize("isa", ["scalar", "avx2", ""])
def test_the_same_bits_on_every_instruction_set_for_any_number_of_threads(monkeypatch, isa):
    x, y = rows(7, 50), rows(8, 50)
    real = np.random.default_rng(9).normal(size=(1, 50, 70))

    def results(threads):
        gram = cross(x, x, threads)
        return [cross(x, y, threads), by_columns(_native.multiply, gram, real, threads),
                by_columns(_native.solve, factored(gram), real, threads)]  # fmt: skip

    monkeypatch.setenv("BITLITE_ISA", "scalar")
    expected = results(1)
    monkeypatch.setenv("BITLITE_ISA", isa)
    assert all(np.array_equal(a, b) for threads in (1, 3) for a, b in zip(results(threads), expected))
