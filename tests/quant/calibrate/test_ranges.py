"""Parameters of codes from ranges."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph, Node, Tensor
from bitlite.converter.schema.builder import Builder
from bitlite.quant.calibrate.histogram import Histogram
from bitlite.quant.calibrate.ranges import AS_READ, reach, read_range
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


def activated(op):
    """A layer whose outputs lie far below zero mostly, and an operator that is flat there."""
    rng, graph = np.random.default_rng(0), Graph("net")
    build = Builder(graph)

    def constant(value):
        return build.constant(np.asarray(value, np.float32), "c")

    x = build.input("x", np.float32, (1, 8, 8, 3))
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}
    (a,) = build.emit("Conv", [x, constant(rng.standard_normal((8, 3, 3, 3)) * 3), constant(np.full(8, -12.0))], window,
                      name="first")  # fmt: skip
    (a,) = build.emit(op, [a], {}, name="act")
    graph.outputs = build.emit("Conv", [a, constant(rng.standard_normal((4, 1, 1, 8)))], window, name="end")
    return graph


@pytest.mark.parametrize("op", ["HardSwish", "Swish"])
def test_what_the_reader_is_flat_for_has_no_codes(op, samples, sqnr, outputs):
    graph = activated(op)
    want = outputs(graph)
    result = quantize_graph(graph, samples, Settings())
    x = next(n for n in result.graph.nodes if n.name == "act").inputs[0]
    assert result.methods["first"] == AS_READ and -8 < reach(x.quant)[0] <= -2
    plain = quantize_graph(activated(op), samples, Settings(methods=("MSE", "MAX_MIN")))
    assert sqnr(want, outputs(result.graph)) > sqnr(want, outputs(plain.graph))


def test_a_bias_does_not_make_up_for_what_has_no_codes(samples):
    """The mean of what lies within the codes stays, not that of all, which would move what is within."""
    result = quantize_graph(activated("HardSwish"), samples, Settings())
    layer = next(layer for node, layer in result.quantized.weighted_layers.items() if node.name == "first")
    assert np.abs(layer.bias.value * layer.bias.qparams.scale + 12).max() < 0.5


def test_a_range_is_that_of_what_is_read():
    """Of two tensors on one scale, those that layers read."""
    pooled, other, act = (Tensor(name, np.dtype(np.float32), (1, 64)) for name in ("pooled", "other", "act"))
    bounds = {pooled: (-1, 5), other: (-2, 3), act: (-9, 9)}
    seen = {t: Histogram.of(np.linspace(*ends, 999)) for t, ends in bounds.items()}
    assert read_range({pooled: None, other: None}, seen) == pytest.approx((-2, 5), abs=0.05)
    assert read_range({pooled: Node("Log", "log", [pooled], [act], {})}, seen) is None
