"""int8 layers, written to .tflite and .onnx, give LiteRT's and onnxruntime's codes, or lie one code beside."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.formats import onnx_write, tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder

IN, OUT = QuantParam(np.array([0.02]), np.array([5])), QuantParam(np.array([0.06]), np.array([-7]))
WINDOW = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4}
POOL = {"kernel": [2, 2], "stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4}
TWICE = {"method": "nearest", "scales": [2.0, 2.0], "coordinate_mode": "asymmetric", "nearest_mode": "floor"}
# name → (operator, input shapes, weight shape and channel axis or None, attributes, whether there is a bias)
LAYERS = {
    "conv": ("Conv", [(1, 8, 8, 4)], ((6, 3, 3, 4), 0), WINDOW, True),
    "conv without bias": ("Conv", [(1, 8, 8, 4)], ((6, 3, 3, 4), 0), WINDOW | {"act": "relu"}, False),
    "depthwise": ("Conv", [(1, 8, 8, 4)], ((4, 3, 3, 1), 0), WINDOW | {"group": 4}, True),
    "conv with other pads": ("Conv", [(1, 8, 8, 4)], ((6, 3, 3, 4), 0), WINDOW | {"pad": [0, 2, 1, 0]}, True),
    "conv 1-D": ("Conv", [(1, 9, 4)], ((6, 3, 4), 0), {"stride": [1], "dilation": [1], "pad": [1, 1]}, True),
    "transposed conv": (
        "ConvTranspose", [(1, 4, 5, 3)], ((3, 3, 3, 4), 3),
        {"stride": [2, 2], "dilation": [1, 1], "pad": [0, 1, 0, 1], "output_padding": [0, 0]}, True,
    ),
    "dense": ("FullyConnected", [(3, 16)], ((5, 16), 0), {}, True),
    "dense of rank 3": ("FullyConnected", [(2, 3, 16)], ((5, 16), 0), {}, False),
    "matmul": ("MatMul", [(2, 3, 8), (2, 8, 4)], None, {}, False),
    "max pool": ("MaxPool", [(1, 8, 8, 4)], None, POOL | {"pad": [1, 0, 0, 1]}, False),
    "average pool": ("AveragePool", [(1, 8, 8, 4)], None, POOL, False),
    "resize": ("Resize", [(1, 4, 4, 2)], None, TWICE, False),
}  # fmt: skip


def layer(name):
    """(graph of the one int8 node, feeds, its own codes)."""
    op, shapes, weight, attrs, with_bias = LAYERS[name]
    rng, graph = np.random.default_rng(3), Graph()
    build = Builder(graph, fold_limit=0)
    inputs = [build.input(f"x{i}", np.int8, s) for i, s in enumerate(shapes)]
    for t in inputs:
        t.quant = IN
    if weight is not None:
        shape, axis = weight
        scale = rng.uniform(0.002, 0.01, shape[axis]).astype(np.float32).astype(float)
        inputs.append(build.constant(rng.integers(-127, 128, shape).astype(np.int8), "w"))
        inputs[-1].quant = QuantParam(scale, np.zeros(len(scale)), axis)
        if with_bias:
            inputs.append(build.constant(rng.integers(-500, 500, len(scale)).astype(np.int32), "b"))
            inputs[-1].quant = QuantParam(IN.scale * scale, np.zeros(len(scale)), 0, 32)
    [y] = graph.outputs = build.emit(op, inputs, attrs, name="node")
    y.dtype, y.quant = np.dtype(np.int8), IN if weight is None and op != "MatMul" else OUT
    feeds = {t.name: rng.integers(-128, 128, t.shape).astype(np.int8) for t in graph.inputs}
    [want] = execute(graph.nodes[0], [feeds.get(t.name, t.data) for t in inputs])
    return graph, feeds, want


@pytest.mark.parametrize("name", list(LAYERS))
def test_litert_gives_the_codes(name, tmp_path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    graph, feeds, want = layer(name)
    path = str(tmp_path / "layer.tflite")
    tflite_write.write(graph, path)
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = Interpreter(path, experimental_op_resolver_type=resolver)
    runner.allocate_tensors()
    for d in runner.get_input_details():
        runner.set_tensor(d["index"], feeds[d["name"]])
    runner.invoke()
    got = runner.get_tensor(runner.get_output_details()[0]["index"])
    assert got.dtype == np.int8
    assert np.abs(got.astype(int) - want).max() <= 1


@pytest.mark.parametrize("name", list(LAYERS))
def test_onnxruntime_gives_the_codes(name, tmp_path):
    import onnxruntime

    graph, feeds, want = layer(name)
    run_passes(graph, for_target("onnx"))
    path = str(tmp_path / "layer.onnx")
    onnx_write.write(graph, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [got] = session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})
    assert got.dtype == np.int8
    assert np.abs(got.astype(int) - want).max() <= 1
