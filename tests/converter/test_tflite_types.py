"""What LiteRT's kernels take: narrowed, or refused with the node's name before any work."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError
from bitlite.converter.formats.tflite import write
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from tflite_models import run_litert


def graph_of(op, inputs, attrs=None):
    graph = Graph()
    build = Builder(graph, fold_limit=0)
    ins = [
        build.constant(v, f"c{i}") if isinstance(v, np.ndarray) else build.input(f"x{i}", np.dtype(v[0]), v[1])
        for i, v in enumerate(inputs)
    ]
    graph.outputs = build.emit(op, ins, attrs or {}, name="n")
    return graph


@pytest.mark.parametrize("op", ["Div", "FloorDiv", "SquaredDifference", "Abs"])
def test_int64_is_computed_as_int32_where_only_that_is_there(tmp_path, op):
    x, d = np.int64([[7, -8, 9], [10_000, 5, -6]]), np.int64([2, 3, 4])
    graph = graph_of(op, [("int64", (2, 3)), d][: 1 if op == "Abs" else 2])
    path = tmp_path / "m.tflite"
    write(graph, str(path))
    session = bitlite.load(str(path))
    assert (session.inputs[0].dtype, session.outputs[0].dtype) == (np.int64, np.int64)
    [ours] = session.run({"x0": x}).values()
    np.testing.assert_array_equal(run_litert(path.read_bytes(), {"x0": x})[0], ours)
    np.testing.assert_array_equal(ours, bitlite.Session(graph).run({"x0": x})["n"])


def test_what_has_no_kernel_is_refused_by_name(tmp_path):
    with pytest.raises(UnsupportedError, match=r"n \(Relu\): its RELU has no kernel for int32"):
        write(graph_of("Relu", [("int32", (2, 3))]), str(tmp_path / "m.tflite"))
    assert not list(tmp_path.iterdir())
