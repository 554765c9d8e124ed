"""Matrix products of codes against plain integer references, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from int8_steps import THREADS, T, check, codes, const, dynamic_params, requantize


@pytest.mark.parametrize("m,k,n", [*itertools.product((1, 2, 7), (1, 3, 64, 65), (1, 10, 128)), (33, 640, 128)])
def test_fully_connected_matches_integer_reference(m, k, n):
    rng = np.random.default_rng(m * k * n)
    x, w = codes(rng, (m, k)), codes(rng, (n, k))
    bias = rng.integers(-9000, 9000, n).astype(np.int32)
    acc = (x.astype(np.int64) + 128) @ w.T.astype(np.int64) + bias
    sy = float(np.abs(acc).max() * 0.02 * 0.01 / 120)
    expected = requantize(acc, 0.02 * 0.01 / sy, -4)
    inputs = [T(x, 0.02, -128), const(w, 0.01, 0), const(bias)]
    check("fully_connected", inputs, [T(expected, sy, -4)], {}, [expected], THREADS)
    expected = acc.astype(np.float32) * np.float32(0.02 * 0.01)
    check("fully_connected", inputs, [T(expected)], {}, [expected], THREADS)


def test_fully_connected_quantizes_its_input_while_running():
    rng = np.random.default_rng(11)
    x, w = rng.normal(0, 2, (5, 65)).astype(np.float32), codes(rng, (33, 65))
    q, sx, zx = dynamic_params(x)
    zw = rng.integers(-128, 127, 33)
    sw = rng.uniform(0.001, 0.01, 33)
    acc = (q.astype(np.int64) - zx) @ (w.astype(np.int64) - zw[:, None]).T
    expected = acc.astype(np.float32) * (sx * sw.astype(np.float32))
    check("fully_connected", [T(x), const(w, sw, zw, 0), None], [T(expected)], {"dynamic": True}, [expected], THREADS)


@pytest.mark.parametrize("ta,tb", [*itertools.product((False, True), repeat=2)])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("zb", [0, -128, 17])
@pytest.mark.parametrize("batch", [((), ()), ((2, 3), (3,)), ((3,), (1,)), ((1,), (2,))], ids=str)
def test_matmul_matches_integer_reference(ta, tb, computed, zb, batch):
    rng = np.random.default_rng(12)
    m, k, n = 9, 21, 18
    a = codes(rng, (*batch[0], *((k, m) if ta else (m, k))))
    b = codes(rng, (*batch[1], *((n, k) if tb else (k, n))))
    left = a.astype(np.int64).swapaxes(-1, -2) if ta else a.astype(np.int64)
    right = b.astype(np.int64).swapaxes(-1, -2) if tb else b.astype(np.int64)
    acc = np.matmul(left - 5, right - zb)
    sy = float(np.abs(acc).max() * 0.02 * 0.01 / 120)
    expected = requantize(acc, 0.02 * 0.01 / sy, -4)
    inputs = [T(a, 0.02, 5), (T if computed else const)(b, 0.01, zb)]
    attrs = {"transpose_a": ta, "transpose_b": tb}
    check("matmul", inputs, [T(expected, sy, -4)], attrs, [expected], THREADS)
