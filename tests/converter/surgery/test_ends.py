"""Nodes removed from ends, parts cut out, other names, further outputs."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import UsageError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.surgery.cut import add_outputs, cut, rename_ends
from bitlite.converter.surgery.remove import remove_node_types, remove_nodes

X = np.random.default_rng(2).normal(size=(1, 8, 10, 3)).astype(np.float32)


def with_ends():
    """uint8 x → Cast → Transpose → Reshape → matrix → Softmax → Reshape y."""
    graph = Graph("m")
    build = Builder(graph)
    x = build.input("x", np.uint8, (1, 2, 3, 4), layout="NHWC")
    t = build.emit("Cast", [x], {"dtype": "float32"}, name="cast")[0]
    t = build.emit("Transpose", [t], {"perm": [0, 3, 1, 2]}, name="turn")[0]
    t = build.emit("Reshape", [t, build.constant([1, 24], dtype=np.int64)], name="flat", outputs=["flat_out"])[0]
    w = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    t = build.emit("MatMul", [t, build.constant(w, "w")], name="product", outputs=["scores"])[0]
    t = build.emit("Softmax", [t], {"axis": -1}, name="probabilities")[0]
    graph.outputs = build.emit("Reshape", [t, build.constant([6], dtype=np.int64)], name="last", outputs=["y"])
    return graph


def ops(graph):
    return [node.op for node in graph.nodes]


def test_types_go_from_the_ends_in_the_order_given(run):
    graph = with_ends()
    wanted = run(graph, x=np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4))[0]
    lines = remove_node_types(graph, ["Cast", "Transpose", "Reshape", "Softmax"])
    assert ops(graph) == ["MatMul"]
    assert [line.split()[0] for line in lines] == ["cast", "turn", "flat", "last", "probabilities"]
    assert [(t.name, t.shape, t.dtype) for t in (*graph.inputs, *graph.outputs)] == [
        ("x", (1, 24), np.float32), ("y", (1, 6), np.float32)
    ]  # fmt: skip
    turned = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2).reshape(1, 24)
    scores = run(graph, x=turned)[0]
    assert np.allclose(np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum(), wanted, atol=1e-6)


def test_a_type_in_the_middle_stays_and_the_order_decides():
    graph = with_ends()
    assert remove_node_types(graph, ["Softmax", "Reshape"])[0] == "no Softmax stands at an end of the model"
    assert ops(graph) == ["Cast", "Transpose", "Reshape", "MatMul", "Softmax"]


def test_a_transposed_input_says_its_layout():
    graph = with_ends()
    remove_nodes(graph, ["cast", "turn"])
    assert (graph.inputs[0].shape, graph.inputs[0].layout) == ((1, 4, 2, 3), "NCHW")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: remove_nodes(g, ["product"]), "'product' .MatMul. stands at no end"),
        (lambda g: remove_nodes(g, ["produkt"]), "'produkt' is no node of the model; try 'product'"),
        (lambda g: cut(g, [], ["score"]), "'score' is no tensor of the model; try 'scores'"),
        (lambda g: cut(g, ["scores"], ["flat_out"]), "needs input 'x', too"),
        (lambda g: cut(g, ["w"], []), "is a constant"),
        (lambda g: cut(g, ["scores"], ["scores"]), "as input and as output"),
        (lambda g: add_outputs(g, ["x"]), "is an input"),
        (lambda g: add_outputs(g, ["scoress"]), "try 'scores'"),
        (lambda g: rename_ends(g, {"yy": "z"}), "'yy' is no input or output of the model; try"),
        (lambda g: rename_ends(g, {"y": "x"}), "another end has this name"),
    ],
)
def test_wrong_names_are_one_line(change, words):
    with pytest.raises(UsageError, match=words) as error:
        change(with_ends())
    assert "\n" not in str(error.value)


def test_a_part_computes_what_it_did_in_the_whole(network, run):
    graph = network()
    add_outputs(graph, ["conv"])
    features, wanted = dict(zip([t.name for t in graph.outputs], run(graph, x=X)[::-1])), run(network(), x=X)[0]
    part = network()
    assert "1 of 2 nodes left" in cut(part, [], ["features"])[0]
    got = run(part, x=X)[0]
    rest = network()
    cut(rest, ["features"], ["y"])
    assert ops(rest) == ["Relu"] and rest.inputs[0].layout == "NHWC"
    assert np.array_equal(run(rest, features=got)[0], wanted) and features.keys() == {"y", "features"}


def test_names_may_be_exchanged(network, run):
    graph = network()
    assert rename_ends(graph, {"x": "y", "y": "x"}) == ["'x' is named 'y'", "'y' is named 'x'"]
    assert np.array_equal(run(graph, y=X)[0], run(network(), x=X)[0])


def test_a_name_of_the_inside_makes_room(network):
    graph = network()
    rename_ends(graph, {"y": "features"})
    assert graph.outputs[0].name == "features" and len({t.name for t in graph.tensors()}) == 5
