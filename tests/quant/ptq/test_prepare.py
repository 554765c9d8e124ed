"""Passes before PostTraining: what they rewrite, what they leave alone and say so, and that values stay."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph, Tensor
from bitlite.converter.passes import Change, Refusal
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session
from bitlite.quant.ptq.prepare import prepare

POOL = {"kernel": [4, 4], "stride": [1, 1], "pad": [0] * 4, "dilation": [1, 1]}
FORMS = {
    "Div": (lambda b, x: b.emit("Div", [x, b.constant(np.float32(1.7), "k")], {}, name="op"), ["Mul"]),
    "BatchNorm": (
        lambda b, x: b.emit("BatchNorm", [x, *(b.constant(np.float32([1, 2, 3]), k) for k in "abcd")], {}, name="op"),
        ["Conv"],
    ),
    "AveragePool": (lambda b, x: b.emit("AveragePool", [x], POOL, name="op"), ["Reduce"]),
}


def network(emit):
    graph = Graph("net")
    x = Tensor("x", np.dtype(np.float32), (1, 4, 4, 3))
    graph.inputs = [x]
    graph.outputs = list(emit(Builder(graph), x))
    return graph


def test_quotients_by_one_constant_share_its_inverse():
    def emit(b, x):
        k = b.constant(np.float32(4), "k")
        return b.emit("Div", [b.emit("Div", [x, k], name="first")[0], k], name="second")

    graph = network(emit)
    prepare(graph)
    assert [n.op for n in graph.nodes] == ["Mul", "Mul"]
    x = np.ones((1, 4, 4, 3), np.float32)
    np.testing.assert_array_equal(next(iter(Session(graph).run({"x": x}).values())), x / 16)


@pytest.mark.parametrize("name", FORMS)
def test_an_operator_gets_its_form_on_codes_and_keeps_its_values(name):
    emit, forms = FORMS[name]
    graph = network(emit)
    feed = {"x": np.random.default_rng(0).standard_normal((1, 4, 4, 3)).astype(np.float32)}
    want = next(iter(Session(graph).run(feed).values()))
    records = prepare(graph)
    assert [n.op for n in graph.nodes] == forms
    assert [r.node for r in records if isinstance(r, Change)] == ["op"]
    np.testing.assert_allclose(next(iter(Session(graph).run(feed).values())), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Div", "BatchNorm"])
def test_what_stays_in_float_stays_as_it_is(name):
    graph = network(FORMS[name][0])
    assert not prepare(graph, set(graph.nodes))
    assert [n.op for n in graph.nodes] == [name]


def test_a_quotient_by_zero_is_refused_with_its_reason():
    graph = network(lambda b, x: b.emit("Div", [x, b.constant(np.float32([1, 0, 2]), "k")], {}, name="op"))
    (record,) = prepare(graph)
    assert isinstance(record, Refusal) and record.node == "op" and "zero" in record.reason
    assert [n.op for n in graph.nodes] == ["Div"]


SLOPES = np.float32([[[0.0, 0.25, 1.5]]])
RISING = {
    "LeakyRelu": lambda b, x: b.emit("LeakyRelu", [x], {"alpha": 0.1}, name="f"),
    "PRelu": lambda b, x: b.emit("PRelu", [x, b.constant(SLOPES, "slopes")], name="f"),
    "Tanh": lambda b, x: b.emit("Tanh", [x], name="f"),
}
FALLING = {
    "HardSwish": lambda b, x: b.emit("HardSwish", [x], name="f"),
    "LeakyRelu": lambda b, x: b.emit("LeakyRelu", [x], {"alpha": -0.1}, name="f"),
    "PRelu": lambda b, x: b.emit("PRelu", [x, b.constant(-SLOPES, "slopes")], name="f"),
    "PRelu by place": lambda b, x: b.emit("PRelu", [x, b.constant(np.ones((4, 1, 3), np.float32), "slopes")], name="f"),
}
PADDED = {"kernel": [3, 2], "stride": [2, 2], "pad": [1, 1, 0, 0], "dilation": [1, 1]}


@pytest.mark.parametrize("name", RISING)
def test_a_largest_value_is_found_before_a_function_that_rises(name):
    graph = network(lambda b, x: [b.emit("MaxPool", RISING[name](b, x), PADDED, name="pool")[0]])
    output = graph.outputs[0]
    feed = {"x": np.random.default_rng(0).standard_normal((1, 4, 4, 3)).astype(np.float32)}
    want = next(iter(Session(graph).run(feed).values()))
    (record,) = prepare(graph)
    assert isinstance(record, Change) and record.node == "f"
    assert [(n.op, n.name) for n in graph.nodes] == [("MaxPool", "pool"), (name, "f")]
    assert graph.outputs == [output]
    np.testing.assert_allclose(next(iter(Session(graph).run(feed).values())), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", FALLING)
def test_a_function_that_falls_somewhere_stays_in_front_of_a_pool(name):
    graph = network(lambda b, x: [b.emit("MaxPool", FALLING[name](b, x), PADDED, name="pool")[0]])
    assert not prepare(graph)
    assert [n.name for n in graph.nodes] == ["f", "pool"]


def test_a_function_that_is_read_elsewhere_stays_in_front_of_a_pool():
    def emit(b, x):
        y = RISING["LeakyRelu"](b, x)[0]
        return [y, b.emit("MaxPool", [y], PADDED, name="pool")[0]]

    graph = network(emit)
    assert not prepare(graph)
    graph = network(lambda b, x: [b.emit("MaxPool", RISING["LeakyRelu"](b, x), PADDED, name="pool")[0]])
    assert not prepare(graph, {graph.nodes[1]})
