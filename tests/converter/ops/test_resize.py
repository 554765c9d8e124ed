from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.numeric.qparams import QuantParam


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


EMPTY = np.zeros(0, np.float32)
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
SCALES = [(2.0, 3.0), (0.6, 0.4), (1.7, 0.8), (3.0, 1.0)]


@pytest.mark.parametrize("mode", COORDINATES)
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest_equals_onnxruntime(onnx_check, rng, mode, scales, rounding):
    size = (7, 9)
    if mode == "align_corners":  # whole sizes: otherwise the standard and onnxruntime differ
        size = (10, 20)
    if mode == "half_pixel_symmetric":  # sizes without a position between two elements
        size, scales = ((8, 10), (1.9, 1.3)) if rounding in ("floor", "ceil") else ((7, 9), (1.9, 1.3))
    inputs = [f32(rng, 1, 2, *size), EMPTY, np.float32([1, 1, *scales])]
    attrs = {"mode": "nearest", "coordinate_transformation_mode": mode, "nearest_mode": rounding}
    onnx_check("Resize", inputs, attrs, const=(1, 2))


def test_a_position_that_the_last_bit_decides_is_refused(onnx_check, rng):
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel_symmetric"}
    with pytest.raises(Error, match="between two elements"):
        onnx_check("Resize", [f32(rng, 1, 1, 7, 7), EMPTY, np.float32([1, 1, 0.6, 0.6])], attrs, const=(1, 2), want=[])


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("mode", COORDINATES)
@pytest.mark.parametrize("scales", SCALES)
def test_interpolation_equals_onnxruntime(onnx_check, rng, method, mode, scales):
    x = f32(rng, 1, 2, 10, 20) if mode == "align_corners" else f32(rng, 1, 2, 7, 9)
    attrs = {"mode": method, "coordinate_transformation_mode": mode}
    onnx_check("Resize", [x, EMPTY, np.float32([1, 1, *scales])], attrs, const=(1, 2), tolerance=2e-5)
    sizes = np.int64([1, 2, *(int(n * s) for n, s in zip(x.shape[2:], scales))])
    onnx_check("Resize", [x, None, None, sizes], attrs, const=(3,), tolerance=2e-5)


@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("coeff", [-0.5, -0.75])
def test_cubic_options_equal_onnxruntime(onnx_check, rng, exclude, coeff):
    attrs = {"mode": "cubic", "exclude_outside": exclude, "cubic_coeff_a": coeff}
    inputs = [f32(rng, 1, 1, 6, 5), EMPTY, np.float32([1, 1, 1.7, 0.7])]
    onnx_check("Resize", inputs, attrs, const=(1, 2), tolerance=2e-5)


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("scales", [(0.6, 0.4), (0.5, 1.5)])
def test_antialias_with_exclude_outside_equals_onnxruntime(onnx_check, rng, method, scales):
    attrs = {"mode": method, "antialias": 1, "exclude_outside": 1}
    onnx_check(
        "Resize", [f32(rng, 1, 1, 12, 13), EMPTY, np.float32([1, 1, *scales])], attrs, const=(1, 2), tolerance=1e-4
    )


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_crop_and_resize_equals_onnxruntime(onnx_check, rng, method):
    attrs = {"mode": method, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 10.0}
    roi = np.float32([0, 0, 0.3, -0.2, 1, 1, 0.9, 1.3])
    onnx_check("Resize", [f32(rng, 1, 1, 6, 7), roi, None, np.int64([1, 1, 4, 9])], attrs, const=(1, 3))


@pytest.mark.parametrize("shape", [(1, 2, 9), (1, 2, 4, 5, 3)])
def test_other_ranks_equal_onnxruntime(onnx_check, rng, shape):
    scales = np.float32([1, 1] + [1.6] * (len(shape) - 2))
    onnx_check("Resize", [f32(rng, *shape), EMPTY, scales], {"mode": "linear"}, const=(1, 2))


def test_axes_outside_the_spatial_ones_equal_onnxruntime(onnx_check, rng):
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    onnx_check("Resize", [f32(rng, 2, 3, 4), EMPTY, np.float32([2, 1, 1.5])], attrs, const=(1, 2))
    onnx_check("Resize", [f32(rng, 4, 6), None, np.float32([1.5, 0.5])], {"mode": "linear"}, const=(2,))


def test_sizes_of_chosen_axes_equal_onnxruntime(onnx_check, rng):
    attrs = {"mode": "linear", "axes": [3, 2]}
    onnx_check("Resize", [f32(rng, 1, 2, 5, 6), None, None, np.int64([9, 4])], attrs, const=(3,))


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("sizes", [(7, 8), (2, 9), (9, 2)])
def test_keep_aspect_ratio_equals_onnxruntime(onnx_check, rng, policy, sizes):
    attrs = {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": policy}
    onnx_check("Resize", [f32(rng, 1, 2, 5, 6), None, None, np.int64(sizes)], attrs, const=(3,))


def test_sizes_at_run_time_equal_onnxruntime(onnx_check, rng):
    onnx_check("Resize", [f32(rng, 1, 2, 5, 6), None, None, np.int64([1, 2, 8, 4])], {"mode": "linear"})


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9])
def test_upsample_equals_onnxruntime(onnx_check, rng, mode, opset):
    x, scales = f32(rng, 1, 2, 4, 5), [1.0, 1.0, 2.0, 1.5]
    if opset == 7:
        onnx_check("Upsample", [x], {"mode": mode, "scales": scales}, opset=7)
    else:
        onnx_check("Upsample", [x, np.float32(scales)], {"mode": mode}, const=(1,), opset=9)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(2.0, 2.0), (0.6, 0.6), (0.5, 2.0)])
def test_first_resize_equals_onnxruntime(onnx_check, rng, mode, scales):
    inputs = [f32(rng, 1, 2, 5, 6), np.float32([1, 1, *scales])]
    onnx_check("Resize", inputs, {"mode": mode}, const=(1,), opset=10)


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize(("align", "half"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("size", [(8, 9), (3, 2), (1, 1), (13, 5), (20, 27)])
def test_tflite_resize_equals_litert(tflite_check, rng, op, align, half, size):
    table = "ResizeBilinearOptions" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    options = (table, {"align_corners": align, "half_pixel_centers": half})
    tflite_check(op, [f32(rng, 2, 5, 9, 3), np.int32(size)], options, const=(1,), version=3)


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize(("align", "half"), [(False, False), (True, False), (False, True)])
def test_tflite_int8_resize_is_one_code_from_litert(tflite_check, rng, op, align, half):
    nearest = op == "RESIZE_NEAREST_NEIGHBOR"
    table = "ResizeNearestNeighborOptions" if nearest else "ResizeBilinearOptions"
    options = (table, {"align_corners": align, "half_pixel_centers": half})
    q = QuantParam(np.array([0.03]), np.array([5]))
    x = rng.integers(-128, 128, (1, 5, 6, 3)).astype(np.int8)
    how = {"const": (1,), "version": 2, "quant": {0: q}, "output_quant": (q,), "steps": 0 if nearest else 1}
    tflite_check(op, [x, np.int32([8, 9])], options, **how)
