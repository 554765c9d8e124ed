from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.formats import onnx as onnx_format
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam, choose_asymmetric, choose_symmetric, quantize
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.passes.fuse_quantize import split_quantize
from bitlite.converter.passes.quantize_for_onnx import quantize_for_onnx
from bitlite.native.load import load
from bitlite.native.session import Session

WINDOW = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4}


def coded(t, quant, dtype=np.int8):
    t.dtype, t.quant = np.dtype(dtype), quant
    return t


def codes(net, x, op, *args, low=-4.0, high=4.0, **attrs):
    return coded(net.emit(op, x, *args, **attrs), choose_asymmetric(low, high))


def weight(net, *shape):
    w = net.const(*shape)
    quant = choose_symmetric(np.abs(w.data).max(tuple(range(1, len(shape)))), 8, 0)
    return coded(net.build.constant(quantize(w.data, quant), "w"), quant)


def network(net, *, source="float", high=6.0):
    """Conv(relu6) → residual Add → mean without its axes → the last layer in float."""
    x = net.input(1, 4, 6, 6)
    x.layout = "NCHW"
    if source == "float":
        x = coded(net.emit("Quantize", net.last(x), dtype="int8"), choose_asymmetric(-4.0, 4.0))
    else:
        x = coded(net.last(coded(x, choose_asymmetric(-4.0, 4.0))), choose_asymmetric(-4.0, 4.0))
    y = codes(net, x, "Conv", weight(net, 4, 3, 3, 4), **WINDOW, act="relu6", low=0.0, high=high)
    y = codes(net, x, "Add", y, act="relu" if high < 7 else "none", low=-4.0 if high < 7 else 0.0, high=8.0)
    y = coded(net.emit("Reduce", y, mode="mean", axes=[1, 2], keep_dims=False), y.quant)
    y = net.emit("FullyConnected", net.emit("Dequantize", y), weight(net, 5, 4), net.const(5), keep_dims=True)
    return net.done(y)


def optimized(path, tmp_path):
    """The operators that onnxruntime makes of a file."""
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 3, str(tmp_path / "optimized.onnx")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session, [n.op_type for n in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]


@pytest.mark.parametrize("high", [6.0, 9.0], ids=["codes end at the clamp", "codes reach beyond the clamp"])
def test_onnxruntime_fuses_every_operator_on_codes(net, tmp_path, high):
    graph = network(net, high=high)
    own = Session(graph.copy())
    run_passes(graph, for_target("onnx"))
    path = tmp_path / "m.onnx"
    onnx_format.write(graph, str(path))
    session, ops = optimized(path, tmp_path)
    assert {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"} <= set(ops)
    assert not {"Conv", "FusedConv", "Add", "ReduceMean", "GlobalAveragePool", "Gemm"} & set(ops)
    x = np.random.default_rng(3).normal(size=(1, 4, 6, 6)).astype(np.float32)
    expected = next(iter(own.run({own.inputs[0].name: x}).values()))
    actual = session.run(None, {session.get_inputs()[0].name: x})[0]
    assert np.abs(actual - expected).max() <= 0.02 * np.abs(expected).max()
    again = load(str(path))
    actual = next(iter(again.run({again.inputs[0].name: x}).values()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_an_int8_input_keeps_its_type_and_the_rest_is_fused(net, tmp_path):
    graph = network(net, source="codes")
    run_passes(graph, for_target("onnx"))
    path = tmp_path / "m.onnx"
    onnx_format.write(graph, str(path))
    session, ops = optimized(path, tmp_path)
    assert session.get_inputs()[0].type == "tensor(int8)"
    assert not {"Conv", "Add", "Gemm"} & set(ops)


def test_an_int8_output_keeps_its_type(net, outputs_of):
    x = net.input(1, 4, 4, 4)
    y = coded(net.emit("Quantize", x, dtype="int8"), choose_asymmetric(-4.0, 4.0))
    y = codes(net, y, "Conv", weight(net, 4, 3, 3, 4), **WINDOW)
    graph = net.done(y)
    feeds = {t.name: np.random.default_rng(5).normal(size=t.shape).astype(np.float32) for t in graph.inputs}
    before = list(outputs_of(graph, feeds).values())
    run_passes(graph, (split_quantize, quantize_for_onnx))
    after = list(outputs_of(graph, feeds).values())
    assert after[0].dtype == np.int8
    assert np.abs(after[0].astype(int) - before[0].astype(int)).max() <= 1
    assert {n.outputs[0].dtype.name for n in graph.nodes if n.op == "Quantize"} == {"uint8", "int8"}
    count = len(graph.nodes)
    run_passes(graph, (split_quantize, quantize_for_onnx))
    assert len(graph.nodes) == count


def test_integer_inputs_and_outputs_keep_their_names_and_values_in_a_file(net, tmp_path):
    x = net.input(1, 4, 4, 4)
    y = codes(net, coded(x, choose_asymmetric(-4.0, 4.0)), "Conv", weight(net, 4, 3, 3, 4), **WINDOW)
    graph = net.done(y)
    own = Session(graph.copy())
    run_passes(graph, for_target("onnx"))
    onnx_format.write(graph, str(tmp_path / "m.onnx"))
    session, _ = optimized(tmp_path / "m.onnx", tmp_path)
    again = load(str(tmp_path / "m.onnx"))
    assert [p.name for p in again.outputs] == [p.name for p in session.get_outputs()] == [y.name]
    data = np.random.default_rng(2).integers(-128, 128, (1, 4, 4, 4), np.int8)
    expected = own.run({x.name: data})[y.name]
    np.testing.assert_array_equal(again.run({x.name: data})[y.name], expected)
    assert np.abs(session.run(None, {x.name: data})[0].astype(int) - expected.astype(int)).max() <= 1


def test_a_bias_beyond_int32_stays_float(net):
    x = coded(net.emit("Quantize", net.input(2, 4), dtype="int8"), choose_asymmetric(-1e-3, 1e-3))
    w = coded(net.build.constant(np.ones((3, 4), np.int8), "w"), QuantParam(1e-6, 0))
    bias = net.build.constant(np.float32([1, 2, 1e6]), "b")
    graph = net.done(net.emit("FullyConnected", net.emit("Dequantize", x), w, bias, keep_dims=True))
    assert isinstance(graph, Graph)
    run_passes(graph, (split_quantize, quantize_for_onnx))
    assert next(n for n in graph.nodes if n.op == "FullyConnected").inputs[2].dtype == np.float32
