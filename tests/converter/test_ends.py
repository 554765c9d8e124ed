"""Names of inputs and outputs survive, and codes of less than a byte keep their range, wherever they stand."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError
from onnx import TensorProto, helper, save


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def stored(path, nodes, inputs, outputs, constants=(), opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=13), path)
    return str(path)


@pytest.mark.parametrize("written", ["", "ONNX", "TFLITE", "MS"])
def test_an_input_that_is_an_output_keeps_its_name(tmp_path, written):
    relu = helper.make_node("Relu", ["x"], ["y"])
    path = stored(tmp_path / "m.onnx", [relu], [floats("x", 2, 3)], [floats("x", 2, 3), floats("y", 2, 3)])
    if written:
        bitlite.convert(path, str(tmp_path / "out"), fmk="ONNX", output_format=written)
        path = str(tmp_path / f"out.{written.lower()}")
    session = bitlite.load(path)
    assert [p.name for p in session.outputs] == ["x", "y"]
    x = np.float32([[1, -2, 3], [-4, 5, -6]])
    got = session.run({"x": x})
    np.testing.assert_array_equal(got["x"], x)
    np.testing.assert_array_equal(got["y"], np.maximum(x, 0))


def test_an_image_that_is_input_and_output_is_refused_by_name_where_it_would_have_two_layouts(tmp_path):
    shape = (1, 3, 4, 4)
    relu = helper.make_node("Relu", ["x"], ["y"])
    path = stored(tmp_path / "m.onnx", [relu], [floats("x", *shape)], [floats("x", *shape), floats("y", *shape)])
    with pytest.raises(UnsupportedError, match="input 'x' is an output, too"):
        bitlite.convert(path, str(tmp_path / "out"), fmk="ONNX", output_format="TFLITE")


_NARROW = {
    TensorProto.UINT4: (0, 15),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT2: (0, 3),
    TensorProto.INT2: (-2, 1),
}


@pytest.mark.parametrize("in_node", [False, True])
@pytest.mark.parametrize("kind", _NARROW)
def test_codes_of_less_than_a_byte_saturate_at_their_own_range(tmp_path, kind, in_node):
    low, high = _NARROW[kind]
    constants = {
        "s": helper.make_tensor("s", TensorProto.FLOAT, [], [0.5]),
        "z": helper.make_tensor("z", kind, [], [1]),
        "w": helper.make_tensor("w", kind, [5], [low, high, 0, 1, low]),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
    ]
    if in_node:
        nodes = [helper.make_node("Constant", [], [n], value=t) for n, t in constants.items()] + nodes
    given = [] if in_node else list(constants.values())
    path = stored(tmp_path / "m.onnx", nodes, [floats("x", 7)], [floats("y", 7), floats("v", 5)], given, opset=25)
    x = np.float32([-9, -3, -0.6, 0, 0.7, 3, 9])
    got = bitlite.load(path).run({"x": x})
    np.testing.assert_array_equal(got["y"], (np.clip(np.rint(x / 0.5) + 1, low, high) - 1).astype(np.float32) * 0.5)
    np.testing.assert_array_equal(got["v"], np.float32([low - 1, high - 1, -1, 0, low - 1]) * 0.5)


def test_blocked_layouts_of_one_processor_are_refused_with_what_to_do(tmp_path):
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain="com.microsoft.nchwc", name="r")
    path = stored(tmp_path / "m.onnx", [node], [floats("x", 1, 16, 4, 4)], [floats("y", 1, 16, 4, 4)])
    with pytest.raises(UnsupportedError, match=r"nchwc::ReorderInput is not read; try .*EXTENDED"):
        bitlite.load(path)


def turn(x, y, *perm):
    return helper.make_node("Transpose", [x], [y], perm=perm)


@pytest.mark.parametrize(
    ("nodes", "inner", "layouts"),
    [
        ([], ("x", "y"), ("NCHW", "NCHW")),
        ([turn("x", "a", 0, 3, 1, 2)], ("a", "y"), ("", "NCHW")),
        ([helper.make_node("Neg", ["x"], ["n"]), turn("n", "a", 0, 3, 1, 2)], ("a", "y"), ("", "NCHW")),
        ([turn("b", "y", 0, 2, 3, 1)], ("x", "b"), ("NCHW", "")),
        ([turn("b", "c", 0, 2, 3, 1), helper.make_node("Relu", ["c"], ["y"])], ("x", "b"), ("NCHW", "")),
        ([turn("x", "a", 0, 1, 3, 2)], ("a", "y"), ("NCHW", "NCHW")),
    ],
)
def test_an_image_that_the_model_turns_itself_is_not_channels_first(tmp_path, nodes, inner, layouts):
    conv = helper.make_node("Conv", [inner[0], "w"], [inner[1]], kernel_shape=[1, 1])
    order = sorted([*nodes, conv], key=lambda n: "xnabcy".index(n.output[0]) if n is not conv else 2.5)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4, 1, 1], np.ones(16))
    path = stored(tmp_path / "m.onnx", order, [floats("x", 1, 4, 4, 4)], [floats("y", 1, 4, 4, 4)], [weight])
    session = bitlite.load(path)
    assert (session.inputs[0].layout, session.outputs[0].layout) == layouts
    for ending in ("ms", "tflite", "onnx"):
        bitlite.convert(path, str(tmp_path / "out"), output_format=ending.upper())
        written = bitlite.load(str(tmp_path / f"out.{ending}"))
        x = np.random.default_rng(0).random((1, 4, 4, 4), np.float32)
        fed = x.transpose(0, 2, 3, 1) if layouts[0] and ending != "onnx" else x
        want, got = session.run(x)["y"], written.run(np.ascontiguousarray(fed))["y"]
        np.testing.assert_allclose(got, want.transpose(0, 2, 3, 1) if layouts[1] and ending == "tflite" else want, 1e-5)
