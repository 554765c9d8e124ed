"""Weight-only files in the runtimes that they are for."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite import UnsupportedError, convert, load
from bitlite.converter.formats import ms, onnx_write, tflite, tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder

WINDOW = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}


@pytest.fixture
def source(tmp_path):
    """A .tflite of a 3x3, a depthwise, a 1x1 convolution and a fully connected layer."""
    rng = np.random.default_rng(2)
    graph = Graph("m")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8, 8, 16))

    def const(*shape):
        return build.constant(rng.normal(size=shape).astype(np.float32), "w")

    def emit(op, *inputs, **attrs):
        return build.emit(op, inputs, attrs)[0]

    y = emit("Conv", x, const(32, 3, 3, 16), const(32), **WINDOW | {"pad": [1] * 4}, act="relu")
    y = emit("Conv", y, const(32, 3, 3, 1), const(32), **WINDOW, group=32)
    y = emit("Conv", y, const(24, 1, 1, 32), const(24), **WINDOW, act="relu6")
    y = emit("Reduce", y, mode="mean", axes=[1, 2], keep_dims=False)
    y = emit("FullyConnected", y, const(20, 24), const(20), keep_dims=True)
    graph.outputs = [y]
    tflite.write(graph, str(tmp_path / "m.tflite"))
    return tmp_path / "m.tflite"


def litert(path, x):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    parts = sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), parts


def onnxruntime(path, x):
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    fed = x if tuple(port.shape) == x.shape else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return session.run(None, {port.name: fed})[0]


def sqnr(reference, value):
    return 10 * np.log10((reference**2).sum() / ((reference - value) ** 2).sum())


def own(path, x):
    session = load(path)
    port = session.inputs[0]
    fed = x if tuple(port.shape) == x.shape else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return next(iter(session.run({port.name: fed}).values()))


# The kernels of LiteRT quantize the activations of these layers to 8 bits as they come; onnxruntime computes in float.
@pytest.mark.parametrize(("bits", "parts"), [(8, 1), (4, 1)])
def test_quantized_weights_run_in_both_runtimes(source, tmp_path, bits, parts):
    options = {"quant_type": "WeightQuant", "bit_num": bits, "quant_weight_channel": 0, "gain_gate": False}
    report = convert(source, tmp_path / "q", output_format="MS,TFLITE,ONNX", **options)
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 16)).astype(np.float32)
    expected = own(tmp_path / "q.tflite", x)
    actual, _ = litert(tmp_path / "q.tflite", x)
    assert sqnr(expected, actual) > 30
    np.testing.assert_allclose(own(tmp_path / "q.onnx", x), expected, atol=1e-4)
    np.testing.assert_allclose(onnxruntime(tmp_path / "q.onnx", x), expected, atol=1e-4)
    assert any(note.startswith("no weight correction: a .tflite") for note in report.notes)
    assert any(t.quant.mean_corr is not None for t in load(tmp_path / "q.ms").graph.constants() if t.quant is not None)


def test_xnnpack_takes_a_whole_graph_of_int8_weights(source, tmp_path):
    convert(source, tmp_path / "q", output_format="TFLITE", quant_type="WeightQuant", gain_gate=False)
    assert litert(tmp_path / "q.tflite", np.zeros((1, 8, 8, 16), np.float32))[1] == 1


@pytest.mark.parametrize("container", ["TFLITE", "ONNX"])
def test_float16_weights_run_in_both_runtimes(source, tmp_path, container):
    convert(source, tmp_path / "h", output_format=container, fp16=True)
    path = tmp_path / f"h.{container.lower()}"
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 16)).astype(np.float32)
    actual = litert(path, x)[0] if container == "TFLITE" else onnxruntime(path, x)
    assert path.stat().st_size < 0.75 * source.stat().st_size
    np.testing.assert_allclose(actual, own(path, x), atol=1e-4)


@pytest.mark.parametrize(("container", "bits", "nearest"), [("TFLITE", 6, 8), ("TFLITE", 16, 8), ("ONNX", 3, 4)])
def test_a_width_that_a_format_lacks_is_refused_by_node_before_anything_is_written(
    source, tmp_path, container, bits, nearest
):
    with pytest.raises(UnsupportedError, match=rf"\(Conv\): weights of {bits} bits .* nearest is {nearest}"):
        convert(
            source,
            tmp_path / "q",
            output_format=f"MS,{container}",
            quant_type="WeightQuant",
            bit_num=bits,
            quant_weight_channel=0,
        )
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


def test_properties_and_texts_of_an_onnx_file_survive(source, tmp_path):
    onnx = pytest.importorskip("onnx")
    convert(source, tmp_path / "a", output_format="ONNX")
    model = onnx.load(str(tmp_path / "a.onnx"))
    onnx.helper.set_model_props(model, {"author": "someone", "licence": "none"})
    model.doc_string, model.graph.doc_string = "what it is", "how it is"
    onnx.save(model, str(tmp_path / "b.onnx"))
    convert(tmp_path / "b.onnx", tmp_path / "c", output_format="ONNX", fmk="ONNX")
    again = onnx.load(str(tmp_path / "c.onnx"))
    onnx.checker.check_model(again, full_check=True)
    assert {p.key: p.value for p in again.metadata_props} == {"author": "someone", "licence": "none"}
    assert (again.doc_string, again.graph.doc_string) == ("what it is", "how it is")


def test_a_tflite_file_has_a_signature_to_run_by(source, tmp_path):
    runner = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(source)).get_signature_runner()
    outputs = runner(x=np.ones((1, 8, 8, 16), np.float32))
    assert next(iter(outputs.values())).shape == (1, 20)


@pytest.mark.parametrize(("opset", "written"), [(0, 18), (21, 21)])
def test_the_opset_is_the_smallest_or_the_one_asked_for(source, tmp_path, opset, written):
    onnx = pytest.importorskip("onnx")
    convert(source, tmp_path / "a", output_format="ONNX", opset=opset)
    assert onnx.load(str(tmp_path / "a.onnx")).opset_import[0].version == written


def test_an_opset_that_is_not_written_is_refused(source, tmp_path):
    with pytest.raises(UnsupportedError, match="opset 13 is not written"):
        convert(source, tmp_path / "a", output_format="ONNX", opset=13)


def test_an_operator_that_a_format_lacks_is_refused_before_calibration(tmp_path):
    graph = Graph("m")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 4, 4, 2))
    w = build.constant(np.ones((2, 3, 3, 1), np.float32), "w")
    attrs = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4, "output_padding": [0, 0], "group": 2}
    graph.outputs = build.emit("ConvTranspose", [x, w], attrs, name="grouped")
    onnx_write.write(graph, str(tmp_path / "m.onnx"))

    def never():
        raise AssertionError("the calibration data were asked for")
        yield

    with pytest.raises(UnsupportedError, match=r"ConvTranspose.*tflite"):
        convert(
            tmp_path / "m.onnx",
            tmp_path / "q",
            fmk="ONNX",
            output_format="MS,TFLITE",
            quant_type="PostTraining",
            calibration_data=never,
        )
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_metadata_and_signatures_of_a_tflite_file_survive(source, tmp_path):
    graph = tflite.read(str(source), None)
    sides = {"inputs": {"image": graph.inputs[0].name}, "outputs": {"scores": graph.outputs[0].name}}
    graph.meta["tflite"] |= {"metadata": {"TFLITE_METADATA": b"\x01labels\x00"}, "signatures": {"classify": sides}}
    tflite.write(graph, str(tmp_path / "a.tflite"))
    for options in ({}, {"quant_type": "WeightQuant"}):
        convert(tmp_path / "a.tflite", tmp_path / "b", fmk="TFLITE", output_format="TFLITE", **options)
        noted = tflite.read(str(tmp_path / "b.tflite"), None).meta["tflite"]
        assert noted["metadata"] == {"TFLITE_METADATA": b"\x01labels\x00"}
        assert noted["signatures"] == {"classify": sides}


def test_a_bias_in_codes_that_a_float_operator_reads_is_written_as_floats(tmp_path):
    graph = Graph("m")
    build = Builder(graph)
    bias = build.constant(np.array([1000, -2000, 3], np.int32), "bias")
    bias.quant = QuantParam([0.001], [0], None, 32)
    graph.outputs = build.emit("Add", [build.input("x", np.float32, (2, 3)), bias])
    ms.write(graph, str(tmp_path / "m.ms"))
    (got,) = load(tmp_path / "m.ms").run(np.zeros((2, 3), np.float32)).values()
    np.testing.assert_allclose(got, [[1, -2, 0.003]] * 2, rtol=1e-6)


@pytest.mark.parametrize("container", ["MS", "TFLITE", "ONNX"])
def test_operands_that_are_no_weights_stay_as_they_are_beside_float16_weights(tmp_path, container):
    graph = Graph("m")
    build = Builder(graph)
    rng = np.random.default_rng(0)

    def const(*shape):
        return build.constant(rng.normal(size=shape).astype(np.float32), "c")

    x = build.input("x", np.float32, (1, 64))
    y = build.emit("FullyConnected", [x, const(64, 64), const(64)], {"keep_dims": True})[0]
    chosen = build.emit("Greater", [y, const(64)])[0]
    y = build.emit("Where", [chosen, y, const(64)])[0]
    graph.outputs = build.emit("MatMul", [y, const(64, 64)])
    tflite_write.write(graph, str(tmp_path / "m.tflite"))
    report = convert(tmp_path / "m.tflite", tmp_path / "h", output_format=container, fp16=True)
    assert any("constants stay float32: operands of Greater, Where" in note for note in report.notes)
    assert sum(report.files.values()) < 0.75 * (tmp_path / "m.tflite").stat().st_size
    value = {"x": rng.normal(size=(1, 64)).astype(np.float32)}
    (actual,) = load(next(iter(report.files))).run(value).values()
    (wanted,) = load(tmp_path / "m.tflite").run(value).values()
    np.testing.assert_allclose(actual, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("bits", [4, 8])
def test_litert_takes_codes_beside_constants_of_float16(source, tmp_path, bits):
    """Biases of float16 behind a DEQUANTIZE ended its preparation."""
    convert(source, tmp_path / "half.tflite", output_format="TFLITE", fp16=True)
    options = {"quant_type": "WeightQuant", "bit_num": bits, "quant_weight_channel": 0, "gain_gate": False}
    convert(tmp_path / "half.tflite", tmp_path / "q.tflite", output_format="TFLITE", cost=False, **options)
    x = np.random.default_rng(4).normal(size=(1, 8, 8, 16)).astype(np.float32)
    got, _ = litert(tmp_path / "q.tflite", x)
    session = load(str(tmp_path / "q.tflite"))
    (want,) = session.run({session.inputs[0].name: x}).values()
    assert sqnr(want, got) > 25  # LiteRT takes the inputs to 8 bits


def test_litert_takes_no_inputs_to_8_bits_beside_codes_of_16(tmp_path):
    rng, graph = np.random.default_rng(6), Graph("m")
    build = Builder(graph)
    (codes,) = build.emit("Quantize", [build.input("x", np.float32, (3, 32))], {"dtype": "int16"})
    codes.quant = QuantParam(np.array([1e-4]), np.zeros(1, np.int32), bits=16)
    (y,) = build.emit("Dequantize", [codes])
    w = build.constant(rng.integers(-127, 128, (8, 32)).astype(np.int8), "w")
    w.quant = QuantParam(np.full(8, 0.01), np.zeros(8, np.int32), axis=0)
    graph.outputs = build.emit("FullyConnected", [y, w], {"keep_dims": True})
    tflite.write(graph, str(tmp_path / "m.tflite"))
    x = rng.uniform(-3, 3, (3, 32)).astype(np.float32)
    (want,) = load(str(tmp_path / "m.tflite")).run({"x": x}).values()
    assert sqnr(want, litert(tmp_path / "m.tflite", x)[0]) > 80


def test_onnxruntime_takes_a_weight_that_stands_on_both_sides_of_products(tmp_path):
    """It is stored as it is and transposed, and refused where both dequantizations had the same name."""
    rng, graph = np.random.default_rng(5), Graph("m")
    build = Builder(graph)
    w = build.constant(rng.integers(-127, 128, (32, 32)).astype(np.int8), "w")
    w.quant = QuantParam(np.full(32, 0.01), np.zeros(32, np.int32), axis=0)
    (left,) = build.emit("MatMul", [w, build.input("a", np.float32, (32, 5))], name="left")
    (right,) = build.emit("FullyConnected", [build.input("x", np.float32, (1, 3, 32)), w], {"keep_dims": True})
    graph.outputs = [left, right]
    onnx_write.write(graph, str(tmp_path / "m.onnx"))
    feed = {"a": np.eye(32, 5, dtype=np.float32), "x": rng.standard_normal((1, 3, 32)).astype(np.float32)}
    ort = pytest.importorskip("onnxruntime")
    got = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]).run(None, feed)
    want = load(str(tmp_path / "m.onnx")).run(feed).values()
    assert min(sqnr(a, b) for a, b in zip(want, got)) > 35  # onnxruntime takes the inputs to 8 bits
