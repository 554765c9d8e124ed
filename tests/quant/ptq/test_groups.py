"""Which tensors share a scale, and what happens to fixed ranges."""

import numpy as np
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.ptq.groups import make_groups
from bitlite.quant.ptq.placement import place


def graph_of(make):
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 4, 4, 8))
    y = make(build, x)
    w = build.constant(np.ones((2, y.shape[-1]), np.float32), "w")
    (end,) = build.emit("FullyConnected", [y, w], {}, name="end")
    graph.outputs = [end]
    return graph


def groups_of(graph, seen=lambda t: (-1.0, 1.0), **options):
    return make_groups(graph, place(graph, **options), seen)


def names(group):
    return {t.name for t in group.members}


def test_moves_share_the_scale_of_their_input():
    def make(build, x):
        pool = {"kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4, "dilation": [1, 1]}
        (a,) = build.emit("MaxPool", [x], pool, name="pool")
        (b,) = build.emit("Transpose", [a], {"perm": [0, 2, 1, 3]}, name="turn")
        return b

    (group,) = groups_of(graph_of(make)).groups
    assert names(group) == {"x", "pool", "turn"} and [t.name for t in group.sources] == ["x"]


def test_concat_ties_all_inputs_and_add_none():
    def make(build, x):
        (a,) = build.emit("Relu", [x], {}, name="a")
        (b,) = build.emit("Tanh", [x], {}, name="b")
        (c,) = build.emit("Add", [a, b], {}, name="c")
        (d,) = build.emit("Concat", [a, c], {"axis": -1}, name="d")
        return d

    members = {frozenset(names(g)) for g in groups_of(graph_of(make)).groups}
    assert members == {frozenset({"x"}), frozenset({"b"}), frozenset({"a", "c", "d"})}


def concat_with_softmax(build, x):
    (a,) = build.emit("Softmax", [x], {"axis": -1}, name="soft")
    (b,) = build.emit("Relu", [x], {}, name="other")
    (c,) = build.emit("Concat", [a, b], {"axis": -1}, name="join")
    return c


def test_a_fixed_range_wins_where_it_clips_nothing():
    groups = groups_of(graph_of(concat_with_softmax), lambda t: (0.0, 0.5))
    group = groups.of[next(t for t in groups.of if t.name == "join")]
    assert names(group) == {"soft", "other", "join"} and group.fixed == (1 / 256, -128)
    assert not groups.requantize


def test_a_fixed_range_that_would_clip_is_requantized():
    graph = graph_of(concat_with_softmax)
    groups = groups_of(graph, lambda t: (0.0, 7.0))
    group = groups.of[next(t for t in groups.of if t.name == "join")]
    assert names(group) == {"other", "join"} and group.fixed is None
    ((node, index),) = groups.requantize
    assert node.name == "join" and index == 0


def test_the_requantization_is_a_node_of_its_own(samples):
    from bitlite.quant.ptq.post_training import quantize_graph
    from bitlite.quant.ptq.settings import Settings

    def make(build, x):
        (a,) = build.emit("Softmax", [x], {"axis": -1}, name="soft")
        (b,) = build.emit("Concat", [a, x], {"axis": -1}, name="join")
        return b

    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8, 8, 3))
    y = make(build, x)
    (end,) = build.emit("FullyConnected", [y, build.constant(np.ones((2, 6), np.float32), "w")], {}, name="end")
    graph.outputs = [end]
    result = quantize_graph(graph, samples, Settings())
    join = next(n for n in result.graph.nodes if n.name == "join")
    assert join.inputs[0].quant == join.inputs[1].quant == join.outputs[0].quant
    assert any("requantized" in note for note in result.quantized.notes)


def test_constants_take_part():
    def make(build, x):
        k = build.constant(np.full((1, 4, 4, 8), 9.0, np.float32), "k")
        (y,) = build.emit("Maximum", [x, k], {}, name="most")
        return y

    graph = graph_of(make)
    group = next(g for g in groups_of(graph).groups if "most" in names(g))
    assert {t.name for t in group.sources} == {"x", "k"}


def test_a_fixed_range_is_known_behind_what_moves_it():
    def make(build, x):
        (a,) = build.emit("Sigmoid", [x], {}, name="gate")
        b, c = build.emit("Split", [a], {"axis": -1, "sizes": [4, 4]}, name="parts")
        (d,) = build.emit("Mul", [b, build.constant(np.float32(9), "k")], {}, name="wide")
        (e,) = build.emit("Concat", [d, c], {"axis": -1}, name="join")
        return e

    reach = {"gate": (0.0, 1.0), "parts": (0.0, 1.0), "parts_1": (0.0, 1.0)}
    groups = groups_of(graph_of(make), lambda t: reach.get(t.name, (0.0, 9.0)))
    group = groups.of[next(t for t in groups.of if t.name == "join")]
    assert names(group) == {"wide", "join"} and group.fixed is None
    assert [(node.name, index) for node, index in groups.requantize] == [("join", 1)]


def test_two_fixed_ranges_do_not_become_one():
    def make(build, x):
        (a,) = build.emit("Sigmoid", [x], {}, name="gate")
        (b,) = build.emit("Tanh", [x], {}, name="state")
        (c,) = build.emit("Concat", [a, b], {"axis": -1}, name="join")
        return c

    groups = groups_of(graph_of(make), lambda t: (0.0, 0.9))
    of = {t.name: groups.of[t] for t in groups.of}
    assert of["gate"].fixed == (1 / 256, -128) and of["state"].fixed == (1 / 128, 0)
    assert of["gate"] is not of["state"] and len(groups.requantize) == 1
