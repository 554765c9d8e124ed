from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import QuantParam


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [2, 3])
def test_onnx_depth_to_space_equals_onnxruntime(onnx_check, rng, mode, block):
    onnx_check("DepthToSpace", [f32(rng, 2, 2 * block * block, 3, 4)], {"blocksize": block, "mode": mode})


@pytest.mark.parametrize("block", [2, 3])
def test_onnx_space_to_depth_equals_onnxruntime(onnx_check, rng, block):
    onnx_check("SpaceToDepth", [f32(rng, 2, 3, 2 * block, 3 * block)], {"blocksize": block})


@pytest.mark.parametrize("block", [2, 3])
def test_tflite_depth_and_space_equal_litert(tflite_check, rng, block):
    options = {"block_size": block}
    tflite_check("DEPTH_TO_SPACE", [f32(rng, 2, 3, 4, 2 * block * block)], ("DepthToSpaceOptions", options))
    tflite_check("SPACE_TO_DEPTH", [f32(rng, 2, 2 * block, 3 * block, 5)], ("SpaceToDepthOptions", options))


SPACES = [
    ((2, 4, 6, 3), [2, 3], [[0, 0], [0, 0]]),
    ((1, 5, 4, 2), [2, 2], [[1, 0], [1, 1]]),
    ((2, 5, 3), [3], [[1, 0]]),
]


@pytest.mark.parametrize(("shape", "block", "pads"), SPACES)
def test_tflite_space_to_batch_equals_litert(tflite_check, rng, shape, block, pads):
    inputs = [f32(rng, *shape), np.int32(block), np.int32(pads)]
    tflite_check("SPACE_TO_BATCH_ND", inputs, ("SpaceToBatchNDOptions", {}), const=(1, 2))


@pytest.mark.parametrize(("shape", "block", "pads"), SPACES)
def test_tflite_batch_to_space_equals_litert(tflite_check, rng, shape, block, pads):
    x = f32(rng, shape[0] * int(np.prod(block)), *shape[1:])
    tflite_check("BATCH_TO_SPACE_ND", [x, np.int32(block), np.int32(pads)], ("BatchToSpaceNDOptions", {}), const=(1, 2))


def test_tflite_int8_space_to_batch_pads_with_the_zero_point(tflite_check, rng):
    x = rng.integers(-128, 128, (1, 5, 4, 2)).astype(np.int8)
    q = QuantParam(np.array([0.03]), np.array([-11]))
    inputs = [x, np.int32([2, 2]), np.int32([[1, 0], [1, 1]])]
    options = ("SpaceToBatchNDOptions", {})
    tflite_check("SPACE_TO_BATCH_ND", inputs, options, const=(1, 2), quant={0: q}, output_quant=(q,), version=2)
