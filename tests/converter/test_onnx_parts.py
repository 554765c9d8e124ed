"""ONNX files whose large constants do not pass through protobuf's objects."""

from __future__ import annotations

import io

import numpy as np
import onnx
import pytest
from bitlite.converter.errors import ModelError
from bitlite.converter.formats.onnx import read
from bitlite.converter.formats.onnx_parts import cut_initializers, write_joined
from onnx import TensorProto, helper, numpy_helper

BIG = np.random.default_rng(0).standard_normal((200, 100)).astype(np.float32)


def model():
    values = {"small": np.arange(100, dtype=np.float32), "big": BIG, "more": BIG[:, ::-1].copy()}
    nodes = [
        helper.make_node("MatMul", ["x", "big"], ["h"]),
        helper.make_node("Mul", ["h", "small"], ["m"]),
        helper.make_node("Gemm", ["m", "more"], ["y"], transB=1),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [3, 200]), ("y", None)))
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(a, n) for n, a in values.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_large_constants_are_cut_out_and_the_rest_stays():
    data = model().SerializeToString()
    rest, spans = cut_initializers(data)
    assert sorted(spans) == [1, 2]
    assert len(rest) < 2000
    parsed = onnx.ModelProto.FromString(rest)
    for k, (begin, end) in spans.items():
        parsed.graph.initializer[k].raw_data = data[begin:end]
    assert parsed == model()


@pytest.mark.parametrize("damage", [lambda d: d[:-3], lambda d: d + b"\x0f", lambda d: d + d])
def test_what_is_no_single_message_stays_whole(damage):
    data = damage(model().SerializeToString())
    assert cut_initializers(data) == (data, {})


def test_a_joined_file_is_the_model_with_its_constants():
    bare = model()
    arrays = [numpy_helper.to_array(t).copy() for t in bare.graph.initializer]
    for t in bare.graph.initializer:
        t.ClearField("raw_data")
    out = io.BytesIO()
    write_joined(out, bare, [(a.nbytes, iter([a.ravel()])) for a in arrays])
    assert onnx.ModelProto.FromString(out.getvalue()) == model()


def test_a_constant_that_is_cut_out_is_read_and_checked(tmp_path):
    path = tmp_path / "m.onnx"
    proto = model()
    onnx.save(proto, path)
    constants = {t.name: t.data for t in read(str(path)).constants()}
    np.testing.assert_array_equal(constants["more"], BIG[:, ::-1])
    assert constants["more"].flags.aligned
    proto.graph.initializer[1].dims[0] += 1
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=r"holds 80000 bytes where \[201, 100\] needs 80400"):
        read(str(path))
