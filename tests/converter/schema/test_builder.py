from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import GraphError
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder, specialize
from bitlite.converter.schema.verify import verify


def test_scales_must_fit_the_shapes_of_a_run():
    graph = Graph()
    build = Builder(graph)
    (codes,) = build.emit("Quantize", [build.input("x", np.float32, (None, 3))], name="codes")
    codes.quant = QuantParam([0.5, 0.25], [0, 0], axis=0)
    graph.outputs = [codes]
    assert specialize(graph, {"x": (2, 3)}).outputs[0].shape == (2, 3)
    with pytest.raises(GraphError, match=r"'codes': 2 scales on axis 0 do not fit shape \(1, 3\)"):
        specialize(graph, {"x": (1, 3)})


def test_a_constant_with_scales_of_another_axis_is_named():
    graph = Graph()
    build = Builder(graph)
    w = build.constant(np.zeros((3, 4), np.int8), "w")
    w.quant = QuantParam(np.ones(4), np.zeros(4), axis=0)
    graph.outputs = build.emit("FullyConnected", [build.input("x", np.float32, (1, 4)), w], name="y")
    with pytest.raises(GraphError, match=r"'w': 4 scales on axis 0 do not fit shape \(3, 4\)"):
        verify(graph)
