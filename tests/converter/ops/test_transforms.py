"""Columns to images, determinants, running products and cache updates against onnxruntime and the standard."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import ModelError


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("more", [{}, {"strides": [2, 1]}, {"pads": [1, 0, 1, 2]}, {"dilations": [2, 1]}])
def test_columns_to_images_equal_onnxruntime(onnx_check, rng, more):
    image, block = np.int64([6, 5]), np.int64([2, 3])
    pads, steps, spread = more.get("pads", [0] * 4), more.get("strides", [1, 1]), more.get("dilations", [1, 1])
    counts = [
        (n + pads[i] + pads[i + 2] - spread[i] * (int(block[i]) - 1) - 1) // steps[i] + 1 for i, n in enumerate([6, 5])
    ]
    x = floats(rng, 2, 3 * 6, counts[0] * counts[1])
    onnx_check("Col2Im", [x, image, block], more, const=(1, 2), opset=18)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 2, 2)])
def test_determinants_equal_onnxruntime(onnx_check, rng, shape):
    onnx_check("Det", [floats(rng, *shape)], opset=17, tolerance=1e-4)


@pytest.mark.parametrize("attrs", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
def test_running_products(onnx_check, attrs):
    x = np.float32([[1, 2, 3], [4, 5, 6]])
    products = {
        (0, 0): [[1, 2, 6], [4, 20, 120]],
        (1, 0): [[1, 1, 2], [1, 4, 20]],
        (0, 1): [[6, 6, 3], [120, 30, 6]],
        (1, 1): [[6, 3, 1], [30, 6, 1]],
    }
    want = np.float32(products[attrs.get("exclusive", 0), attrs.get("reverse", 0)])
    onnx_check("CumProd", [x, np.asarray(1, np.int64)], attrs, const=(1,), opset=26, want=[want])


@pytest.mark.parametrize(("mode", "last"), [("linear", 2), ("circular", 3)])
def test_a_cache_is_updated_from_each_sequences_place(onnx_check, mode, last):
    cache, update = np.zeros((2, 4, 1), np.float32), np.float32([[[1], [2]], [[3], [4]]])
    want = np.float32([[1, 2, 0, 0], [0, 0, 3, 4] if last == 2 else [4, 0, 0, 3]])[..., None]
    inputs = [cache, update, np.int64([0, last])]
    onnx_check("TensorScatter", inputs, {"mode": mode}, const=(2,), opset=24, want=[want])


def test_sizes_that_do_not_belong_together_are_named(onnx_check, rng):
    with pytest.raises(ModelError, match="for 15 columns of 6"):
        onnx_check(
            "Col2Im", [floats(rng, 1, 6, 19), np.int64([6, 5]), np.int64([2, 3])], const=(1, 2), opset=18, want=[]
        )
