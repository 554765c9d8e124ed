"""A network that onnxruntime's own tool has quantized is read as quantized IR, and gives onnxruntime's results."""

from __future__ import annotations

import logging

import bitlite
import numpy as np
import onnx
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.formats import read_model
from bitlite.converter.formats.onnx import read
from bitlite.converter.passes import GENERAL, run_passes
from onnx_judge import run


@pytest.fixture
def network(tmp_path):
    """Convolutions, pools, a residual sum, a join of two branches, a dense layer."""
    from onnx import helper, numpy_helper, save

    rng = np.random.default_rng(5)
    constants = []

    def const(name, *shape):
        constants.append(numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name))
        return name

    def node(op, inputs, output, **attrs):
        return helper.make_node(op, inputs, [output], name=output, **attrs)

    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["x", const("w0", 8, 3, 3, 3), const("b0", 8)], "c0", **same),
        node("Relu", ["c0"], "r0"),
        node("MaxPool", ["r0"], "p0", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p0", const("w1", 8, 1, 3, 3), const("b1", 8)], "c1", group=8, **same),
        node("Add", ["c1", "p0"], "s1"),
        node("Conv", ["p0", const("w2", 4, 8, 1, 1), const("b2", 4)], "c2"),
        node("Concat", ["s1", "c2"], "j", axis=1),
        node("GlobalAveragePool", ["j"], "g"),
        node("Flatten", ["g"], "f"),
        node("Gemm", ["f", const("w3", 5, 12), const("b3", 5)], "y", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, [2, 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [2, 5])],
        constants,
    )
    path = tmp_path / "net.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def quantized(network, form, weights):
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Data(CalibrationDataReader):
        def __init__(self):
            rng = np.random.default_rng(1)
            self.rest = [{"x": rng.normal(size=(2, 3, 8, 8)).astype(np.float32)} for _ in range(3)]

        def get_next(self):
            return self.rest.pop() if self.rest else None

    logging.disable(logging.WARNING)
    target, kind = network.with_name("quantized.onnx"), QuantType.QInt8 if weights == "int8" else QuantType.QUInt8
    try:
        if form == "dynamic":
            quantize_dynamic(network, target, weight_type=kind)
        else:
            how = {"quant_format": QuantFormat[form], "per_channel": weights == "int8", "weight_type": kind}
            activations = QuantType.QUInt8 if form == "QOperator" else kind
            quantize_static(network, target, Data(), activation_type=activations, **how)
    finally:
        logging.disable(logging.NOTSET)
    return target


def results(graph, x):
    values = {graph.inputs[0]: x}
    for node in graph.nodes:
        computed = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        values.update(zip(node.outputs, computed, strict=True))
    return values[graph.outputs[0]]


@pytest.mark.parametrize("form", ["QOperator", "QDQ", "dynamic"])
@pytest.mark.parametrize("weights", ["int8", "uint8"])
def test_a_network_quantized_by_onnxruntime_gives_its_results(network, form, weights):
    path = quantized(network, form, weights)
    x = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype(np.float32)
    want = run(onnx.load(path), {"x": x})[0]
    graph = read(str(path))
    unit = 0.02 * np.abs(want).max()  # one or two codes of the output
    assert np.abs(results(graph, x) - want).max() <= unit
    run_passes(graph, GENERAL)
    assert np.abs(results(graph, x) - want).max() <= unit
    if form == "QOperator":
        assert "Reinterpret" not in [n.op for n in graph.nodes]
        conv = next(n for n in graph.nodes if n.op == "Conv")
        assert all(t.quant is not None for t in (*conv.inputs, *conv.outputs))


@pytest.mark.parametrize("weights", ["int8", "uint8"])
def test_an_embedding_quantized_by_onnxruntime_is_written_everywhere(tmp_path, weights):
    """Its rows are decoded behind Gather and what moves them: no container has such integers of its own."""
    helper, numbers, rng = onnx.helper, onnx.numpy_helper, np.random.default_rng(3)
    constants = [
        numbers.from_array(rng.normal(0.1, 0.3, (50, 16)).astype(np.float32), "table"),
        numbers.from_array(rng.normal(0, 0.3, (16, 4)).astype(np.float32), "w"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="rows"),
        helper.make_node("Transpose", ["rows"], ["moved"], name="moved", perm=[1, 0, 2]),
        helper.make_node("Tanh", ["moved"], ["bent"], name="bent"),
        helper.make_node("MatMul", ["bent", "w"], ["y"], name="y"),
    ]
    ends = [helper.make_tensor_value_info("ids", 7, [1, 6])], [helper.make_tensor_value_info("y", 1, [6, 1, 4])]
    model = helper.make_graph(nodes, "net", *ends, constants)
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    source = quantized(path, "dynamic", weights)
    ids = rng.integers(0, 50, (1, 6))
    want = run(onnx.load(source), {"ids": ids})[0]
    for ending in ("ms", "tflite", "onnx"):
        target = str(tmp_path / f"out.{ending}")
        bitlite.convert(str(source), target, output_format=ending.upper())
        got = next(
            iter(bitlite.load(target).run({"ids": ids.astype(np.int32 if ending == "tflite" else np.int64)}).values())
        )
        assert np.abs(got - want).max() <= 0.02 * np.abs(want).max(), ending
        tables = [n.required(0) for n in read_model(target).nodes if n.op == "Gather"]
        assert [t.dtype for t in tables] == [np.int8] or ending == "onnx"


def test_codes_that_stay_between_casts_keep_their_names(tmp_path):
    helper, numbers = onnx.helper, onnx.numpy_helper
    constants = [numbers.from_array(np.float32(0.01), "scale"), numbers.from_array(np.int16(0), "zero")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes of x"], name="cast_0"),
        helper.make_node("DequantizeLinear", ["codes of x", "scale", "zero"], ["real"], name="cast_1"),
        helper.make_node("Exp", ["real"], ["grown"], name="exp"),
        helper.make_node("QuantizeLinear", ["grown", "scale", "zero"], ["codes of y"], name="cast_2"),
    ]
    ends = [helper.make_tensor_value_info("x", 1, [1, 4])], [helper.make_tensor_value_info("codes of y", 5, [1, 4])]
    model = helper.make_model(
        helper.make_graph(nodes, "net", *ends, constants), opset_imports=[helper.make_opsetid("", 21)]
    )
    path = str(tmp_path / "net.onnx")
    onnx.save(model, path)
    graph = read(path)
    run_passes(graph, GENERAL)
    assert [t.name for n in graph.nodes for t in n.outputs if t.dtype == np.int16] == ["codes of x", "codes of y"]
    assert [t.name for t in graph.outputs] == ["codes of y"]
