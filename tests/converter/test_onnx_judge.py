"""The judge's other form of a network is the same network."""

from __future__ import annotations

import numpy as np
import onnx_judge
import pytest
from conftest import onnx_model


@pytest.fixture
def moved(monkeypatch):
    """The judge, as on a CPU whose products saturate."""
    monkeypatch.setattr(onnx_judge, "saturates", lambda _: True)
    return onnx_judge


def small(rng, *shape):
    """Codes whose products fit everywhere."""
    return rng.integers(-60, 61, shape).astype(np.int8)


@pytest.mark.parametrize("const", [(1, 2, 3), (2, 3), (1, 2)])
def test_a_product_keeps_its_sums(moved, const):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (4, 9)).astype(np.uint8), small(rng, 9, 5)
    inputs = [a, b, np.uint8(7), np.int8(3)][: 4 if 3 in const else 3]
    model = onnx_model("MatMulInteger", [np.asarray(i) for i in inputs], const=const)
    feeds = {f"x{i}": v for i, v in enumerate((a, b)) if i not in const}
    [got] = moved.run(model, feeds)
    zero = 3 if 3 in const else 0
    np.testing.assert_array_equal(got, (a.astype(np.int32) - 7) @ (b.astype(np.int32) - zero))


def test_no_int8_weight_is_left_to_multiply_uint8(moved):
    rng = np.random.default_rng(1)
    a, w = rng.integers(0, 256, (1, 3, 5, 5)).astype(np.uint8), small(rng, 2, 3, 3, 3)
    model, _ = moved.exact(onnx_model("ConvInteger", [a, w], const=(1,)), {})
    [node] = model.graph.node
    stored = {t.name: onnx_judge.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert [stored[node.input[i]].dtype for i in (1, 3)] == [np.uint8, np.uint8]
    np.testing.assert_array_equal(stored[node.input[1]].astype(int) - int(stored[node.input[3]]), w)


def test_saturation_is_told_by_a_product():
    """The sums are right exactly where the probe says that they are; weights of 64 fit everywhere."""
    a = np.full((2, 64), 255, np.uint8)
    for weight in (64, 127):
        w = np.full((64, 16), weight, np.int8)
        model = onnx_model("MatMulInteger", [a, w, np.asarray(np.uint8(0))], const=(1, 2))
        [got] = onnx_judge.session(model).run(None, {"x0": a})
        right = bool((got == 64 * 255 * weight).all())
        assert right == (weight == 64 or not onnx_judge.saturates("uint8"))
