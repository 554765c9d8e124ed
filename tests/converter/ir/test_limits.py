"""What a file says of sizes does not decide how much memory is taken."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import GraphError
from bitlite.converter.ir import Graph
from bitlite.converter.ir.limits import check_live
from bitlite.converter.schema.builder import Builder
from onnx import TensorProto, helper, numpy_helper, save


def _model(path, nodes, shape, constants=()):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(v, n) for n, v in constants])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


@pytest.mark.parametrize("size", [1 << 20, 1 << 40, (1 << 62) + 1])
def test_a_tensor_that_a_small_file_blows_up_is_refused_by_name(tmp_path, size):
    sizes = np.array([size, 1 << 10], np.int64)
    node = helper.make_node("BroadcastTo", ["x", "s"], ["y"], name="blow")
    path = _model(tmp_path / "m.onnx", [node], [1, 1], [("s", sizes)])
    with pytest.raises(bitlite.Error, match="blow"):
        bitlite.load(path)


def test_the_limit_can_be_raised(monkeypatch):
    graph = Graph()
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 1))
    args = ("BroadcastTo", [x, build.constant([1 << 14, 1 << 14])])
    with pytest.raises(GraphError, match="BITLITE_MEMORY_MB"):
        build.emit(*args)
    monkeypatch.setenv("BITLITE_MEMORY_MB", "4000")
    assert build.emit(*args)[0].shape == (1 << 14, 1 << 14)


def test_what_lives_at_once_is_bounded_not_the_sum_of_what_was(monkeypatch):
    def chain(length, keep):
        graph = Graph()
        build = Builder(graph)
        x = t = build.input("x", np.float32, (1, 1))
        tensors = []
        for _ in range(length):
            t = build.emit("Add", [build.emit("BroadcastTo", [x, build.constant([1 << 13, 1 << 13])])[0], x])[0]
            t = build.emit("Reduce", [t], {"mode": "sum", "axes": [0, 1], "keep_dims": True})[0] if not keep else t
            tensors.append(t)
        graph.outputs = tensors
        return graph

    check_live(chain(20, keep=False))
    with pytest.raises(GraphError, match="at once"):
        check_live(chain(20, keep=True))


@pytest.mark.parametrize("operator", ["Reshape", "Expand", "ConstantOfShape", "Squeeze"])
def test_a_list_of_more_axes_than_a_tensor_may_have_is_refused_before_it_is_read(tmp_path, operator):
    ones = np.ones(1 << 20, np.int64)
    node = helper.make_node(operator, ["s"] if operator == "ConstantOfShape" else ["x", "s"], ["y"], name="deep")
    path = _model(tmp_path / "m.onnx", [node], [1, 1], [("s", ones)])
    with pytest.raises(bitlite.Error, match="1048576"):
        bitlite.load(path)


def test_a_tensor_of_more_axes_than_are_allowed_is_refused_by_name(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(bitlite.Error, match=r"x.*33 axes; 32 are allowed"):
        bitlite.load(_model(tmp_path / "m.onnx", [node], [1] * 33))
    assert bitlite.load(_model(tmp_path / "m.onnx", [node], [1] * 32)).run(np.ones([1] * 32, np.float32))
