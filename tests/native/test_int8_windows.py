"""Pools, reductions, softmax and concatenation of codes against their references, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from int8_steps import THREADS, T, check, codes, requantize

POOL_CASES = [
    # h, w, c, kernel, stride, dilation, pad, ceil
    (6, 7, 5, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), False),
    (7, 7, 16, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), False),
    (6, 6, 33, (3, 3), (2, 2), (1, 1), (0, 0, 0, 0), True),
    (5, 8, 65, (2, 3), (1, 2), (2, 1), (1, 0, 0, 1), False),
    (4, 4, 1280, (4, 4), (4, 4), (1, 1), (0, 0, 0, 0), False),
    (4, 8, 96, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), False),
    (5, 9, 40, (2, 3), (2, 2), (1, 1), (1, 0, 1, 1), True),
    (4, 70, 16, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), False),
    (5, 41, 3, (3, 3), (2, 3), (1, 1), (1, 1, 1, 1), False),
    (4, 31, 1, (2, 2), (2, 4), (1, 1), (0, 0, 0, 0), False),
]


def pool_windows(case, x, fill):
    h, w, _, (kh, kw), (sh, sw), (dh, dw), pad, ceil = case
    rounding = np.ceil if ceil else np.floor
    oh = int(rounding((h + pad[0] + pad[1] - (kh - 1) * dh - 1) / sh)) + 1
    ow = int(rounding((w + pad[2] + pad[3] - (kw - 1) * dw - 1) / sw)) + 1
    more = ((0, 0), (pad[0], pad[1] + sh), (pad[2], pad[3] + sw), (0, 0))
    x = np.pad(x, more, constant_values=fill)
    taps = [
        x[:, ky * dh : ky * dh + (oh - 1) * sh + 1 : sh, kx * dw : kx * dw + (ow - 1) * sw + 1 : sw]
        for ky, kx in np.ndindex(kh, kw)
    ]
    return np.stack(taps)


def pool_attrs(case):
    _, _, _, kernel, stride, dilation, pad, ceil = case
    listed = {"kernel": kernel, "stride": stride, "dilation": dilation, "pad": pad}
    return {k: list(v) for k, v in listed.items()} | {"ceil_mode": ceil}


@pytest.mark.parametrize("case", POOL_CASES, ids=str)
def test_max_pool_matches_reference(case):
    rng = np.random.default_rng(17)
    x = codes(rng, (2, *case[:3]))
    expected = pool_windows(case, x.astype(np.int64), -1000).max(0).astype(np.int8)
    check("max_pool", [T(x, 0.1, 4)], [T(expected, 0.1, 4)], pool_attrs(case), [expected], THREADS)
    other = requantize(expected.astype(np.int64) - 4, 0.1 / 0.07, -9, -9, 127)
    check("max_pool", [T(x, 0.1, 4)], [T(other, 0.07, -9)], pool_attrs(case) | {"act": "relu"}, [other])


@pytest.mark.parametrize("case", POOL_CASES, ids=str)
@pytest.mark.parametrize("include_pad", [False, True])
def test_average_pool_matches_reference(case, include_pad):
    rng = np.random.default_rng(18)
    x = codes(rng, (2, *case[:3]))
    sums = pool_windows(case, x.astype(np.int64) - 4, 0).sum(0)
    ones = np.ones((1, case[0], case[1], 1), np.int64)
    pad = case[6]
    if include_pad:
        ones = np.pad(ones, ((0, 0), pad[:2], pad[2:], (0, 0)), constant_values=1)
        padded = (*ones.shape[1:3], *case[2:6], (0, 0, 0, 0), case[7])
        count = pool_windows(padded, ones, 0).sum(0)
    else:
        count = pool_windows(case, ones, 0).sum(0)
    expected = requantize(sums, 0.1 / (0.05 * count), -3)
    attrs = pool_attrs(case) | {"count_include_pad": include_pad}
    check("average_pool", [T(x, 0.1, 4)], [T(expected, 0.05, -3)], attrs, [expected], THREADS)


@pytest.mark.parametrize(
    "shape,axes",
    [((2, 7, 7, 33), (1, 2)), ((2, 5, 300), (2,)), ((3, 4, 5), (0, 1, 2)), ((3, 4, 5), (-3,)), ((2, 9), (0,))],
)
@pytest.mark.parametrize("keep", [False, True])
def test_reduce_matches_reference(shape, axes, keep):
    rng = np.random.default_rng(19)
    x = codes(rng, shape)
    n = np.prod([shape[a] for a in axes])
    attrs = {"axes": list(axes), "keep_dims": keep}
    sums = (x.astype(np.int64) + 5).sum(axes, keepdims=keep)
    for mode, m in (("mean", 0.1 / (0.02 * n)), ("sum", 0.1 / 0.02)):
        expected = np.asarray(requantize(sums, m, 7))
        check("reduce", [T(x, 0.1, -5)], [T(expected, 0.02, 7)], attrs | {"mode": mode}, [expected], (1, 2))
    for mode, m in (("mean", 0.1 / n), ("sum", 0.1)):
        real = np.asarray(sums.astype(np.float32) * np.float32(m))
        check("reduce", [T(x, 0.1, -5)], [T(real)], attrs | {"mode": mode}, [real], (1, 2))
    for mode, function in (("max", np.max), ("min", np.min)):
        expected = np.asarray(function(x, axes, keepdims=keep))
        check("reduce", [T(x, 0.1, -5)], [T(expected, 0.1, -5)], attrs | {"mode": mode}, [expected], (1, 2))


@pytest.mark.parametrize("shape,axis", [((5, 10), -1), ((2, 3, 1001), 2), ((3, 7, 5), 1), ((4, 1), 1)])
@pytest.mark.parametrize("scale,beta", [(0.1, 1.0), (0.5, 2.0), (0.001, 1.0)])
def test_softmax_matches_reference(shape, axis, scale, beta):
    rng = np.random.default_rng(20)
    x = codes(rng, shape)
    distance = x.max(axis, keepdims=True).astype(np.int64) - x
    table = np.array([np.rint(np.exp(-d * (scale * beta)) * 2.0**24) for d in range(256)])
    t = table[distance]
    m = (1.0 / (t.sum(axis, keepdims=True) * (1 / 256))).astype(np.float32)
    expected = (np.clip(np.rint(t.astype(np.float32) * m), 0, 255) - 128).astype(np.int8)
    attrs = {"axis": axis, "beta": beta}
    check("softmax", [T(x, scale, 9)], [T(expected, 1 / 256, -128)], attrs, [expected], (1, 2))
    exact = np.exp(-distance * scale * beta) / np.exp(-distance * scale * beta).sum(axis, keepdims=True)
    assert np.abs((expected.astype(float) + 128) / 256 - exact).max() <= 0.51 / 256 + (exact.max() > 255.5 / 256) / 256


@pytest.mark.parametrize("rows", [1, 8, 9, 30, 5000])
@pytest.mark.parametrize(
    "widths", [(3, 3), (1, 1), (8, 1), (2, 8, 5), (1, 2, 3, 4), (8, 8, 8, 8), (1,), (1, 1, 1, 1, 1)]
)
def test_concat_of_narrow_rows(widths, rows):
    rng = np.random.default_rng(22)
    params = ((0.1, 3), (0.2, -50), (0.1, 3), (0.15, 3), (0.3, 100))[: len(widths)]
    parts = [codes(rng, (rows, n)) for n in widths]
    expected = np.concatenate(
        [requantize(p.astype(np.int64) - z, s / 0.1, 3) for p, (s, z) in zip(parts, params, strict=True)], 1
    )
    inputs = [T(p, *q) for p, q in zip(parts, params, strict=True)]
    check("concat", inputs, [T(expected, 0.1, 3)], {"axis": 1}, [expected], (1, 2))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_requantizes_other_parameters(axis):
    rng = np.random.default_rng(21)
    shapes = [[2, 3, 33], [2, 3, 33], [2, 3, 33]]
    for shape, n in zip(shapes, (1, 5, 17), strict=True):
        shape[axis] = n
    params = ((0.1, 3), (0.2, -50), (0.15, 3))
    parts = [codes(rng, s) for s in shapes]
    expected = np.concatenate(
        [requantize(p.astype(np.int64) - z, s / 0.1, 3) for p, (s, z) in zip(parts, params, strict=True)], axis
    )
    inputs = [T(p, *q) for p, q in zip(parts, params, strict=True)]
    check("concat", inputs, [T(expected, 0.1, 3)], {"axis": axis}, [expected], (1, 2))
