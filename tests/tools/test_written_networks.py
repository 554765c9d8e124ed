"""Random networks, written to each format: one function in bitlite, LiteRT and onnxruntime, on codes where int8."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite import convert, load
from bitlite.converter.formats import ms
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder

SEEDS = range(6)


KINDS = ("residual", "depthwise", "branches", "max", "average", "tanh", "sigmoid gate")


def network(seed, kinds=KINDS):
    """Convolutions of all kinds, residuals, branches that are joined, pools, activations; a dense head."""
    graph, rng = Graph("m"), np.random.default_rng(seed)
    build = Builder(graph)

    def const(*shape):
        scale = np.sqrt(2 / max(np.prod(shape[1:]), 1)) if len(shape) > 1 else 0.1
        return build.constant((rng.normal(size=shape) * scale).astype(np.float32), "w")

    def emit(op, *inputs, **attrs):
        return build.emit(op, inputs, attrs)[0]

    def conv(t, out, k, group=1, stride=1):
        act = str(rng.choice(["none", "relu", "relu6"]))
        attrs = {"stride": [stride] * 2, "dilation": [1, 1], "pad": [k // 2] * 4, "group": group, "act": act}
        return emit("Conv", t, const(out, k, k, t.shape[-1] // group), const(out), **attrs)

    x = y = build.input("x", np.float32, (1, 12, 12, 3))
    x.layout = "NHWC"
    y = conv(y, 16, 3)
    for kind in rng.permutation(kinds):
        c = y.shape[-1]
        if kind == "residual":
            y = emit("Add", y, conv(y, c, 3), act=str(rng.choice(["none", "relu"])))
        elif kind == "depthwise":
            y = conv(conv(y, c, 3, group=c), c + 8, 1)
        elif kind == "branches":
            y = emit("Concat", conv(y, 8, 1), conv(y, 8, 3), axis=-1)
        elif kind == "tanh":
            y = emit("Tanh", y)
        elif kind == "sigmoid gate":
            y = emit("Mul", y, emit("Sigmoid", conv(y, c, 1)))
        else:
            window = {"kernel": [2, 2], "stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4}
            y = emit("MaxPool" if kind == "max" else "AveragePool", y, **window)
    y = emit("Reduce", y, mode="mean", axes=[1, 2], keep_dims=bool(rng.integers(2)))
    y = emit("Reshape", y, build.constant(np.array([1, -1], np.int64), "shape"))
    graph.outputs = [emit("FullyConnected", y, const(10, y.shape[-1]), const(10), keep_dims=True)]
    return graph


def written(tmp_path, seed, kinds=KINDS, **options):
    ms.write(network(seed, kinds), str(tmp_path / "m.ms"))
    convert(tmp_path / "m.ms", tmp_path / "out", fmk="MSLITE", output_format="MS,TFLITE,ONNX", **options)
    return {name: tmp_path / f"out.{name}" for name in ("ms", "tflite", "onnx")}


def samples(count):
    return np.random.default_rng(9).normal(size=(count, 1, 12, 12, 3)).astype(np.float32)


def turned(x, shape):
    return x if tuple(shape) == x.shape else np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def bitlite_runs(path, xs):
    session = load(path)
    port = session.inputs[0]
    return np.stack([next(iter(session.run({port.name: turned(x, port.shape)}).values())) for x in xs])


def litert_runs(path, xs):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.allocate_tensors()
    outputs = []
    for x in xs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.stack(outputs)


def onnxruntime_runs(path, xs):
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    return np.stack([session.run(None, {port.name: turned(x, port.shape)})[0] for x in xs])


RUNTIMES = {"tflite": litert_runs, "onnx": onnxruntime_runs}


@pytest.mark.parametrize("seed", SEEDS)
def test_float_networks_are_the_same_in_every_runtime(tmp_path, seed):
    paths, xs = written(tmp_path, seed), samples(3)
    expected = bitlite_runs(tmp_path / "m.ms", xs)
    for name, path in paths.items():
        np.testing.assert_allclose(bitlite_runs(path, xs), expected, rtol=0, atol=1e-5 * np.ptp(expected))
        if name in RUNTIMES:
            np.testing.assert_allclose(RUNTIMES[name](path, xs), expected, rtol=0, atol=1e-5 * np.ptp(expected))


@pytest.mark.parametrize("seed", SEEDS)
def test_int8_networks_agree_in_every_runtime(tmp_path, seed):
    data = list(samples(24))
    paths = written(tmp_path, seed, quant_type="PostTraining", calibration_data=data)
    xs = samples(8)
    expected = bitlite_runs(paths["ms"], xs)
    for name, path in paths.items():
        for run in (bitlite_runs, *([RUNTIMES[name]] if name in RUNTIMES else [])):
            error = run(path, xs).reshape(expected.shape) - expected
            assert 10 * np.log10((expected**2).sum() / ((error**2).sum() + 1e-12)) >= 25, (name, run.__name__)


@pytest.mark.parametrize("seed", SEEDS)
def test_onnxruntime_computes_int8_networks_on_codes(tmp_path, seed):
    ort, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    paths = written(tmp_path, seed, quant_type="PostTraining", calibration_data=list(samples(24)))
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    ort.InferenceSession(str(paths["onnx"]), options, providers=["CPUExecutionProvider"])
    ops = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert not {"Conv", "FusedConv", "Gemm", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool"} & set(ops), ops


@pytest.mark.parametrize("seed", SEEDS)
def test_xnnpack_takes_int8_networks_whole(tmp_path, seed):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    kinds = [kind for kind in KINDS if kind != "average"]  # XNNPACK has no int8 average pool
    paths = written(tmp_path, seed, kinds, quant_type="PostTraining", calibration_data=list(samples(24)))
    engine = interpreter.Interpreter(str(paths["tflite"]))
    engine.allocate_tensors()
    parts = [op for op in engine._get_ops_details() if op["op_name"] == "DELEGATE"]
    ends = {detail["index"] for detail in engine.get_output_details()}
    assert len(parts) == 1 and ends <= set(parts[0]["outputs"])
