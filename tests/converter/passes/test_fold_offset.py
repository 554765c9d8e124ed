"""Offsets in front of layers, and factors in front of those."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.passes import run_passes
from bitlite.converter.passes.fold_offset import fold_offset
from bitlite.converter.passes.record import Change, Refusal
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session


def network(pad=0, groups=1, factor=0.25, offset=-0.4, between=None, act="none", layer="Conv"):
    rng, graph = np.random.default_rng(0), Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 5, 6, 4) if layer == "Conv" else (3, 4))

    def constant(value):
        return build.constant(np.asarray(value, np.float32), "c")

    if factor is not None:
        (x,) = build.emit("Mul", [x, constant(factor)], {}, name="factor")
    if between:
        (x,) = build.emit(between, [x], {}, name="between")
    (x,) = build.emit("Add", [x, constant(offset)], {"act": act}, name="offset")
    if layer == "Conv":
        w = constant(rng.standard_normal((8, 3, 3, 4 // groups)))
        window = {"stride": [1, 1], "dilation": [1, 1], "pad": [pad] * 4, "group": groups}
        graph.outputs = build.emit("Conv", [x, w, constant(rng.standard_normal(8))], window, name="layer")
    else:
        graph.outputs = build.emit("FullyConnected", [x, constant(rng.standard_normal((8, 4)))], {}, name="layer")
    return graph


def run(graph):
    shape = graph.inputs[0].shape
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return next(iter(Session(graph).run({"x": x}).values()))


CHANNELS = np.array([0.5, -2.0, 0.1, 3.0])


@pytest.mark.parametrize(
    ("made", "left"),
    [
        pytest.param({}, ["Mul", "Conv"], id="an offset in front of a layer"),
        pytest.param({"factor": None, "offset": CHANNELS}, ["Conv"], id="one of each channel"),
        pytest.param({"layer": "FullyConnected"}, ["Mul", "FullyConnected"], id="in front of a matrix product"),
        pytest.param({"groups": 2, "factor": None, "offset": CHANNELS}, ["Conv"], id="of groups"),
        pytest.param({"pad": 1}, ["Add", "Conv"], id="a factor past the offset of a layer that pads"),
        pytest.param({"pad": 1, "groups": 4, "factor": CHANNELS}, ["Add", "Conv"], id="of each channel, depthwise"),
        pytest.param({"pad": 1, "factor": None}, ["Add", "Conv"], id="no factor"),
        pytest.param({"pad": 1, "between": "Relu"}, ["Mul", "Relu", "Add", "Conv"], id="not past what is no factor"),
    ],
)
def test_what_a_layer_takes_in_changes_no_value(made, left):
    graph = network(**made)
    records = run_passes(graph, [fold_offset])
    assert [n.op for n in graph.nodes] == left
    assert any(isinstance(r, Change) for r in records) == (len(left) < len(network(**made).nodes))
    assert np.allclose(run(graph), run(network(**made)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        pytest.param({"pad": 1, "factor": [0.5, 0.0, 1.0, 1.0]}, "not be finite", id="a factor of 0"),
        pytest.param({"act": "relu"}, "activation", id="an activation behind the offset"),
        pytest.param({"pad": 1, "act": "relu"}, "activation", id="one between factor and layer"),
    ],
)
def test_a_refusal_says_why_and_leaves_the_graph(made, reason):
    graph = network(**made)
    (record,) = [r for r in run_passes(graph, [fold_offset]) if isinstance(r, Refusal)]
    assert reason in record.reason and [n.op for n in graph.nodes] == ["Mul", "Add", "Conv"]
    assert np.array_equal(run(graph), run(network(**made)))


def test_an_offset_that_others_read_stays():
    graph = network()
    graph.outputs.append(graph.nodes[1].outputs[0])
    assert not run_passes(graph, [fold_offset])
