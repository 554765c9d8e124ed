"""Weights that a source stores as float16 are as small in what is written from it, and the same values."""

from __future__ import annotations

import os

import bitlite
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

SHAPE = [1, 16, 8, 8]


@pytest.fixture
def source(tmp_path):
    """An ONNX file of two convolutions: float16 weights behind Casts, float32 biases."""
    rng = np.random.default_rng(7)
    weights = {f"w{k}": rng.standard_normal((64, n, 3, 3)).astype(np.float16) for k, n in enumerate((16, 64))}
    weights |= {f"b{k}": rng.standard_normal(64).astype(np.float32) for k in range(2)}
    node = helper.make_node
    nodes = [node("Cast", [f"w{k}"], [f"v{k}"], to=TensorProto.FLOAT) for k in range(2)]
    nodes += [
        node("Conv", ["x", "v0", "b0"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("Conv", ["r", "v1", "b1"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", SHAPE), ("y", None)))
    stored = [numpy_helper.from_array(a, n) for n, a in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    path = tmp_path / "half.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return str(path)


def by_onnxruntime(path, x):
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {"x": x})[0]


def by_litert(path, x):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], x.transpose(0, 2, 3, 1))
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"]).transpose(0, 3, 1, 2)


def by_bitlite(path, x):
    (y,) = bitlite.load(path).run({"x": x.transpose(0, 2, 3, 1)}).values()
    return y


@pytest.mark.parametrize(("container", "runner"), [("ONNX", by_onnxruntime), ("TFLITE", by_litert), ("MS", by_bitlite)])
def test_a_file_is_no_larger_than_its_source_and_gives_the_same(source, tmp_path, container, runner):
    report = bitlite.convert(source, tmp_path / "out", output_format=container)
    [(path, size)] = report.files.items()
    assert size < 1.05 * os.path.getsize(source)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    want = by_onnxruntime(source, x)
    np.testing.assert_allclose(runner(path, x), want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    again = bitlite.convert(path, tmp_path / "again", output_format=container)
    assert sum(again.files.values()) < 1.05 * size


def test_a_weight_that_float16_does_not_hold_stays_float32(source, tmp_path):
    import onnx

    model = onnx.load(source)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full((64, 64, 3, 3), 0.1, np.float32), "v1"))
    model.graph.node.remove(model.graph.node[1])
    onnx.save(model, source)
    report = bitlite.convert(source, tmp_path / "out", output_format="ONNX")
    [path] = report.files
    kinds = {i.name: i.data_type for i in onnx.load(path).graph.initializer if len(i.dims) == 4}
    assert sorted(kinds.values()) == [TensorProto.FLOAT, TensorProto.FLOAT16]


@pytest.mark.parametrize("container", ["MS", "TFLITE", "ONNX"])
def test_an_embedding_stored_as_float16_meets_float32(tmp_path, container):
    rng = np.random.default_rng(3)
    stored = [
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
        for n, s in (("table", (500, 32)), ("term", (1, 32)))
    ]
    nodes = [helper.make_node("Gather", ["table", "x"], ["h"]), helper.make_node("Add", ["h", "term"], ["y"])]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.INT64, [4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    path, x = tmp_path / "m.onnx", np.array([0, 3, 499, 3])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    report = bitlite.convert(path, tmp_path / "half", output_format=container, fp16="on")
    [(half, size)] = report.files.items()
    assert size < 0.6 * os.path.getsize(path)
    [got] = bitlite.load(half).run({"x": x}).values()
    np.testing.assert_allclose(got, by_onnxruntime(path, x), rtol=1e-3, atol=1e-3)
    again = bitlite.convert(half, tmp_path / "again", output_format=container)
    assert sum(again.files.values()) < 1.05 * size


def test_the_report_gives_a_weight_in_float16_its_16_bits(tmp_path):
    rng = np.random.default_rng(3)
    names = ("first", "second")
    stored = [numpy_helper.from_array(rng.standard_normal((32, 32)).astype(np.float32), n) for n in names]
    nodes = [helper.make_node("MatMul", [x, w], [y], w) for x, w, y in (("x", "first", "h"), ("h", "second", "y"))]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 32]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    path = tmp_path / "m.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    report = bitlite.convert(path, tmp_path / "m", quant_type="WeightQuant", fp16=True, keep_float=("second",))
    first, second = report.rows()
    assert (first["bits"], first["why"]) == (8, "")
    assert (second["bits"], second["bytes_after"]) == (16, 32 * 32 * 2)
