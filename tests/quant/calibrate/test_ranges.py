"""Parameters of codes from ranges."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings


def network(axes):
    rng, graph = np.random.default_rng(0), Graph("net")
    build = Builder(graph)

    def weight(*shape):
        return build.constant(rng.standard_normal(shape).astype(np.float32), "w")

    x = build.input("x", np.float32, (1, 8, 8, 3))
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}
    (a,) = build.emit("Conv", [x, weight(8, 3, 3, 3)], {**window, "act": "relu"}, name="first")
    (m,) = build.emit("Reduce", [a], {"mode": "mean", "axes": axes, "keep_dims": True}, name="mean")
    (f,) = build.emit("Reshape", [m, build.constant(np.array([1, -1]), "shape")], {}, name="flat")
    size = 8 if axes == [1, 2] else 48
    graph.outputs = build.emit("FullyConnected", [f, weight(4, size)], {}, name="end")
    return graph


@pytest.mark.parametrize("axes", [[1, 2], [1]])
def test_a_mean_of_a_map_scales_its_inputs_zero_point_to_a_whole_number(axes, samples):
    quantized = quantize_graph(network(axes), samples, Settings()).graph
    mean = next(n for n in quantized.nodes if n.op == "Reduce")
    flat = next(n for n in quantized.nodes if n.op == "Reshape")
    x, y = mean.inputs[0].quant, mean.outputs[0].quant
    assert flat.outputs[0].quant == y
    offset = -float(x.zero_point[0]) * float(np.float32(x.scale[0])) / float(np.float32(y.scale[0]))
    # Cut to an integer it loses nothing.
    assert (0 <= offset - int(offset) < 1e-4) == (axes == [1, 2])
