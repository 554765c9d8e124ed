"""Facts about the first layer, read from graphs."""

import numpy as np
from bitlite.converter.ir import Graph, Node, Tensor
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.quant.calibrate.first_layer import first_layers, input_specs

F32 = np.dtype(np.float32)


def const(name, array):
    return Tensor(name, array.dtype, array.shape, array)


def tensor(name, shape, dtype=F32, quant=None):
    return Tensor(name, np.dtype(dtype), shape, None, quant)


def chain(*steps, source=None):
    """A graph of one input and a chain of (op, further inputs, attrs)."""
    x = source or tensor("x", (1, 8, 8, 3))
    graph, now = Graph(inputs=[x]), x
    for i, (op, others, attrs) in enumerate(steps):
        out = tensor(f"t{i}", now.shape)
        graph.nodes.append(Node(op, f"n{i}", [now, *others], [out], attrs))
        now = out
    graph.outputs = [now]
    return graph


def conv(group=1):
    weight, bias = np.ones((4, 3, 3, 3), np.float32), np.arange(4, dtype=np.float32)
    return "Conv", [const("w", weight), const("b", bias)], {"group": group}


def test_weight_and_bias_of_a_first_convolution():
    facts = first_layers(chain(("Transpose", [], {}), ("Pad", [], {}), conv()))["x"]
    assert facts.weight.shape == (4, 3, 3, 3)
    assert facts.bias.tolist() == [0, 1, 2, 3]


def test_a_quantized_weight_counts_with_its_real_value():
    w = Tensor("w", np.dtype(np.int8), (2, 5), np.full((2, 5), 4, np.int8), QuantParam([0.5, 0.25], [0, 0], 0))
    graph = chain(("FullyConnected", [w, const("b", np.ones(2, np.float32))], {}), source=tensor("x", (1, 5)))
    assert first_layers(graph)["x"].weight.tolist() == [[2] * 5, [1] * 5]


def test_statistics_of_a_first_normalization():
    mean, var = np.array([1, 2, 3], np.float32), np.array([4, 9, 16], np.float32)
    others = [const(n, a) for n, a in (("s", mean), ("o", mean), ("m", mean), ("v", var))]
    facts = first_layers(chain(("BatchNorm", others, {"epsilon": 0.0})))["x"]
    assert facts.mean.tolist() == [1, 2, 3] and facts.std.tolist() == [2, 3, 4]


def test_the_range_of_a_quantized_input():
    source = tensor("x", (1, 8), np.int8, QuantParam([0.5], [-128]))
    facts = first_layers(chain(("Dequantize", [], {}), source=source))["x"]
    assert (facts.low, facts.high) == (0, 127.5)


def test_what_scales_the_input_ends_the_search():
    scale = const("k", np.float32(1 / 255).reshape(1))
    assert first_layers(chain(("Mul", [scale], {}), conv())) == {}
    assert first_layers(chain(conv(group=3))) == {}


def test_inputs_as_calibration_data_sees_them():
    graph = Graph(inputs=[Tensor("x", F32, (None, 3, 8, 8), layout="NCHW", dims=("batch", "", "", ""))])
    (item,) = input_specs(graph)
    assert (item.name, item.shape, item.layout) == ("x", (None, 3, 8, 8), "NCHW")
    assert item.fixed_shape == (1, 3, 8, 8)


def test_samples_may_come_in_another_layout():
    graph = Graph(inputs=[Tensor("x", F32, (1, 3, 8, 9), layout="NCHW"), Tensor("n", F32, (1, 4))])
    image, numbers = input_specs(graph, "NHWC")
    assert (image.shape, image.layout, image.delivers) == ((1, 8, 9, 3), "NHWC", "NCHW")
    assert image.own() == input_specs(graph)[0]
    assert numbers.delivers == ""
