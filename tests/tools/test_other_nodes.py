from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.formats import onnx_write, tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.native.load import load
from bitlite.tools.accuracy import AccuracyError
from bitlite.tools.other_nodes import differences
from bitlite.tools.other_runtimes import verify_file

WRITERS = {"tflite": tflite_write.write, "onnx": onnx_write.write}


def network(factor=1.0):
    """Conv → Tanh → Conv, whose second weight is multiplied by `factor` in one output channel."""
    graph, rng = Graph("m"), np.random.default_rng(4)
    build = Builder(graph)

    def conv(x, name, factor=1.0):
        w = rng.normal(size=(4, 3, 3, 4)).astype(np.float32)
        w[0] *= factor
        attrs = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4}
        return build.emit("Conv", [x, build.constant(w, "w")], attrs, name=name)[0]

    x = build.input("x", np.float32, (1, 6, 5, 4))
    x.layout = "NHWC"
    y = build.emit("Tanh", [conv(x, "first")], name="second")[0]
    graph.outputs = [conv(y, "third", factor)]
    return graph


@pytest.mark.parametrize("container", ["tflite", "onnx"])
def test_the_first_node_that_another_runtime_computes_otherwise_is_named(tmp_path, container):
    pytest.importorskip("ai_edge_litert" if container == "tflite" else "onnxruntime")
    mine, other = tmp_path / f"mine.{container}", tmp_path / f"other.{container}"
    WRITERS[container](network(), str(mine))
    WRITERS[container](network(-1.0), str(other))
    session = load(str(mine))
    feed = {"x": np.random.default_rng(1).normal(size=(1, 6, 5, 4)).astype(np.float32)}
    nodes = differences(str(mine), session, feed)
    assert {"Conv", "Tanh"} <= {item.op for item in nodes}
    assert all(item.largest < 1e-4 for item in nodes)
    assert any("agrees" in line for line in verify_file(str(mine), session, feed))
    with pytest.raises(AccuracyError, match=r"the first node that differs is \S+ \(Conv\): cosine 0\."):
        verify_file(str(other), session, feed)
