"""Elementwise steps and pools in the profile `gemmlowp`: what MindSpore Lite's x86 kernels compute, to the bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bitlite import _native

ROUNDING = {"rounding": "gemmlowp"}


def tensor(name, data, params, constant=False):
    """A tensor's spec; params are scale and zero point."""
    return {
        "name": name,
        "dtype": "int8",
        "shape": list(data.shape),
        "data": data if constant else None,
        "scale": [params[0]],
        "zero_point": [params[1]],
        "axis": None,
    }


def check(op, operands, qy, expected, attrs=None):
    """operands are (codes, parameters), constant with a third element; on every instruction set, 1 and 2 threads."""
    specs = [tensor(f"t{i}", *o) for i, o in enumerate(operands)] + [tensor("y", expected, qy)]
    step = {"op": op, "name": op, "inputs": list(range(len(operands))), "outputs": [len(operands)]}
    step["attrs"] = ROUNDING | (attrs or {})
    fed = [i for i, o in enumerate(operands) if len(o) == 2]
    for isa in _native.isas():
        for threads in (1, 2):
            program = _native.Program(specs, [step], fed, [len(operands)], threads=threads, isa=isa)
            got = program.run([operands[i][0] for i in fed])[0]
            np.testing.assert_array_equal(got, expected, err_msg=f"{op} {isa} {threads}")


def codes(rng, shape):
    return rng.integers(-128, 127, shape, np.int8, endpoint=True)


def quantized(m):
    fraction, exponent = math.frexp(m)
    return math.floor(fraction * 2**31 + 0.5), exponent


def rescaled(acc, m):
    """The scalar code's: both roundings to nearest, the second with halves away from zero."""
    mantissa, exponent = m
    product = (acc << max(exponent, 0)) * mantissa
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = int(math.copysign(abs(nudged) >> 31, nudged))
    shift = max(-exponent, 0)
    return int(math.copysign((abs(high) + ((1 << shift) >> 1)) >> shift, high))


def rescaled_by_vectors(acc, m):
    """The vector code's: a negative product ends one higher, and its shift tests the remainder less one."""
    mantissa, exponent = m
    product = (acc << max(exponent, 0)) * mantissa + 2**30
    high = -(-product >> 31) if product < 0 else product >> 31
    shift = max(-exponent, 0)
    if high >= 0:
        quotient, rest = high >> shift, high % (1 << shift)
    else:
        quotient, rest = ~(-high >> shift), high % (1 << shift) - 1
    return quotient + (rest > ((1 << shift) - 1) >> 1)


def total(a, b, qa, qb, qy, sign=1, vectors=True):
    """Codes a ± b, arrays of one shape."""
    rescale = rescaled_by_vectors if vectors else rescaled
    common = 2 * max(qa[0], qb[0])
    ma, mb, my = quantized(qa[0] / common), quantized(qb[0] / common), quantized(common / (2**20 * qy[0]))
    y = np.empty(a.shape, np.int8)
    for i in np.ndindex(a.shape):
        left = rescale((int(a[i]) - qa[1]) << 20, ma)
        right = rescale((int(b[i]) - qb[1]) << 20, mb)
        y[i] = min(max(rescale(left + sign * right, my) + qy[1], -128), 127)
    return y


def product(a, b, qa, qb, qy):
    m = quantized(float(np.float32(qa[0]) * np.float32(qb[0]) / np.float32(qy[0])))
    y = np.empty(a.shape, np.int8)
    for i in np.ndindex(a.shape):
        y[i] = min(max(rescaled((int(a[i]) - qa[1]) * (int(b[i]) - qb[1]), m) + qy[1], -128), 127)
    return y


PARAMETERS = [((0.5, 3), (0.25, -4), (0.75, 1)), ((0.1, 0), (0.1, 0), (0.2, 0)), ((0.3, -120), (0.017, 90), (0.2, -3))]


@pytest.mark.parametrize(
    ("qa", "qb", "qy", "a", "b", "expected"),
    [
        ((0.3031862676143646, -1), (0.2446078360080719, -18), (0.3325980305671692, -2), -22, -45, -42),
        ((0.1512254923582077, -2), (0.14754901826381683, -34), (0.16825979948043823, -14), -33, -41, -49),
        ((0.25245097279548645, 6), (0.2600490152835846, 7), (0.29411765933036804, 1), -28, 27, -10),
        ((0.1512254923582077, -2), (0.14754901826381683, -34), (0.16825979948043823, -14), 5, -121, -85),
    ],
)
def test_sums_that_the_runtime_gave(qa, qb, qy, a, b, expected):
    """Observed in MindSpore Lite 2.0.0 on x86: each is one away from what either rounding alone would give."""
    left, right = np.full(16, a, np.int8), np.full(16, b, np.int8)
    check("add", [(left, qa), (right, qb)], qy, np.full(16, expected, np.int8))


@pytest.mark.parametrize(("qa", "qb", "qy"), PARAMETERS)
def test_sums_round_as_vectors_and_what_is_left_over_as_scalars(qa, qb, qy):
    rng = np.random.default_rng(1)
    for n in (5, 16, 39):
        a, b = codes(rng, (n,)), codes(rng, (n,))
        whole = n - n % 16
        expected = np.concatenate(
            [total(a[:whole], b[:whole], qa, qb, qy), total(a[whole:], b[whole:], qa, qb, qy, vectors=False)]
        )
        check("add", [(a, qa), (b, qb)], qy, expected)


def test_broadcast_sums_leave_over_at_the_end_of_each_run():
    rng = np.random.default_rng(2)
    qa, qb, qy = PARAMETERS[1]
    a, b = codes(rng, (3, 23)), codes(rng, (23,))
    wide = np.broadcast_to(b, a.shape)
    expected = total(a, wide, qa, qb, qy)
    expected[:, 16:] = total(a, wide, qa, qb, qy, vectors=False)[:, 16:]
    assert (expected != total(a, wide, qa, qb, qy)).any()
    check("add", [(a, qa), (b, qb, True)], qy, expected)
    one = codes(rng, (1,))
    expected = total(a, np.broadcast_to(one, a.shape), qa, qb, qy)
    expected.flat[64:] = total(a, np.broadcast_to(one, a.shape), qa, qb, qy, vectors=False).flat[64:]
    check("add", [(a, qa), (one, qb)], qy, expected)


@pytest.mark.parametrize(
    ("qa", "qb", "qy"),
    [
        # Scales of simple ratios: many sums are exactly whole or half, where this rounding is its own.
        ((0.26, 3), (0.25, 3), (0.294, 3)),
        ((0.5, -9), (0.25, 4), (1.0, 1)),
        ((0.1, 20), (0.1, -30), (0.1, 0)),
        ((0.0737, 5), (0.2113, -60), (0.1519, 33)),
    ],
)
def test_every_pair_of_codes_rounds_as_the_runtime_rounds_it(qa, qb, qy):
    every = np.arange(-128, 128, dtype=np.int8)
    a, b = (m.ravel() for m in np.meshgrid(every, every, indexing="ij"))
    check("add", [(a, qa), (b, qb)], qy, total(a, b, qa, qb, qy))
    check("mul", [(a, qa), (b, qb)], qy, product(a, b, qa, qb, qy))


@pytest.mark.parametrize(("qa", "qb", "qy"), PARAMETERS)
def test_differences_and_products_round_as_scalars(qa, qb, qy):
    rng = np.random.default_rng(3)
    a, b = codes(rng, (7, 33)), codes(rng, (7, 33))
    expected = total(a, b, qa, qb, qy, -1, vectors=False)
    check("sub", [(a, qa), (b, qb)], qy, expected)
    expected = product(a, b, qa, qb, qy)
    check("mul", [(a, qa), (b, qb)], qy, expected)


def test_average_pools_round_halves_up():
    x = codes(np.random.default_rng(4), (1, 6, 6, 19))
    blocks = x.reshape(3, 2, 3, 2, 19).astype(np.int64).sum((1, 3))
    expected = np.floor(blocks / 4 + 0.5).astype(np.int8)[None]
    attrs = {"kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4, "pad_mode": "explicit"}
    check("average_pool", [(x, (0.1, -7))], (0.1, -7), expected, attrs)


def test_a_sum_in_this_profile_stays_a_step_of_its_own():
    rng = np.random.default_rng(5)
    shape, weight = (7, 24), codes(rng, (24, 24))
    empty = np.zeros(shape, np.int8)
    specs = [tensor("x", empty, (0.05, -3)), tensor("w", weight, (0.002, 0), True)]
    specs += [tensor(n, empty, q) for n, q in (("p", (0.03, 4)), ("r", (0.02, 9)), ("y", (0.04, -7)))]
    steps = [
        {"op": "matmul", "name": "a", "inputs": [0, 1], "outputs": [2], "attrs": ROUNDING},
        {"op": "add", "name": "b", "inputs": [2, 3], "outputs": [4], "attrs": ROUNDING},
    ]
    assert _native.Program(specs, steps, [0, 3], [4], threads=1).step_names == ["a", "b"]


def test_floats_become_codes_in_one_rounded_operation_with_halves_away():
    rng = np.random.default_rng(6)
    for scale, zero in ((0.0079, -1), (0.037, 33), (0.25, -128)):
        inverse = np.float32(1) / np.float32(scale)
        ties = (np.arange(-130, 129) + 0.5 - zero) * scale
        x = np.concatenate([ties, rng.uniform(-140, 140, 2000) * scale, [1e30, -1e30, np.inf, -np.inf]])
        x = x.astype(np.float32)
        # Exact in float64 but for a sum that float32 rounds; then halves away from zero.
        v = (x.astype(np.float64) * np.float64(inverse) + zero).astype(np.float32).astype(np.float64)
        expected = np.clip(np.copysign(np.floor(np.abs(v) + 0.5), v), -128, 127).astype(np.int8)
        specs = [
            tensor("x", np.zeros(x.shape, np.int8), (1.0, 0)) | {"dtype": "float32", "scale": None, "zero_point": None},
            tensor("y", expected, (scale, zero)),
        ]
        step = {"op": "quantize", "name": "q", "inputs": [0], "outputs": [1], "attrs": ROUNDING}
        for isa in _native.isas():
            for threads in (1, 2):
                program = _native.Program(specs, [step], [0], [1], threads=threads, isa=isa)
                np.testing.assert_array_equal(program.run([x])[0], expected, err_msg=isa)
