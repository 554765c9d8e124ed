"""Bytes that shared grids and the gates' weights leave: they go to the layers that cost the outputs most."""

from dataclasses import replace

import numpy as np
import pytest
from bitlite.converter.ir import Tensor
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.quant.calibrate.spread import Chosen
from bitlite.quant.weights.bit_budget import Width
from bitlite.quant.weights.spare_bits import Ledger, spare_bits
from bitlite.quant.weights.weight_quant import FLOAT, HALF, WeightSettings, quantize_graph_weights

YIELD = WeightSettings(4, gates_yield=True)


def coded(name, bits, channels=8, inputs=64, seed=0):
    codes = np.random.default_rng(seed).integers(-3, 4, (channels, inputs)).astype(np.int8)
    scale = np.linspace(0.01, 0.02, channels)
    quant = QuantParam(scale, np.zeros(channels, np.int32), 0, bits, mean_corr=np.zeros(channels, np.float32))
    return Tensor(name, codes.dtype, codes.shape, codes, quant)


def ledger(sharing):
    forms = {b: {"a": [coded("a/w", b)], "b": [coded("b/w", b, seed=1)]} for b in (4, 5, 6, 7, 8)}
    widths = {
        name: {b: Width(64 * b + 20 * 8, gain * 4.0**-b) for b in (4, 5, 6, 7, 8)}
        for name, gain in (("a", 1.0), ("b", 9.0))
    }
    widths["f"] = {HALF: Width(2000, 0.0), FLOAT: Width(4000, 0.0)}
    return Ledger(widths, forms, sharing)


def test_shared_grids_take_less_than_grids_of_their_own():
    start = {"a": 4, "b": 4, "f": FLOAT}
    assert ledger({"a", "b"}).shared(start) < ledger(()).shared(start) == ledger(()).alone(start)
    assert ledger(()).alone(start) - ledger(()).alone(start | {"f": HALF}) == 2000


def test_what_is_left_goes_where_it_takes_most_off_and_never_below_what_was_asked_for():
    start, books = {"a": 4, "b": 4, "f": FLOAT}, ledger({"a", "b"})
    bits = books.spend(start, books.alone(start))
    assert bits["f"] == HALF and bits["b"] > 4 and bits["b"] >= bits["a"] >= 4
    assert books.shared(bits) <= books.alone(start)
    assert books.error(bits) < books.error(start)
    assert books.spend(start, 0) == start


@pytest.mark.parametrize("more", [1.0, 1.1, 1.5])
def test_files_that_are_larger_than_counted_get_fewer_bits(network, samples, more):
    """More codes than counted weigh more than counted."""
    graph, sizes = network(softmax=False), []

    def size_of(graph):
        size = sum(t.data.size * t.quant.bits / 8 if t.quant else t.data.nbytes for t in graph.constants())
        few = {t.quant.bits for t in graph.constants() if t.quant}
        sizes.append(size * (more if max(few) > 4 else 1))
        return int(sizes[-1])

    picked = Chosen(samples, range(len(samples)))
    bits = spare_bits(graph, YIELD, picked, 1, size_of)
    plain = sizes[0]
    assert bits and sum(bits.values()) <= sum(spare_bits(graph, YIELD, picked, 1, None).values())
    quantize_graph_weights(graph, replace(YIELD, chosen=bits, alone=True))
    assert size_of(graph) <= plain


def test_nothing_is_spared_where_bits_are_chosen_or_too_many(network, samples):
    picked = Chosen(samples, range(len(samples)))
    for settings in (
        WeightSettings(8, gates_yield=True),
        WeightSettings(3, gates_yield=True, container="onnx"),
        WeightSettings(4, container="onnx"),
        WeightSettings(4, gates_yield=True, chosen={"mix": 4}),
        WeightSettings(4, gates_yield=True, block_size=32),
    ):
        assert spare_bits(network(), settings, picked, 1, None) == {}


@pytest.mark.parametrize("container", ["tflite", "onnx"])
def test_other_formats_spend_what_the_gates_leave_on_the_widths_they_have(network, samples, container):
    settings = WeightSettings(4, gates_yield=True, container=container)
    bits = spare_bits(network(softmax=False), settings, Chosen(samples, range(len(samples))), 1, None)
    assert bits["classify"] == 8 and set(bits.values()) <= {8, 16}


def test_threads_do_not_change_what_is_found(network, samples):
    picked = Chosen(samples, range(len(samples)))
    one, two = (spare_bits(network(softmax=False), YIELD, picked, threads, None) for threads in (1, 3))
    assert one == two and one
