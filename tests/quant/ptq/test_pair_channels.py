"""Channels change places so that fewer neighbours exceed; the function stays the same."""

import numpy as np
import pytest
from bitlite import _native
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.pairs import MOST, largest_sum
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session
from bitlite.quant.ptq.pair_channels import pair_channels

POINT = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}


def network(rng, kind):
    graph = Graph("m")
    build = Builder(graph)

    def conv(x, out, k=1, act="relu6", group=1):
        w = build.constant(rng.laplace(size=(out, k, k, x.shape[-1] // group)).astype(np.float32) * 0.2, "w")
        b = build.constant(rng.normal(size=out).astype(np.float32), "b")
        attrs = POINT | {"pad": [k // 2] * 4, "act": act, "group": group}
        return build.emit("Conv", [x, w, b], attrs)[0]

    x = build.input("x", np.float32, (1, 6, 6, 8))
    y = conv(x, 16)
    if kind == "depthwise":
        y = conv(y, 16, 3, group=16)
    elif kind == "residual":
        y = build.emit("Add", [y, conv(y, 16, 3)], {"act": "relu"})[0]
    elif kind == "concat":
        y = build.emit("Concat", [conv(y, 12), conv(y, 20, 3)], {"axis": -1})[0]
    elif kind == "of one part":
        y = build.emit("Concat", [y, conv(y, 16)], {"axis": -1})[0]
    elif kind == "odd":
        y = conv(y, 15)
    y = conv(y, 6)
    y = build.emit("Reduce", [y], {"mode": "mean", "axes": [1, 2], "keep_dims": False})[0]
    w = build.constant(rng.normal(size=(5, 6)).astype(np.float32), "w")
    graph.outputs = [build.emit("FullyConnected", [y, w], {"keep_dims": True})[0]]
    return graph


def exceeded(graph):
    total = 0.0
    for node in graph.nodes:
        if node.op == "Conv" and node.attrs["group"] == 1:
            w = node.inputs[1].data.reshape(len(node.inputs[1].data), -1)
            total += (largest_sum(w / np.abs(w).max(1, keepdims=True) * 127) - MOST).clip(min=0).sum()
    return total


@pytest.mark.parametrize("kind", ["plain", "depthwise", "residual", "concat", "of one part", "odd"])
def test_the_function_stays_and_fewer_pairs_exceed(kind):
    graph = network(np.random.default_rng(7), kind)
    x = np.random.default_rng(8).normal(size=(1, 6, 6, 8)).astype(np.float32)
    (want,) = Session(graph.copy()).run({"x": x}).values()
    before = exceeded(graph)
    pair_channels(graph, set(graph.nodes))
    (got,) = Session(graph.copy()).run({"x": x}).values()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert exceeded(graph) < 0.8 * before


def test_channels_that_the_user_sees_keep_their_order():
    graph = network(np.random.default_rng(7), "plain")
    graph.outputs.append(graph.nodes[0].outputs[0])
    kept = graph.nodes[0].inputs[1].data.copy()
    pair_channels(graph, set(graph.nodes))
    np.testing.assert_array_equal(graph.nodes[0].inputs[1].data, kept)


def test_costs_are_the_squares_of_what_two_channels_exceed_by():
    w = np.random.default_rng(0).integers(0, 128, (5, 70)).astype(np.uint8)
    costs = np.ones((5, 5))
    _native.add_excess(np.ascontiguousarray(w.T), MOST, costs)
    over = (w[:, None].astype(int) + w - MOST).clip(min=0)
    want = 1 + np.square(over).sum(axis=2)
    np.fill_diagonal(want, 1)
    np.testing.assert_array_equal(costs, want)


@pytest.mark.parametrize("n", (0, 1, 2, 7, 40))
def test_channels_are_matched_until_no_exchange_lowers_the_costs(n):
    costs = np.square(np.random.default_rng(n).normal(size=(n, n)))
    costs += costs.T

    def total(order):
        return sum(costs[order[i], order[i + 1]] for i in range(0, n - 1, 2))

    order = _native.match_pairs(costs, 100)
    assert sorted(order) == list(range(n))
    assert total(order) <= total(range(n))
    for a in range(0, n - 1, 2):
        for other in range(a + 2, n // 2 * 2):
            exchanged = order.copy()
            exchanged[[a + 1, other]] = exchanged[[other, a + 1]]
            assert total(exchanged) >= total(order) * (1 - 1e-6)
