from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_grid_sample_equals_onnxruntime(onnx_check, rng, mode, padding, align):
    attrs = {"mode": mode, "padding_mode": padding, "align_corners": align}
    grid = rng.uniform(-1.6, 1.6, (2, 5, 4, 2)).astype(np.float32)
    onnx_check("GridSample", [f32(rng, 2, 3, 6, 7), grid], attrs, opset=20, tolerance=1e-4)
    if mode != "cubic":
        volume = rng.uniform(-1.6, 1.6, (1, 3, 2, 4, 3)).astype(np.float32)
        onnx_check("GridSample", [f32(rng, 1, 2, 4, 5, 6), volume], attrs, opset=20, tolerance=1e-4)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_first_grid_sample_equals_onnxruntime(onnx_check, rng, mode):
    grid = rng.uniform(-1.2, 1.2, (2, 5, 4, 2)).astype(np.float32)
    onnx_check("GridSample", [f32(rng, 2, 3, 6, 7), grid], {"mode": mode}, opset=16, tolerance=1e-4)


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("const", [(1,), ()])
def test_affine_grid_equals_onnxruntime(onnx_check, rng, align, const):
    attrs = {"align_corners": align}
    onnx_check("AffineGrid", [f32(rng, 2, 2, 3), np.int64([2, 3, 4, 5])], attrs, opset=20, const=const)
    onnx_check("AffineGrid", [f32(rng, 1, 3, 4), np.int64([1, 2, 3, 4, 5])], attrs, opset=20, const=const)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("half", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("sampling", [0, 2])
def test_roi_align_equals_onnxruntime(onnx_check, rng, mode, half, sampling):
    rois = np.float32([[0, 0, 6, 5], [1.5, 2, 7, 8], [3, 3, 4.5, 6.5], [-2, 4, 12, 14]])
    attrs = {"mode": mode, "coordinate_transformation_mode": half, "sampling_ratio": sampling, "spatial_scale": 0.7}
    attrs |= {"output_height": 3, "output_width": 2}
    onnx_check("RoiAlign", [f32(rng, 2, 3, 9, 8), rois, np.int64([0, 1, 1, 0])], attrs, opset=16, tolerance=1e-4)


def test_first_roi_align_equals_onnxruntime(onnx_check, rng):
    rois = np.float32([[0, 0, 6, 5], [1.5, 2, 7, 8]])
    attrs = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    onnx_check("RoiAlign", [f32(rng, 1, 2, 9, 8), rois, np.int64([0, 0])], attrs, opset=10, tolerance=1e-4)


def test_max_unpool_undoes_a_pool_as_onnxruntime_does(onnx_check, rng):
    x = f32(rng, 1, 2, 4, 6)
    windows = x.reshape(1, 2, 2, 2, 3, 2).transpose(0, 1, 2, 4, 3, 5).reshape(1, 2, 2, 3, 4)
    best = windows.argmax(-1)
    rows, columns = 2 * np.arange(2)[:, None] + best // 2, 2 * np.arange(3) + best % 2
    places = (np.arange(2)[:, None, None] * 24 + rows * 6 + columns).astype(np.int64)
    onnx_check("MaxUnpool", [windows.max(-1), places], {"kernel_shape": [2, 2], "strides": [2, 2]})


def test_a_place_outside_is_an_error(onnx_check, rng):
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2]}
    with pytest.raises(Error, match="place 99 of 16"):
        onnx_check("MaxUnpool", [f32(rng, 1, 1, 2, 2), np.int64([[[[0, 1], [2, 99]]]])], attrs, want=[])
