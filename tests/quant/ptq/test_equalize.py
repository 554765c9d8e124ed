"""Equalization: the same function on the calibration data, channels of equal reach, and what it may not touch."""

import numpy as np
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session
from bitlite.quant.calibrate.observe import ChannelReach, observe
from bitlite.quant.ptq.equalize import equalize, link_channels, scale_channels
from bitlite.quant.ptq.placement import place, tensors_in_codes


def extremes(graph, samples):
    seen, plan = ChannelReach(), place(graph)
    observe(graph, samples, [t for t in tensors_in_codes(graph, plan) if not t.is_const], seen)
    return plan, seen


def run(graph, samples):
    session = Session(graph)
    return np.concatenate([next(iter(session.run(dict(s)).values())) for s in samples])


def test_the_function_stays_the_same_on_what_was_seen(network, samples):
    graph = network(softmax=False)
    before = run(graph, samples)
    plan, seen = extremes(graph, samples)
    assert equalize(graph, seen.of, plan.int8_nodes, alpha=1.0)
    assert np.allclose(before, run(graph, samples), rtol=1e-4, atol=1e-4)


def test_channels_reach_equally_far(network, samples):
    graph = network(softmax=False)
    plan, seen = extremes(graph, samples)
    side = next(n for n in graph.nodes if n.name == "side").outputs[0]
    before = seen.of[side][0].copy()
    equalize(graph, seen.of, plan.int8_nodes, alpha=1.0)
    _, seen = extremes(graph, samples)
    after = seen.of[side][0][before > 0]
    assert after.max() / after.min() < 0.8 * before.max() / before[before > 0].min()


def test_a_channel_that_one_sample_made_active_is_not_scaled():
    graph = Graph("rarely")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 3))
    w, v = (build.constant(np.eye(3, dtype=np.float32), name) for name in "wv")
    (a,) = build.emit("FullyConnected", [x, w], {"act": "relu"}, name="a")
    (b,) = build.emit("FullyConnected", [a, v], {}, name="b")
    graph.outputs = [b]
    rows = np.float32([[8 + i, 1 + i / 16, 0.1 if i == 3 else -1] for i in range(8)])
    plan, seen = extremes(graph, [{"x": row[None]} for row in rows])
    factors = equalize(graph, seen.of, plan.int8_nodes, alpha=1.0)["a"]
    assert factors[1] > 4 and factors[2] == 1


def test_a_relu6_is_left_alone(network, samples):
    graph = network(softmax=False)
    plan, seen = extremes(graph, samples)
    assert "each" not in equalize(graph, seen.of, plan.int8_nodes, alpha=1.0)


def test_ends_of_the_graph_are_not_scaled(network, samples):
    graph = network(softmax=False)
    plan, seen = extremes(graph, samples)
    factors = equalize(graph, seen.of, plan.int8_nodes, alpha=1.0)
    assert "x" not in factors and "classify" not in factors


def test_a_shortcut_shares_its_factors(network, samples):
    graph = network(softmax=False)
    plan, seen = extremes(graph, samples)
    factors = equalize(graph, seen.of, plan.int8_nodes, alpha=0.5)
    assert np.array_equal(factors["first"], factors["sum"]) and np.array_equal(factors["first"], factors["mix"])
    assert np.array_equal(factors["join"], np.concatenate([factors["pool"], factors["side"]]))


def test_factors_apply_again(network, samples):
    one, two = network(), network()
    plan, seen = extremes(one, samples)
    factors = equalize(one, seen.of, plan.int8_nodes)
    scale_channels(two, place(two).int8_nodes, factors)
    weights = [[t.data for t in g.constants()] for g in (one, two)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights))


def test_a_weight_of_two_layers_pins_its_channels():
    graph = Graph("tied")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 4))
    w = build.constant(np.eye(4, dtype=np.float32), "w")
    (a,) = build.emit("FullyConnected", [x, w], {}, name="a")
    (b,) = build.emit("FullyConnected", [a, w], {}, name="b")
    (c,) = build.emit("FullyConnected", [b, build.constant(np.eye(4, dtype=np.float32), "v")], {}, name="c")
    graph.outputs = [c]
    channels = link_channels(graph, set(graph.nodes))
    assert channels.pinned[channels.of[a]].all() and channels.pinned[channels.of[b]].all()
