"""Images in a .ms have the order that MindSpore Lite believes them to have.

The belief is derived here from the written file as that runtime derives it: by the input's order, which a transposition
from one order to the other changes, whatever the file declares and whatever rank lies between.
"""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.formats import ms
from bitlite.converter.ir import Graph
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session

IMAGE = (1, 4, 6, 8)
X = np.random.default_rng(2).standard_normal(IMAGE).astype(np.float32)


def weight(build, *shape):
    return build.constant(np.random.default_rng(5).standard_normal(shape).astype(np.float32))


WINDOW = {"stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4}
OPERATORS = {
    "Conv": lambda b, x: b.emit("Conv", [x, weight(b, 5, 1, 1, 8)], WINDOW),
    "ConvTranspose": lambda b, x: b.emit(
        "ConvTranspose", [x, weight(b, 8, 2, 2, 3)], WINDOW | {"output_padding": [0, 0]}
    ),
    "MaxPool": lambda b, x: b.emit("MaxPool", [x], WINDOW | {"kernel": [2, 2]}),
    "AveragePool": lambda b, x: b.emit("AveragePool", [x], WINDOW | {"kernel": [2, 2]}),
    "Resize": lambda b, x: b.emit("Resize", [x, b.constant(np.int64([8, 12]))], {"method": "linear"}),
    "SpaceToDepth": lambda b, x: b.emit("SpaceToDepth", [x], {"block": 2}),
    "DepthToSpace": lambda b, x: b.emit("DepthToSpace", [x], {"block": 2}),
    "PRelu": lambda b, x: b.emit("PRelu", [x, weight(b, 8)]),
    "Lrn": lambda b, x: b.emit("Lrn", [x], {"size": 3, "alpha": 0.1, "beta": 0.7}),
}
NCHW, NHWC = 0, 1


def reshaped(build, x, shape):
    return build.emit("Reshape", [x, build.constant(np.int64(shape))])[0]


def written(operator, tail=lambda build, x: x):
    """x → NCHW → [1,8,24] → an image again → (tail) → the operator."""
    graph = Graph(meta={"source": "onnx"})
    build = Builder(graph)
    x = build.input("x", np.float32, IMAGE, layout="NHWC")
    [first] = build.emit("Transpose", [x], {"perm": [0, 3, 1, 2]})
    [flat] = build.emit("Sigmoid", [reshaped(build, first, [1, 8, 24])])
    graph.outputs = OPERATORS[operator](build, tail(build, reshaped(build, flat, IMAGE)))
    target = graph.copy()
    run_passes(target, for_target("ms"))
    return graph, ms.to_record(target)


def beliefs(record):
    """(operator's table, the order that its data are believed to have) in the file's order."""
    order = {int(i): NHWC for i in record.inputIndex}
    for node in record.nodes:
        table, _ = node["primitive"]["value"]
        inputs = [int(i) for i in node["inputIndex"]]
        constants = [record.allTensors[i].get("data") for i in inputs]
        data = next((i for i in inputs if i in order), None)
        now = NHWC if data is None else order[data]
        yield table, now
        if table == "Transpose":
            perm = np.frombuffer(bytes(constants[1]), np.int32).tolist()
            now = {(0, 3, 1, 2): NCHW, (0, 2, 3, 1): NHWC, (0, 2, 1): NHWC if now == NCHW else NCHW}.get(
                tuple(perm), now
            )
        order |= {int(i): now for i in node["outputIndex"]}


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_image_behind_channels_first_values_is_read_channels_last(operator, tmp_path):
    graph, record = written(operator)
    orders = dict(beliefs(record))
    [name] = [t for t in orders if t not in ("Transpose", "Reshape", "Activation", "Unsqueeze")]
    assert orders[name] == NHWC
    assert orders["Activation"] == NCHW  # else there was nothing to turn
    path = str(tmp_path / "m.ms")
    target = graph.copy()
    run_passes(target, for_target("ms"))
    ms.write(target, path)
    [want], [got] = (Session(g).run({"x": X}).values() for g in (graph, ms.read(path)))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_the_head_of_a_detector_is_read_channels_last():
    """Softmax over the bins of each side, then a convolution with their numbers: one more transposition between."""

    def head(build, x):
        [likely] = build.emit("Softmax", [x], {"axis": 2})
        return build.emit("Transpose", [reshaped(build, likely, (1, 4, 8, 6))], {"perm": [0, 1, 3, 2]})[0]

    _, record = written("Conv", head)
    assert dict(beliefs(record))["Conv2DFusion"] == NHWC


def test_last_axes_of_three_swapped_change_the_order_that_is_believed():
    """As behind a spectrogram: the image that is cut out of it was taken for NCHW, and the convolution refused."""
    graph = Graph(meta={"source": "onnx"})
    build = Builder(graph)
    x = build.input("x", np.float32, (8, 4, 6))
    [swapped] = build.emit("Sigmoid", build.emit("Transpose", [x], {"perm": [0, 2, 1]}))
    graph.outputs = OPERATORS["Conv"](build, reshaped(build, swapped, IMAGE))
    run_passes(graph, for_target("ms"))
    orders = dict(beliefs(ms.to_record(graph)))
    assert (orders["Activation"], orders["Conv2DFusion"]) == (NCHW, NHWC)


def test_an_image_that_two_operators_read_is_turned_once():
    graph = Graph(meta={"source": "onnx"})
    build = Builder(graph)
    x = build.input("x", np.float32, IMAGE, layout="NHWC")
    [first] = build.emit("Transpose", [x], {"perm": [0, 3, 1, 2]})
    [flat] = build.emit("Sigmoid", [reshaped(build, first, [1, 8, 24])])
    image = reshaped(build, flat, IMAGE)
    graph.outputs = [OPERATORS[name](build, image)[0] for name in ("Conv", "MaxPool")]
    run_passes(graph, for_target("ms"))
    orders = list(beliefs(ms.to_record(graph)))
    assert [order for table, order in orders if table in ("Conv2DFusion", "MaxPoolFusion")] == [NHWC, NHWC]
    assert [table for table, _ in orders].count("Transpose") == 2
