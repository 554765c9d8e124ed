from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.numeric.qparams import QuantParam

Q = QuantParam([0.03], [5])


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 5), (np.uint8, 120), (np.int16, 0)])
def test_tflite_quantize_and_dequantize_equal_litert(tflite_check, rng, dtype, zero):
    q = QuantParam([0.03], [zero])
    x = np.append(rng.uniform(-6, 6, 200), [0, 1e6, -1e6]).astype(np.float32)
    tflite_check("QUANTIZE", [x], outputs=(dtype,), output_quant=(q,), steps=1)
    info = np.iinfo(dtype)
    codes = rng.integers(info.min, info.max, 200).astype(dtype)
    tflite_check("DEQUANTIZE", [codes], outputs=(np.float32,), quant={0: q}, version=3 if dtype == np.int16 else 2)


def test_tflite_dequantize_to_integers_is_refused(tflite_check):
    with pytest.raises(Error, match="its output is int8, and must be float"):
        tflite_check("DEQUANTIZE", [np.int8([1, 2])], outputs=(np.int8,), quant={0: Q}, output_quant=(Q,))


def test_quantize_multiplies_by_the_reciprocal_and_rounds_half_to_even(tflite_check):
    q = QuantParam([0.25], [1])
    x = np.float32([0.125, 0.375, -0.125, -0.375, 0.25])
    got = tflite_check("QUANTIZE", [x], outputs=(np.int8,), output_quant=(q,), steps=1)[0]
    np.testing.assert_array_equal(got, np.int8([1, 3, 1, -1, 2]))


def test_tflite_requantize_is_within_one_code_of_litert(tflite_check, rng):
    codes = rng.integers(-128, 128, 300).astype(np.int8)
    tflite_check("QUANTIZE", [codes], quant={0: Q}, output_quant=(QuantParam([0.021], [-7]),), steps=1, version=2)
    tflite_check("QUANTIZE", [codes], outputs=(np.uint8,), quant={0: Q}, output_quant=(QuantParam([0.03], [133]),),
                 version=2)  # fmt: skip


def test_tflite_dequantize_of_float16_weights_casts(tflite_check, rng):
    tflite_check("DEQUANTIZE", [rng.standard_normal(9).astype(np.float16)], outputs=(np.float32,), version=2)


@pytest.mark.parametrize("bits", [8, 4])
def test_tflite_fake_quant_equals_litert(tflite_check, rng, bits):
    x = rng.uniform(-3, 4, 500).astype(np.float32)
    options = {"min": -1.7, "max": 2.9, "num_bits": bits}
    tflite_check("FAKE_QUANT", [x], ("FakeQuantOptions", options))


SCALE, ZERO = np.float32([0.02, 0.5, 0.1]), np.int8([1, -3, 0])


@pytest.mark.parametrize("const", [(1, 2), ()])
def test_onnx_quantize_linear_equals_onnxruntime(onnx_check, rng, const):
    x = rng.uniform(-3, 3, (4, 3)).astype(np.float32)
    onnx_check("QuantizeLinear", [x, np.float32(0.25), np.uint8(7)], const=const)
    onnx_check("QuantizeLinear", [x, SCALE, ZERO], {"axis": 1}, const=const, steps=int(bool(const)))
    onnx_check("QuantizeLinear", [x, np.float32(0.25)], const=const[:1])
    blocks = np.float32([[0.1, 0.2, 0.3], [0.4, 0.5, 0.25]])
    onnx_check("QuantizeLinear", [x, blocks, np.zeros((2, 3), np.int8)], {"axis": 0, "block_size": 2}, const=const)


@pytest.mark.parametrize("const", [(1, 2), ()])
def test_onnx_dequantize_linear_equals_onnxruntime(onnx_check, rng, const):
    x = rng.integers(-128, 128, (4, 3)).astype(np.int8)
    onnx_check("DequantizeLinear", [x, np.float32(0.25), np.int8(7)], const=const)
    onnx_check("DequantizeLinear", [x, SCALE, ZERO], {"axis": 1}, const=const)
    onnx_check("DequantizeLinear", [x.astype(np.int32) * 1000, np.float32(0.01)], const=const[:1])
    blocks = np.float32([[0.1, 0.2, 0.3], [0.4, 0.5, 0.25]])
    onnx_check("DequantizeLinear", [x, blocks, np.zeros((2, 3), np.int8)], {"axis": 0, "block_size": 2}, const=const)


def test_a_dequantized_constant_is_a_weight_with_its_parameters(tmp_path):
    from bitlite.converter.formats.onnx import read
    from onnx import TensorProto, helper, numpy_helper

    w = np.arange(12).reshape(3, 4).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["real"], "dq", axis=1),
        helper.make_node("MatMul", ["x", "real"], ["y"], "mm"),
    ]
    fixed = [
        numpy_helper.from_array(a, n)
        for a, n in ((w, "w"), (np.float32([1, 2, 3, 4]), "s"), (np.zeros(4, np.int8), "z"))
    ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [2, 3]), ("y", [2, 4]))]
    path = tmp_path / "m.onnx"
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], fixed)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString())
    model = read(str(path))
    assert [n.op for n in model.nodes] == ["MatMul"]
    weight = model.nodes[0].inputs[1]
    assert weight.dtype == np.int8
    assert weight.quant.axis == 1
    np.testing.assert_array_equal(weight.real(), w * np.float32([1, 2, 3, 4]))


def test_integers_between_the_casts_are_numbers(tmp_path, rng):
    """ONNX multiplies the stored integers, whatever scale they came from."""
    import onnxruntime
    from bitlite.converter.execute import execute
    from bitlite.converter.formats.onnx import read
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("Cast", ["q"], ["wide"], "c", to=TensorProto.INT32),
        helper.make_node("Mul", ["wide", "wide"], ["y"], "m"),
    ]
    fixed = [numpy_helper.from_array(np.asarray(a), n) for a, n in ((np.float32(0.5), "s"), (np.uint8(9), "z"))]
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [8]),
        helper.make_tensor_value_info("y", TensorProto.INT32, [8]),
    ]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], fixed)
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    x = rng.integers(-6, 6, 8).astype(np.float32)
    want = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    model = read(str(path))
    values = {model.inputs[0]: x}
    for node in model.nodes:
        results = execute(node, [values.get(t, t.data) for t in node.inputs])
        values.update(zip(node.outputs, results))
    np.testing.assert_array_equal(values[model.outputs[0]], want)


@pytest.mark.parametrize(("kind", "zero", "low", "high"), [("INT4", 1, -8, 7), ("UINT4", 9, 0, 15)])
def test_four_bit_codes_saturate_at_four_bits(tmp_path, kind, zero, low, high):
    from bitlite.converter.execute import execute
    from bitlite.converter.formats.onnx import read
    from onnx import TensorProto, helper

    z = helper.make_tensor("z", getattr(TensorProto, kind), [], [zero])
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "d")]  # fmt: skip
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [5]) for n in "xy"]
    fixed = [helper.make_tensor("s", TensorProto.FLOAT, [], [0.5]), z]
    model = helper.make_model(helper.make_graph(nodes, "g", infos[:1], infos[1:], fixed), ir_version=10,
                              opset_imports=[helper.make_opsetid("", 21)])  # fmt: skip
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    graph = read(str(path))
    assert [n.op for n in graph.nodes] == ["Quantize", "Dequantize"]
    x = np.float32([-100, -1, 0, 1, 100])
    values = {graph.inputs[0]: x}
    for node in graph.nodes:
        values.update(zip(node.outputs, execute(node, [values[t] for t in node.inputs])))
    want = (np.clip(np.rint(x / 0.5) + zero, low, high) - zero) * 0.5
    np.testing.assert_array_equal(values[graph.outputs[0]], want.astype(np.float32))


def test_onnx_dynamic_quantize_equals_onnxruntime(onnx_check, rng):
    for x in (rng.uniform(-1, 3, (4, 5)), rng.uniform(1, 3, (4, 5)), np.zeros((2, 2))):
        onnx_check("DynamicQuantizeLinear", [x.astype(np.float32)], outputs=3)


def test_a_float8_zero_point_is_refused_by_name(onnx_check):
    import ml_dtypes

    zero = np.zeros((), ml_dtypes.float8_e4m3fn)
    with pytest.raises(Error, match="not read"):
        onnx_check("QuantizeLinear", [np.zeros(3, np.float32), np.float32(1), zero], const=(1, 2), want=[])
