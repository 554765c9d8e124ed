"""What a report says of each node: products, bytes, types, memory."""

import numpy as np
import pytest
from bitlite.converter.formats import read_model
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.schema.builder import Builder
from bitlite.tools.report.nodes import by_steps, fixed, macs, memory, node_rows


def built(op, shapes, attrs, const=(1,)):
    graph = Graph("g")
    build = Builder(graph)
    tensors = [
        build.constant(np.ones(shape, np.float32), f"c{k}") if k in const else build.input(f"x{k}", np.float32, shape)
        for k, shape in enumerate(shapes)
    ]
    graph.outputs = build.emit(op, tensors, attrs, name="node")
    return graph


CONV = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1], "group": 1}
UP = {"stride": [2, 2], "dilation": [1, 1], "pad": [0, 0, 0, 0], "output_padding": [0, 0]}


@pytest.mark.parametrize(
    "op, shapes, attrs, const, wanted",
    [
        ("Conv", [(1, 8, 8, 3), (5, 3, 3, 3)], CONV, (1,), 8 * 8 * 5 * 27),
        ("Conv", [(1, 8, 8, 4), (4, 3, 3, 1)], CONV | {"group": 4}, (1,), 8 * 8 * 4 * 9),
        ("FullyConnected", [(2, 7), (5, 7)], {}, (1,), 2 * 5 * 7),
        ("MatMul", [(6, 3, 5), (6, 5, 4)], {}, (), 6 * 3 * 5 * 4),
        ("MatMul", [(6, 3, 5), (4, 5)], {"transpose_b": True}, (1,), 6 * 3 * 5 * 4),
        ("ConvTranspose", [(1, 4, 4, 3), (3, 2, 2, 6)], UP, (1,), 4 * 4 * 3 * 2 * 2 * 6),
        ("Lstm", [(9, 2, 4), (1, 12, 4), (1, 12, 3)], {"hidden_size": 3}, (1, 2), 9 * 2 * 12 * 7),
        ("Tanh", [(3, 3)], {}, (), 0),
    ],
)
def test_products_are_counted(op, shapes, attrs, const, wanted):
    assert macs(built(op, shapes, attrs, const).nodes[0]) == wanted


def test_open_sizes_are_taken_as_one_and_count_then():
    graph = built("FullyConnected", [(None, 7), (5, 7)], {})
    assert macs(graph.nodes[0]) == 0
    assert node_rows(fixed(graph))[0]["macs"] == 35


def test_bytes_are_those_of_codes_at_their_width():
    graph = built("FullyConnected", [(1, 64), (10, 64)], {})
    weight = graph.nodes[0].inputs[1]
    weight.data, weight.dtype = np.zeros((10, 64), np.int8), np.dtype(np.int8)
    weight.quant = QuantParam(np.ones(10), np.zeros(10, np.int32), 0, 4)
    row = node_rows(graph)[0]
    assert row["bytes"] == {"read": 256, "written": 40, "constants": 320}
    assert (row["computes"], row["bits"]) == ("codes", 4)


def test_memory_counts_what_is_alive_at_once():
    graph = Graph("g")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 100))
    a = build.emit("Tanh", [x], name="a")[0]
    b = build.emit("Tanh", [a], name="b")[0]
    graph.outputs = build.emit("Add", [a, b], name="c")
    found = memory(graph)
    assert found["live"] == [800, 800, 1200] and found["peak"] == 1200 and found["at"] == "c"


def test_a_step_of_several_nodes_is_counted_once_and_named_on_all():
    rows = [{"name": "a+b"}, {"name": "c"}, {"name": "d"}, {"name": "e"}]
    by_steps(rows, [("a+b", 1.0), ("c+d", 2.0)])
    assert rows == [
        {"name": "a+b", "step": "a+b", "ms": 1.0},
        {"name": "c", "step": "c+d", "ms": 2.0},
        {"name": "d", "step": "c+d"},
        {"name": "e"},
    ]


def test_inputs_are_earlier_rows(tmp_path):
    from pathlib import Path

    rows = node_rows(fixed(read_model(str(Path(__file__).parents[3] / "demo" / "digits.onnx"))))
    assert all(-1 <= i < k for k, row in enumerate(rows) for i in row["inputs"])
    assert any(-1 in row["inputs"] for row in rows)
