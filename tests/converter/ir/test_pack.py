"""A graph sent to another process is the same graph."""

import numpy as np
import pytest
from bitlite.converter.errors import GraphError
from bitlite.converter.examples import example
from bitlite.converter.ir import Graph, Node, Tensor, dump
from bitlite.converter.ir.pack import pack, unpack
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.ops import OPS


def test_every_operator_comes_back_as_it_was():
    for name, row in sorted(OPS.items()):
        for case in row.cases:
            graph, _ = example(name, case)
            twin = unpack(pack(graph))
            assert dump(twin) == dump(graph)
            for a, b in zip(graph.constants(), twin.constants()):
                assert a.value.dtype == b.value.dtype
                assert np.array_equal(a.value, b.value, equal_nan=a.value.dtype.kind == "f")


def test_parameters_layout_rounding_and_what_names_mean_come_back():
    quant = QuantParam(np.array([0.1, 3e-7]), np.array([1, -2]), 0, 4, np.ones(2), np.zeros(2))
    w = Tensor("w", np.dtype(np.int8), (2, 3), np.arange(6, dtype=np.int8).reshape(2, 3)[:, ::-1], quant)
    x = Tensor("x", np.dtype(np.float32), (None, 3), layout="NCHW", dims=("batch", ""))
    y = Tensor("y", np.dtype(np.float32), None)
    attrs = {"a": (1, 2.5), "b": [None, True], "c": np.float32(0.1), "d": np.array([[7]], np.int64), "e": -0.0}
    meta = {"rounding": "gemmlowp", "operators": {"n": "Gemm"}}
    node = Node("Op", "n", [x, None, w], [y], attrs, ("first", "second"))
    graph = Graph("g", [node], [x], [y], {**meta, "options": 1})
    twin = unpack(pack(graph))
    (node,) = twin.nodes
    assert node.required(2).quant == quant
    assert np.array_equal(node.required(2).value, w.value)
    assert node.inputs[1] is None
    assert twin.inputs[0] is node.inputs[0]
    assert (twin.inputs[0].shape, twin.inputs[0].layout, twin.outputs[0].shape) == ((None, 3), "NCHW", None)
    assert node.attrs["a"] == (1, 2.5)
    assert node.attrs["b"] == [None, True]
    assert node.attrs["c"] == float(np.float32(0.1))
    assert node.attrs["d"].dtype == np.int64
    assert np.signbit(node.attrs["e"])
    assert (twin.meta, node.origin, twin.inputs[0].dims) == (meta, ("first", "second"), ("batch", ""))


def test_constants_are_views_that_cannot_be_written_to():
    w = Tensor("w", np.dtype(np.float32), (2,), np.ones(2, np.float32))
    y = Tensor("y", np.dtype(np.float32), (2,))
    data = pack(Graph("g", [Node("Op", "n", [w], [y])], [], [y]))
    (held,) = unpack(data).constants()
    assert np.shares_memory(held.value, np.frombuffer(data, np.uint8))
    assert not held.value.flags.writeable


def test_an_attribute_that_is_no_value_is_refused():
    y = Tensor("y", np.dtype(np.float32), (2,))
    with pytest.raises(GraphError, match="a Graph cannot be sent"):
        pack(Graph("g", [Node("Op", "n", [], [y], {"body": Graph()})], [], [y]))
