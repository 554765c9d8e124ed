from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.passes.axes import (
    composed,
    hoist_through_reshape,
    inverse,
    is_identity,
    keeps_memory,
    reshape_groups,
    sink_through_reshape,
)


def test_inverse_and_composition_are_those_of_numpy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 5))
    for _ in range(20):
        p, q = rng.permutation(4), rng.permutation(4)
        assert np.array_equal(x.transpose(p).transpose(q), x.transpose(composed(p, q)))
        assert is_identity(composed(p, inverse(p)))


@pytest.mark.parametrize(
    ("perm", "shape", "kept"),
    [
        ([0, 3, 1, 2], (2, 1, 1, 7), True),
        ([0, 3, 1, 2], (2, 1, 4, 7), False),
        ([0, 2, 1], (2, None, 1), True),
        ([1, 0, 2], (1, 5, 3), False),  # a batch of 1 may be another at run time
        ([2, 0, 1], None, False),
    ],
)
def test_moving_only_axes_of_size_one_keeps_memory(perm, shape, kept):
    assert keeps_memory(perm, shape) is kept


@pytest.mark.parametrize(
    ("source", "target", "groups"),
    [
        ((2, 12, 5), (2, 3, 4, 5), [([0], [0]), ([1], [1, 2]), ([2], [3])]),
        ((2, 3, 1, 5), (6, 1, 5), [([0, 1], [0]), ([3], [2])]),
        ((None, 4, 5), (None, 20), [([0], [0]), ([1, 2], [1])]),
        ((None, 4), (4, None), [([0, 1], [0, 1])]),
        ((None, 4), (2, None), None),
        ((None, None), (None, None), None),
        ((0, 4), (4, 0), None),
    ],
)
def test_a_reshape_falls_into_its_smallest_parts(source, target, groups):
    assert reshape_groups(source, target) == groups


def test_transposes_cross_reshapes_in_both_directions():
    rng = np.random.default_rng(1)
    crossed = [0, 0]
    for _ in range(300):
        shape = tuple(int(n) for n in rng.choice([1, 2, 3, 4, 6], int(rng.integers(1, 5))))
        perm = tuple(int(p) for p in rng.permutation(len(shape)))
        x = np.arange(np.prod(shape)).reshape(shape)
        y = x.transpose(perm)
        sizes, cut = list(y.shape), int(rng.integers(len(shape)))
        if sizes[cut] in (4, 6) and rng.random() < 0.6:
            sizes[cut : cut + 1] = [2, sizes[cut] // 2]
        elif len(sizes) > 1:
            cut = min(cut, len(sizes) - 2)
            sizes[cut : cut + 2] = [sizes[cut] * sizes[cut + 1]]
        sunk = sink_through_reshape(shape, perm, tuple(sizes))
        if sunk is not None:
            crossed[0] += 1
            assert np.array_equal(y.reshape(sizes), x.reshape(sunk[0]).transpose(sunk[1]))
        after = tuple(int(p) for p in rng.permutation(len(sizes)))
        order = hoist_through_reshape(y.shape, tuple(sizes), after)
        if order is not None:
            crossed[1] += 1
            wanted = y.reshape(sizes).transpose(after)
            assert np.array_equal(wanted, y.transpose(order).reshape(wanted.shape))
    assert min(crossed) > 100


def test_a_reshape_that_merges_what_was_apart_stops_a_transpose():
    assert sink_through_reshape((2, 4, 5, 3), (0, 3, 1, 2), (2, 60)) is None
    assert sink_through_reshape((2, 4, 5, 3), (0, 3, 1, 2), (2, 3, 20)) == ([2, 20, 3], (0, 2, 1))
