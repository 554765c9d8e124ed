"""What quantize_dynamic writes becomes layers that quantize their input while running, with onnxruntime's values."""

from __future__ import annotations

import logging

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats import read_model
from bitlite.converter.formats.onnx import read
from bitlite.converter.passes import GENERAL, Refusal, run_passes
from bitlite.converter.passes.fuse_dynamic_quantize import fuse_dynamic_quantize
from onnx import TensorProto, helper, load, numpy_helper, save
from onnx_judge import run

_RNG = np.random.default_rng(3)


def constant(name, *shape):
    return numpy_helper.from_array(_RNG.normal(0, 0.3, shape).astype(np.float32), name)


def stored(path, nodes, shape, result, constants):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        constants,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return str(path)


@pytest.fixture
def products(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], name="first"),
        helper.make_node("Add", ["a", "b0"], ["c"], name="bias"),
        helper.make_node("Relu", ["c"], ["d"], name="relu"),
        helper.make_node("MatMul", ["d", "w1"], ["y"], name="second"),
    ]
    constants = [constant("w0", 12, 16), constant("b0", 16), constant("w1", 16, 5)]
    return stored(tmp_path / "m.onnx", nodes, [2, 3, 12], [2, 3, 5], constants)


@pytest.fixture
def convolutions(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], name="first", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w1"], ["y"], name="second", kernel_shape=[3, 3], group=8, strides=[2, 2]),
    ]
    constants = [constant("w0", 8, 3, 3, 3), constant("b0", 8), constant("w1", 8, 1, 3, 3)]
    return stored(tmp_path / "m.onnx", nodes, [1, 3, 8, 8], [1, 8, 3, 3], constants)


@pytest.fixture
def squeezed(tmp_path):
    """Convolutions of one pixel, as squeeze-and-excite has them: the move of its channels is a Reshape."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["m"]),
        helper.make_node("Conv", ["m", "w0", "b0"], ["a"], name="first", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w1"], ["y"], name="second", kernel_shape=[1, 1]),
    ]
    constants = [constant("w0", 2, 8, 1, 1), constant("b0", 2), constant("w1", 8, 2, 1, 1)]
    return stored(tmp_path / "m.onnx", nodes, [1, 8, 6, 6], [1, 8, 1, 1], constants)


def quantized(path, kind, per_channel=False):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)
    target = path.replace(".onnx", f".{kind}.onnx")
    quantize_dynamic(path, target, weight_type=QuantType[kind], per_channel=per_channel)
    logging.disable(logging.NOTSET)
    return target


def onnxruntime_of(path, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return run(load(path), {"x": x}, options)[0]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("network", ["products", "convolutions", "squeezed"])
def test_the_layers_are_dynamic_and_equal_onnxruntime(network, kind, per_channel, request):
    path = quantized(request.getfixturevalue(network), kind, per_channel)
    graph = read(path)
    x = _RNG.standard_normal(graph.inputs[0].shape).astype(np.float32)
    run_passes(graph, GENERAL)
    layers = [n for n in graph.nodes if n.op in ("FullyConnected", "Conv")]
    assert [n.attrs["dynamic"] for n in layers] == [True, True]
    assert not any(n.op.endswith("Integer") or n.op.startswith("DynamicQ") for n in graph.nodes)
    want = onnxruntime_of(path, x)
    np.testing.assert_allclose(bitlite.load(path).run({"x": x})["y"], want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def test_symmetric_products_are_written_to_ms_as_dynamic_ones(products, tmp_path):
    path = quantized(products, "QInt8")
    bitlite.convert(path, str(tmp_path / "d"), fmk="ONNX")
    x = _RNG.standard_normal((2, 3, 12)).astype(np.float32)
    got = bitlite.load(str(tmp_path / "d.ms")).run({"x": x})["y"]
    np.testing.assert_allclose(got, onnxruntime_of(path, x), rtol=1e-5, atol=1e-5)


def test_weights_with_zero_points_are_decoded_for_a_float_product_in_ms(products, tmp_path):
    path = quantized(products, "QUInt8")
    bitlite.convert(path, str(tmp_path / "d"), fmk="ONNX")
    nodes = [n for n in read_model(str(tmp_path / "d.ms")).nodes if n.op in ("MatMul", "FullyConnected")]
    assert all(n.required(1).dtype == np.int8 and n.required(1).quant.zero_point.any() for n in nodes)
    assert not any(n.op == "DynamicRound" for n in read_model(str(tmp_path / "d.ms")).nodes)
    x = _RNG.standard_normal((2, 3, 12)).astype(np.float32)
    got = bitlite.load(str(tmp_path / "d.ms")).run({"x": x})["y"]
    np.testing.assert_allclose(got, onnxruntime_of(path, x), rtol=1e-5, atol=1e-5)


def test_sums_that_something_else_reads_stay(tmp_path):
    weight = numpy_helper.from_array(np.ones((4, 3), np.int8), "w")
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"], name="sums"),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    graph = read(stored(tmp_path / "m.onnx", nodes, [2, 4], [2, 3], [weight]))
    records = list(fuse_dynamic_quantize(graph))
    assert [type(r) for r in records] == [Refusal]
    assert records[0].reason == "its sums are not multiplied by their scale"
    assert "MatMulInteger" in [n.op for n in graph.nodes]


def in_steps(path, what):
    """A convolution as onnxruntime wrote it before 1.6: its bias is added in whole steps of the sums."""
    weight = numpy_helper.from_array(_RNG.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8), "w")
    given = [numpy_helper.from_array(np.array(v), k) for k, v in (("ws", np.float32(0.01)), ("wz", np.uint8(120)))]
    given += [weight, constant("b", 4), numpy_helper.from_array(np.int64([1, 4, 1, 1]), "at")]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("Mul", ["s", "ws"], ["bs"]),
        helper.make_node("Div", ["b", what], ["bd"]),
        helper.make_node("Floor", ["bd"], ["bf"]),
        helper.make_node("Cast", ["bf"], ["bi"], to=TensorProto.INT32),
        helper.make_node("ConvInteger", ["q", "w", "z", "wz"], ["i"], name="sums", pads=[1] * 4),
        helper.make_node("Reshape", ["bi", "at"], ["br"]),
        helper.make_node("Add", ["i", "br"], ["a"]),
        helper.make_node("Cast", ["a"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["fs"]),
        helper.make_node("Mul", ["f", "fs"], ["y"]),
    ]
    return stored(path, nodes, [1, 3, 6, 6], [1, 4, 6, 6], given)


def test_a_bias_in_steps_of_the_sums_is_the_bias(tmp_path):
    path = in_steps(tmp_path / "m.onnx", "bs")
    graph = read(path)
    run_passes(graph, GENERAL)
    [layer] = [n for n in graph.nodes if n.op == "Conv"]
    assert layer.attrs["dynamic"] and len(layer.inputs) == 3
    x = _RNG.standard_normal((1, 3, 6, 6)).astype(np.float32)
    step = 0.01 * (x.max() - min(x.min(), 0)) / 255
    np.testing.assert_allclose(bitlite.load(path).run({"x": x})["y"], onnxruntime_of(path, x), atol=1.01 * step)


def test_what_is_added_in_other_steps_stays(tmp_path):
    graph = read(in_steps(tmp_path / "m.onnx", "s"))
    records = run_passes(graph, GENERAL)
    assert "what is added to its sums is no bias in their steps" in [r.reason for r in records]
    assert "ConvInteger" in [n.op for n in graph.nodes]
