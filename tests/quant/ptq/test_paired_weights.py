"""Scales and codes that keep products within 16 bits in pairs, at the least cost."""

from types import SimpleNamespace

import numpy as np
import pytest
from bitlite.converter import ops  # noqa: F401  declares the rows
from bitlite.converter.ir import Node, Tensor
from bitlite.converter.numeric.pairs import MOST, largest_sum, rounded
from bitlite.converter.numeric.qparams import dequantize, quantize
from bitlite.quant.ptq.paired_weights import (
    costly_pairs,
    noises,
    paired_codes,
    paired_scales,
    searched_scales,
    without_pairs,
)
from bitlite.quant.weights.symmetric_weights import symmetric


def layer(op, shape, **attrs):
    w = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    node = Node(op, "n", [None, Tensor("w", w.dtype, w.shape, w)], [], attrs)
    return node, w


LAYERS = {
    "conv": (*layer("Conv", (6, 3, 3, 4), group=1), 0),
    "odd taps": (*layer("Conv", (6, 3, 3, 3), group=1), 0),
    "groups": (*layer("Conv", (6, 3, 3, 4), group=2), 0),
    "dense": (*layer("FullyConnected", (6, 40)), 0),
    "matmul": (*layer("MatMul", (40, 6), transpose_b=False), 1),
    "one scale": (*layer("FullyConnected", (6, 40)), None),
}


def rows(name, codes):
    return np.moveaxis(codes, LAYERS[name][2] or 0, 0).reshape(6, -1)


@pytest.mark.parametrize("name", LAYERS)
def test_no_pair_exceeds_and_the_error_is_less_than_that_of_7_bits(name):
    node, w, axis = LAYERS[name]
    plain = symmetric(w, axis, 8)
    quant = paired_scales(node, w, plain)
    codes = paired_codes(node, w, quant)
    assert largest_sum(rows(name, quantize(w, plain))).max() > MOST
    assert largest_sum(rows(name, codes)).max() <= MOST
    assert (quant.scale >= plain.scale).all()

    def error(codes, quant):
        return np.square(dequantize(codes, quant) - w).sum()

    seven = symmetric(w, axis, 8)
    seven = SimpleNamespace(scale=plain.scale * 2, bits=7)
    reduced = np.clip(np.rint(np.moveaxis(w, axis or 0, -1) / seven.scale), -63, 63) * seven.scale
    assert error(codes, quant) < 0.8 * np.square(reduced - np.moveaxis(w, axis or 0, -1)).sum()


@pytest.mark.parametrize("name", LAYERS)
def test_codes_and_scales_are_those_of_the_reference(name):
    node, w, axis = LAYERS[name]
    plain = symmetric(w, axis, 8)
    held = paired_scales(node, w, plain)
    real = np.moveaxis(w, axis or 0, 0).reshape(6, -1).astype(np.float64)
    scale = np.broadcast_to(held.scale, 6)[:, None]
    np.testing.assert_array_equal(rows(name, paired_codes(node, w, held)), rounded(real / scale, 127))

    def error(scale):
        return np.square(rounded(real / scale, 127) * scale - real).sum(axis=1)

    worst = largest_sum(np.rint(real / np.broadcast_to(plain.scale, 6)[:, None])) / MOST
    worst = worst if axis is not None else worst.max()
    tried = [error(np.broadcast_to(plain.scale * (1 + (worst - 1) * p), 6)[:, None]) for p in np.linspace(0, 1, 9)]
    least = np.min(tried, axis=0) if axis is not None else np.sum(tried, axis=1).min()
    found = error(scale) if axis is not None else error(scale).sum()
    np.testing.assert_allclose(found, least, rtol=1e-5)


def test_channels_without_such_pairs_keep_their_scale_and_codes():
    node, w, axis = LAYERS["dense"]
    w = w.copy()
    w[2, 1:] *= 0.2  # its largest pair is 127 beside little
    w[2, :2] = 9, -9
    plain = symmetric(w, axis, 8)
    quant = paired_scales(node, w, plain)
    assert quant.scale[2] == plain.scale[2]
    np.testing.assert_array_equal(paired_codes(node, w, quant)[2], quantize(w, plain, narrow=True)[2])


def test_a_depthwise_layer_and_fewer_bits_are_left():
    node, w = layer("Conv", (6, 3, 3, 1), group=6)
    plain = symmetric(w, 0, 8)
    assert paired_scales(node, w, plain) == plain
    np.testing.assert_array_equal(paired_codes(node, w, plain), quantize(w, plain, narrow=True))
    node, w, axis = LAYERS["dense"]
    plain = symmetric(w, axis, 7)
    assert paired_scales(node, w, plain) == plain


def test_pairs_hold_in_whatever_order_a_weight_lies_in_memory():
    node, w, axis = LAYERS["conv"]
    w = np.asfortranarray(w)
    plain = symmetric(w, axis, 8)
    codes = paired_codes(node, w, paired_scales(node, w, plain))
    assert largest_sum(rows("conv", codes)).max() <= MOST


def sized(op, shape, pixels, seed, **attrs):
    """A layer of as many outputs, its weight, and that one's parameters without pairs and with them."""
    return of_weight(op, np.random.default_rng(seed).normal(size=shape).astype(np.float32), pixels, seed, **attrs)


def of_weight(op, w, pixels, seed, **attrs):
    shape = w.shape
    x = Tensor("x", w.dtype, (1, pixels, 1, shape[-1]))
    y = Tensor("y", w.dtype, (1, pixels, 1, shape[0]))
    node, plain = Node(op, f"n{seed}", [x, Tensor("w", w.dtype, w.shape, w)], [y], attrs), symmetric(w, 0, 8)
    return node, w, plain, paired_scales(node, w, plain)


def chosen(layers):
    return without_pairs(noises(layers), [layer[0] for layer in layers])


def test_layers_of_few_products_hold_no_pairs_where_that_costs_them_most():
    small = sized("Conv", (6, 1, 1, 4), 10, 1, group=1)
    large = [sized("Conv", (16, 3, 3, 16), 100, seed, group=1) for seed in (2, 3)]
    assert chosen([large[0], small, large[1]]) == {small[0]}
    assert chosen([small]) == frozenset()  # all of the products


def test_a_layer_that_loses_nothing_by_pairs_holds_them():
    w = np.random.default_rng(1).normal(size=(6, 1, 1, 4)).astype(np.float32)
    w[:, :, :, 1::2] *= 0.001
    small = of_weight("Conv", w, 10, 1, group=1)
    large = sized("Conv", (16, 3, 3, 16), 100, 2, group=1)
    assert chosen([small, large]) == frozenset()


def test_pairs_for_speed_are_held_where_they_add_less_than_a_decibel_of_noise():
    rng = np.random.default_rng(5)
    few = rng.normal(size=(16, 1, 1, 64)).astype(np.float32) / 8
    few[..., 0] = 1  # a large one, beside a small one
    many = rng.uniform(-1, 1, (16, 1, 1, 64)).astype(np.float32)
    layers = [of_weight("Conv", w, 10, k, group=1) for k, w in enumerate((few, many))]
    of_codes = [[np.square(dequantize(codes, q) - w).sum() for codes, q in forms] for w, forms in
                ((w, ((quantize(w, plain, narrow=True), plain), (paired_codes(node, w, held), held)))
                 for node, w, plain, held in layers)]  # fmt: skip
    decibels = [10 * np.log10(held / plain) for plain, held in of_codes]
    assert decibels[0] < 0.5 < 1 < decibels[1]
    assert costly_pairs(noises(layers)) == searched_scales(noises(layers)) == {layers[1][0]}
