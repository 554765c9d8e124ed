"""Grids of few bits are judged by a run on noise."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.ir import Graph, Tensor
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder
from bitlite.quant.ptq.probe import keep_usable
from bitlite.quant.weights.weight_math import Weight, quantize_weight


def layer(rng: np.random.Generator, shape: tuple[int | None, ...] = (1, 64)) -> tuple[Graph, Tensor]:
    graph = Graph()
    build = Builder(graph)
    x = build.input("x", np.float32, shape)
    w = build.constant(rng.standard_normal((32, 64)).astype(np.float32), "w")
    graph.outputs = build.emit("FullyConnected", [x, w], {"keep_dims": True}, name="fc")
    return graph, w


def test_a_grid_that_computes_is_kept_and_the_graph_is_left_as_it_was() -> None:
    graph, w = layer(np.random.default_rng(0))
    weight, before = Weight(w.data), w.data
    fitted = [quantize_weight(weight, 3)]
    assert keep_usable(graph, [w], [weight], fitted, 3) is fitted
    assert w.data is before and w.quant is None and w.dtype == np.float32


def test_a_grid_whose_output_is_noise_gives_way_to_the_plain_one() -> None:
    graph, w = layer(np.random.default_rng(0))
    weight = Weight(w.data)
    codes, params = quantize_weight(weight, 3)
    wild = QuantParam(-3 * params.scale, params.zero_point, params.axis, params.bits, mean_corr=params.mean_corr)
    kept = keep_usable(graph, [w], [weight], [(codes, wild)], 3)
    plain_codes, plain = quantize_weight(weight, 3, fitted=False)
    assert kept[0][1] == plain and np.array_equal(kept[0][0], plain_codes)


@pytest.mark.parametrize("shape", [(None, 64)])
def test_an_open_batch_is_probed_with_one_sample(shape: tuple[int | None, ...]) -> None:
    graph, w = layer(np.random.default_rng(0), shape)
    weight = Weight(w.data)
    fitted = [quantize_weight(weight, 2)]
    assert keep_usable(graph, [w], [weight], fitted, 2) is fitted
