"""`converter_lite --check`: what is supported of a model, and an exit status that says so."""

from pathlib import Path

import onnx
import pytest
from bitlite.converter.formats.inventory import operators
from bitlite.tools.converter_lite import main
from onnx import TensorProto, helper

DIGITS = Path(__file__).parents[2] / "demo" / "digits.onnx"


def save(path, *ops, opset=17):
    values = ["x", *(f"v{i}" for i in range(len(ops) - 1)), "y"]
    nodes = [helper.make_node(op, [a], [b], f"node_{b}") for op, a, b in zip(ops, values, values[1:])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)
    return path


def test_a_supported_model(capsys):
    assert main([f"--check={DIGITS}"]) == 0
    out = capsys.readouterr().out
    assert "13 operators" in out and "BatchNormalization" in out
    assert "CHECK RESULT: supported" in out
    conv = next(line for line in out.splitlines() if line.startswith("Conv ") and "kernel" in line)
    assert "int8" in conv and "quantized" in conv and conv.count("yes") == 4


def test_every_operator_that_is_not_read_is_listed(tmp_path, capsys):
    path = save(tmp_path / "m.onnx", "Relu", "FluxCapacitor", "Tanh", "Teleport")
    assert main(["--check", f"--modelFile={path}"]) == 255
    out = capsys.readouterr().out
    assert "problem: not read: FluxCapacitor, Teleport" in out and "CHECK RESULT: not supported" in out


def test_nothing_is_written(tmp_path, capsys):
    main([f"--check={DIGITS}", f"--outputFile={tmp_path}/x"])
    assert list(tmp_path.iterdir()) == []


def test_no_model_at_all(tmp_path, capsys):
    (tmp_path / "x.onnx").write_text("nothing")
    assert main([f"--check={tmp_path}/x.onnx"]) != 0
    assert "none of tflite, onnx, ms" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["ms", "tflite", "onnx"])
def test_operators_are_counted_in_every_container(tmp_path, ending):
    import bitlite

    path = tmp_path / f"d.{ending}"
    bitlite.convert(DIGITS, path, output_format=ending.upper())
    container, names = operators(str(path))
    assert container == ending
    expected = {"ms": "Conv2DFusion", "tflite": "CONV_2D", "onnx": "Conv"}[ending]
    assert names[expected] >= 2


def test_a_type_without_a_kernel_in_mindspore_lite_is_said_before_converting(tmp_path, capsys):
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(n, TensorProto.INT32, [4]) for n in ("a", "b", "y")]
    node = helper.make_node("Div", ["a", "b"], ["y"], name="division")
    graph = helper.make_graph([node], "g", ends[:2], ends[2:])
    path = str(tmp_path / "m.onnx")
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    assert main(["--check", path]) != 0
    assert "division (Div): its DivFusion has no kernel for int32; cannot be written to ms" in capsys.readouterr().out
