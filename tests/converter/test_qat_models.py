"""Networks that other tools trained with quantization, or that are written as those do, keep their scales and results.

The files come from `tests/models/qat/export.py`. What the source means is onnxruntime's answer without optimizations:
every rounding where the file has it.
"""

from __future__ import annotations

from pathlib import Path

import bitlite
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from bitlite.converter.formats import read_model
from bitlite.converter.passes import for_target, run_passes
from onnx import TensorProto, helper, numpy_helper

FILES = sorted((Path(__file__).parents[1] / "models" / "qat").glob("*.onnx"))
# Layers with weights that stay in float, and why: codes of fewer bits are clipped in front of a float Quantize; x86's
# recipe leaves the residual sum and what it adds in float; a dense layer gives the float output.
IN_FLOAT = {"brevitas_w4a4": 2, "torchao_x86": 2}


def meaning(path, x, optimized=False):
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def scales_of(path):
    """Scales of activations in a QDQ file."""
    model = onnx.load(path)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    values |= {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in model.graph.node if n.op_type == "Constant"
    }
    casts = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in values]
    return {float(values[n.input[1]].reshape(-1)[0]) for n in casts}


def graph_of(path):
    graph = read_model(str(path))
    run_passes(graph, for_target("general"))
    return graph


def inputs_of(path, count=4):
    shape = bitlite.load(str(path)).inputs[0].shape
    return [np.random.default_rng(k).normal(size=shape).astype(np.float32) for k in range(count)]


def answer(path, x):
    session = bitlite.load(str(path))
    fits = tuple(session.inputs[0].shape) == x.shape
    (got,) = session.run(x if fits else np.ascontiguousarray(x.transpose(0, 2, 3, 1))).values()
    return got


def litert(path, x):
    runner = Interpreter(str(path))
    runner.allocate_tensors()
    port = runner.get_input_details()[0]
    runner.set_tensor(port["index"], x if x.shape == tuple(port["shape"]) else x.transpose(0, 2, 3, 1))
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


def test_every_tool_is_there():
    assert {p.stem.split("_")[0] for p in FILES} == {"brevitas", "eager", "nncf", "torchao"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_layer_computes_on_codes_of_the_scales_that_were_trained(path):
    graph = graph_of(path)
    layers = [n for n in graph.nodes if n.op in ("Conv", "FullyConnected")]
    in_float = [n.name for n in layers if n.outputs[0].dtype.kind == "f" and n.outputs[0] not in graph.outputs]
    assert all(n.required(1).dtype == np.int8 and n.required(1).quant is not None for n in layers)
    assert len(in_float) == IN_FLOAT.get(path.stem, 0), in_float
    found = {float(np.float32(t.quant.scale[0])) for t in graph.tensors() if t.quant is not None and not t.is_const}
    assert found == scales_of(path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
@pytest.mark.parametrize("ending", ["onnx", "tflite", "ms"])
def test_a_conversion_means_what_was_trained(path, ending, tmp_path):
    written = tmp_path / f"net.{ending}"
    bitlite.convert(str(path), str(written), output_format=[ending.upper()])
    (y,) = graph_of(path).outputs
    coded = [t for n in graph_of(path).nodes if n.op == "Dequantize" and n.outputs[0].name == y.name for t in n.inputs]
    unit = float(coded[0].quant.scale[0]) if coded else 0.0
    for x in inputs_of(path):
        want = meaning(path, x)
        bound = 0.02 * np.abs(want).max() + unit
        got = answer(written, x)
        assert np.abs(got - want).max() <= bound
        if ending != "ms":
            other = meaning(written, x, optimized=True) if ending == "onnx" else litert(written, x)
            assert np.abs(got - other).max() <= bound


def pattern(path, weights, activations=np.int8):
    """A small network as pytorch-quantization (float weights between casts, symmetric), NNCF (uint8 activations) and
    others write it. weights: "symmetric", "asymmetric", "codes" (stored uint8 with zero points) or "uint4"."""
    rng, constants, nodes = np.random.default_rng(3), [], []

    def const(value, name):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def casts(x, name, scale, zero, **axis):
        ends = [const(np.asarray(scale, np.float32), f"{name}/s"), const(zero, f"{name}/z")]
        nodes.append(helper.make_node("QuantizeLinear", [x, *ends], [f"{name}/q"], name=f"{name}/Q", **axis))
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}/q", *ends], [f"{name}/dq"], name=f"{name}/D", **axis)
        )
        return f"{name}/dq"

    def weight(name, *shape):
        w = rng.normal(0, 0.3, shape).astype(np.float32)
        axes, rows = tuple(range(1, w.ndim)), (-1, *[1] * (w.ndim - 1))
        if weights == "symmetric":
            return casts(const(w, name), name, np.abs(w).max(axes) / 127, np.zeros(shape[0], np.int8), axis=0)
        most = 15 if weights == "uint4" else 255
        low, high = np.minimum(w.min(axes), 0), np.maximum(w.max(axes), 0)
        scale = ((high - low) / most).astype(np.float32)
        zero = np.rint(-low / scale).astype(np.uint8)
        if weights == "asymmetric":
            return casts(const(w, name), name, scale, zero, axis=0)
        codes = np.clip(np.rint(w / scale.reshape(rows)) + zero.reshape(rows), 0, most).astype(np.uint8)
        kind = TensorProto.UINT4 if weights == "uint4" else TensorProto.UINT8
        for key, value in (("q", codes), ("z", zero)):
            constants.append(helper.make_tensor(f"{name}/{key}", kind, value.shape, value.reshape(-1).tolist()))
        ends = [f"{name}/q", const(scale, f"{name}/s"), f"{name}/z"]
        nodes.append(helper.make_node("DequantizeLinear", ends, [f"{name}/dq"], name=f"{name}/D", axis=0))
        return f"{name}/dq"

    def layer(op, x, w, bias, output, **attrs):
        given = const(rng.normal(0, 0.1, bias).astype(np.float32), f"{output}/b")
        nodes.append(helper.make_node(op, [x, w, given], [output], name=output, **attrs))
        return output

    zero = np.asarray(0 if activations == np.int8 else 120, activations)
    x = casts("x", "x", 0.03, zero)
    nodes.append(helper.make_node("Relu", [layer("Conv", x, weight("w0", 8, 3, 3, 3), 8, "c0", pads=[1] * 4)], ["r"]))
    x = casts("r", "a1", 0.04, zero)
    x = casts(layer("Conv", x, weight("w1", 8, 1, 3, 3), 8, "c1", pads=[1] * 4, group=8), "a2", 0.04, zero)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["g"], name="g"))
    nodes.append(helper.make_node("Flatten", [casts("g", "a3", 0.01, zero)], ["f"], name="f"))
    layer("Gemm", "f", weight("w2", 5, 8), 5, "y", transB=1)
    ports = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [1, 3, 8, 8]), ("y", [1, 5]))]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    opset = helper.make_opsetid("", 21 if weights == "uint4" else 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path


@pytest.mark.parametrize("weights", ["symmetric", "asymmetric", "codes", "uint4"])
@pytest.mark.parametrize("activations", [np.int8, np.uint8], ids=["int8", "uint8"])
def test_fake_quantized_weights_become_codes(weights, activations, tmp_path):
    path = pattern(tmp_path / "source.onnx", weights, activations)
    graph = graph_of(path)
    layers = [n for n in graph.nodes if n.op in ("Conv", "FullyConnected")]
    bits = 4 if weights == "uint4" else 8
    assert [n.required(1).dtype for n in layers] == [np.dtype(np.int8)] * 3
    assert {n.required(1).quant.bits for n in layers} == {bits}
    assert [n.required(0).dtype.kind for n in layers] == ["i", "i", "f"]
    # Each pooled code may be one off.
    bound = 1.01 * 0.01 * np.abs(layers[-1].required(1).real()).sum(1).max()
    for ending in ("onnx", "tflite"):
        written = tmp_path / f"net.{ending}"
        bitlite.convert(str(path), str(written), output_format=[ending.upper()])
        for x in inputs_of(path):
            want = meaning(path, x)
            got = answer(written, x)
            other = meaning(written, x, optimized=True) if ending == "onnx" else litert(written, x)
            assert np.abs(got - want).max() <= bound
            assert np.abs(other - want).max() <= bound


def test_the_operator_that_nncf_exports_for_few_bits_is_refused_by_name(tmp_path):
    bounds = {"low": 0, "high": 1, "first": 0, "last": 1}
    node = helper.make_node(
        "FakeQuantize", ["x", *bounds], ["y"], name="nncf/fake", domain="org.openvinotoolkit", levels=16
    )
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    constants = [numpy_helper.from_array(np.float32(value), name) for name, value in bounds.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("org.openvinotoolkit", 1)]
    path = str(tmp_path / "nncf.onnx")
    onnx.save(
        helper.make_model(helper.make_graph([node], "net", ends[:1], ends[1:], constants), opset_imports=opsets), path
    )
    line = r"nncf/fake: operator org\.openvinotoolkit::FakeQuantize is not read; try NNCF's export with 8 bits"
    with pytest.raises(bitlite.UnsupportedError, match=line):
        bitlite.convert(path, str(tmp_path / "out.ms"))
    assert [p.name for p in tmp_path.iterdir()] == ["nncf.onnx"]
