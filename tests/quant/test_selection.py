"""Which nodes a user's words mean."""

import bitlite.converter.ops  # noqa: F401  (declares the rows)
import numpy as np
import pytest
from bitlite.converter.errors import UsageError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.selection import select
from bitlite.quant.selectors import parse_selector

JOINED = "model/relu;model/bias;model/conv"


def chosen(text):
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 4))
    for op, name in (("Relu", JOINED), ("Exp", "plain"), ("Neg", "model/conv")):
        (x,) = build.emit(op, [x], {}, name=name)
    graph.outputs = [x]
    return {n.op for n in select(graph, (parse_selector(text),))}


@pytest.mark.parametrize(
    ("text", "ops"),
    [
        (JOINED, {"Relu"}),
        ("model/relu", {"Relu"}),
        ("model/conv", {"Neg"}),
        ("from model/relu to plain", {"Relu", "Exp"}),
        ("type:exp", {"Exp"}),
    ],
)
def test_the_name_that_tables_show_is_understood(text, ops):
    assert chosen(text) == ops


def test_a_type_that_is_not_there_gets_those_that_are():
    with pytest.raises(UsageError, match="no operator of the model; try Exp, Neg, Relu"):
        chosen("type:Gemm")


def test_a_type_may_be_the_name_that_the_file_has_for_it(tmp_path):
    from bitlite.converter.formats import read_model, tflite_write
    from bitlite.converter.schema.builder import Builder

    graph = Graph("m")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8, 8, 4))
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4, "pad_mode": "valid"}
    deep = build.constant(np.ones((4, 3, 3, 1), np.float32), "deep")
    x = build.emit("Conv", [x, deep], window | {"group": 4}, name="depthwise")[0]
    graph.outputs = build.emit(
        "Conv", [x, build.constant(np.ones((2, 1, 1, 4), np.float32), "w")], window, name="point"
    )
    tflite_write.write(graph, str(tmp_path / "m.tflite"))
    reread = read_model(str(tmp_path / "m.tflite"))
    for word in ("DepthwiseConv2D", "DEPTHWISE_CONV_2D", "depthwise_conv_2d"):
        assert [n.attrs["group"] for n in select(reread, (parse_selector(f"type:{word}"),))] == [4]
    assert len(select(reread, (parse_selector("type:Conv"),))) == 2
    with pytest.raises(UsageError, match="CONV_2D, Conv, DEPTHWISE_CONV_2D"):
        select(reread, (parse_selector("type:Pool"),))


def test_a_format_with_one_name_for_all_convolutions_knows_a_depthwise_one():
    graph = Graph("m")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8, 8, 4))
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}
    for name, shape, group in (("deep", (4, 3, 3, 1), 4), ("full", (4, 3, 3, 4), 1)):
        w = build.constant(np.ones(shape, np.float32), name)
        (x,) = build.emit("Conv", [x, w], window | {"group": group}, name=name)
    graph.outputs = [x]
    graph.meta["operators"] = {"deep": "Conv", "full": "Conv"}
    for word, names in (("DepthwiseConv2D", {"deep"}), ("conv_2d", {"full"}), ("Conv", {"deep", "full"})):
        assert {n.name for n in select(graph, (parse_selector(f"type:{word}"),))} == names
