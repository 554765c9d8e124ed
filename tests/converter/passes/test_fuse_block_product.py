"""Weights in blocks that the standard's DequantizeLinear says become codes beside their product."""

from __future__ import annotations

import bitlite
import numpy as np
import onnxruntime
import pytest
from bitlite.converter.formats.onnx import read
from bitlite.converter.passes import GENERAL, Refusal, run_passes
from bitlite.converter.passes.fuse_block_product import fuse_block_product
from onnx import TensorProto, helper, numpy_helper, save

K, N, BLOCK = 80, 12, 32
RANGES = {"INT4": (-8, 7), "UINT4": (0, 15), "INT8": (-128, 127), "UINT8": (0, 255)}


def stored(path, kind="INT4", zero=True, product="MatMul", axis=0, block=BLOCK, scale=np.float32):
    """A product of rows of K values with codes [K, O], or [N, K] of a Gemm that transposes them."""
    rng = np.random.default_rng(5)
    low, high = RANGES[kind]
    shape = (K, N) if product == "MatMul" else (N, K)
    grid = tuple(-(-n // block) if i == axis else n for i, n in enumerate(shape))
    number = getattr(TensorProto, kind)

    def codes(name, shape):
        return helper.make_tensor(name, number, shape, rng.integers(low, high + 1, shape).ravel())

    real = TensorProto.FLOAT if scale is np.float32 else TensorProto.FLOAT16
    constants = [codes("w", shape), numpy_helper.from_array(rng.uniform(0.01, 0.1, grid).astype(scale), "s")]
    constants += [codes("z", grid)] if zero else []
    inputs = [c.name for c in constants]
    fields = {"transB": 1} if product == "Gemm" else {}
    nodes = [
        helper.make_node("DequantizeLinear", inputs, ["real"], axis=axis, block_size=block, name="reals"),
        helper.make_node(product, ["x", "real"], ["y"], name="product", **fields),
    ]
    ports = [helper.make_tensor_value_info(n, real, [3, k]) for n, k in (("x", K), ("y", N))]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return str(path)


def fused(path):
    graph = read(path)
    return graph, run_passes(graph, GENERAL)


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(("product", "axis"), [("MatMul", 0), ("Gemm", 1)])
def test_codes_stay_and_give_what_onnxruntime_gives(tmp_path, kind, zero, product, axis):
    path = stored(tmp_path / "m.onnx", kind, zero, product, axis)
    graph, _ = fused(path)
    (node,) = graph.nodes
    assert (node.op, node.attrs["bits"], node.attrs["block"]) == ("BlockFullyConnected", int(kind[-1]), BLOCK)
    x = np.random.default_rng(6).standard_normal((3, K)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # float32; by itself int8 inputs
    (want,) = onnxruntime.InferenceSession(path, options).run(None, {"x": x})
    (got,) = bitlite.load(path).run({"x": x}).values()
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize(("options", "why"), [({"axis": 1}, "along axis 1"), ({"block": 20}, "blocks of 20")])
def test_what_no_product_in_blocks_can_say_stays(tmp_path, options, why):
    graph = read(stored(tmp_path / "m.onnx", **options))
    (refusal,) = fuse_block_product(graph)
    assert isinstance(refusal, Refusal) and why in refusal.reason
    assert [n.op for n in graph.nodes] == ["DequantizeLinear", "MatMul"]


def test_scales_in_float16_are_widened(tmp_path):
    graph, _ = fused(stored(tmp_path / "m.onnx", scale=np.float16))
    assert [n.op for n in graph.nodes] == ["Cast", "BlockFullyConnected", "Cast"]
