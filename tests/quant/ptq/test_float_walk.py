"""What a node's output loses by another input, in the float graph."""

import numpy as np
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.ptq.float_walk import walk


def test_outputs_of_any_type_are_compared():
    """One of four comparisons that hold changes; a whole number moves by 8, and the squares of all add up to 60."""
    graph = Graph("g")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8))
    (above,) = build.emit("Greater", [x, build.constant(np.float32(0), "zero")], name="above")
    (largest,) = build.emit("Cast", [x], {"dtype": "int32"}, name="whole")
    graph.outputs = [above, largest]
    sample = {"x": np.array([[1, 2, 3, 4, -1, -2, -3, -4]], np.float32)}

    def change(values):
        return np.where(values == 4, np.float32(-4), values)

    lost = {stop.node.name: stop.lost(x, [change])[0] for stop in walk(graph, [sample], set(graph.nodes), 1)}
    assert lost == {"above": 1 / 4, "whole": 64 / 60}
