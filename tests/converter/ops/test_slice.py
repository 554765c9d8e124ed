from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.numeric.qparams import QuantParam

X = np.arange(5 * 6 * 4, dtype=np.float32).reshape(5, 6, 4)
FAR = 2**63 - 1


@pytest.mark.parametrize("const", [(), (1, 2, 3, 4)])
@pytest.mark.parametrize(
    ("begin", "end", "axes", "steps"),
    [
        ([1, 0], [4, 6], [1, 2], [2, 3]),
        ([-3], [FAR], [0], [1]),
        ([4, -1], [0, -100], [0, -1], [-1, -2]),
        ([2], [2], [0], [1]),
        ([100], [-100], [1], [-1]),
        ([-100], [100], [1], [3]),
        ([-1], [-(2**63)], [0], [-1]),
        ([3], [1], [0], [1]),
    ],
)
def test_onnx_slice_equals_onnxruntime(onnx_check, begin, end, axes, steps, const):
    onnx_check("Slice", [X, np.int64(begin), np.int64(end), np.int64(axes), np.int64(steps)], const=const)


def test_onnx_slice_without_axes_and_of_opset_7(onnx_check):
    onnx_check("Slice", [X, np.int64([1, 2]), np.int64([3, 5])], const=(1, 2))
    onnx_check("Slice", [X, np.int64([1, 2]), np.int64([3, 5])])
    onnx_check("Slice", [X], {"starts": [1, -2], "ends": [3, 1000]}, opset=7)
    onnx_check("Slice", [X], {"starts": [1, 0], "ends": [3, -1], "axes": [2, 0]}, opset=7)


@pytest.mark.parametrize("const", [(), (1, 2)])
def test_tflite_slice_equals_litert(tflite_check, const):
    for begin, size in (([1, 0, 2], [3, 6, 1]), ([0, 2, 1], [-1, 2, -1]), ([0, 0, 0], [-1, -1, -1])):
        tflite_check("SLICE", [X, np.int32(begin), np.int32(size)], const=const)


def test_tflite_slice_keeps_codes(tflite_check):
    q, x = QuantParam([0.1], [3]), np.arange(24).astype(np.int8).reshape(4, 6)
    tflite_check(
        "SLICE", [x, np.int32([1, 2]), np.int32([2, 3])], const=(1, 2), quant={0: q}, output_quant=(q,), version=2
    )


STRIDED = [
    ([1, 0, 2], [4, 6, 3], [1, 2, 1], {}),
    ([1, 2, 3], [4, 5, 4], [1, 1, 1], {"begin_mask": 3, "end_mask": 5}),
    ([-1, 5, 0], [-6, 0, 4], [-1, -2, 1], {}),
    ([-1, 5, 0], [0, 0, 4], [-1, -2, 1], {"begin_mask": 2, "end_mask": 1}),
    ([1, 0, -1], [2, 6, 0], [1, 1, 1], {"shrink_axis_mask": 5}),
    ([0, 1], [0, 3], [1, 1], {"ellipsis_mask": 1}),
    ([1, 0, 2], [3, 0, 3], [1, 1, 1], {"ellipsis_mask": 2}),
    ([0, 1, 0], [0, 4, 6], [1, 1, 1], {"new_axis_mask": 1}),
    ([1, 0, 2], [2, 0, 5], [1, 1, 1], {"shrink_axis_mask": 1, "new_axis_mask": 2}),
    ([2], [3], [1], {"shrink_axis_mask": 1}),
    ([2, 1], [3, 4], [1, 1], {"shrink_axis_mask": 1, "begin_mask": 1}),
    ([3, 2], [3, 9], [1, 1], {}),
    ([0, -100, 0], [100, 100, 2], [2, 1, 1], {}),
]
MASKS = {f"{k}_mask": 0 for k in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}


@pytest.mark.parametrize(("begin", "end", "strides", "masks"), STRIDED)
def test_tflite_strided_slice_with_its_masks_equals_litert(tflite_check, begin, end, strides, masks):
    params = [np.int32(v) for v in (begin, end, strides)]
    tflite_check("STRIDED_SLICE", [X, *params], ("StridedSliceOptions", MASKS | masks), const=(1, 2, 3))


# Masks that need constant bounds are out, and so are empty results, which LiteRT cannot hand over here.
AT_RUN_TIME = [s for s in STRIDED if not {"ellipsis_mask", "new_axis_mask"} & set(s[3]) and s[1] != [3, 9]]


@pytest.mark.parametrize(("begin", "end", "strides", "masks"), AT_RUN_TIME)
def test_tflite_strided_slice_with_bounds_of_the_run_equals_litert(tflite_check, begin, end, strides, masks):
    params = [np.int32(v) for v in (begin, end, strides)]
    tflite_check("STRIDED_SLICE", [X, *params], ("StridedSliceOptions", MASKS | masks), const=(3,))


def test_a_step_of_zero_is_refused_by_name(onnx_check):
    with pytest.raises(Error, match=r"node.*step is 0"):
        onnx_check("Slice", [X, *(np.int64([v]) for v in (0, 1, 0, 0))], const=(1, 2, 3, 4), want=[])


PADS = [[[1, 2], [0, 1], [2, 0]], [[0, 0], [0, 0], [0, 3]], [[0, 0], [2, 2], [0, 0]]]


@pytest.mark.parametrize("pads", PADS)
def test_tflite_pad_equals_litert(tflite_check, pads):
    for const in ((1,), ()):
        tflite_check("PAD", [X, np.int32(pads)], const=const)
        tflite_check("PADV2", [X, np.int32(pads), np.float32([2.5])], const=(*const, 2))
    tflite_check("MIRROR_PAD", [X, np.int32(pads)], ("MirrorPadOptions", {"mode": 0}), const=(1,))
    tflite_check("MIRROR_PAD", [X, np.int32(pads)], ("MirrorPadOptions", {"mode": 1}), const=(1,))


def test_tflite_pad_of_codes_takes_the_zero_point(tflite_check):
    q, x = QuantParam([0.1], [3]), np.arange(24).astype(np.int8).reshape(4, 6)
    tflite_check("PAD", [x, np.int32([[1, 2], [0, 1]])], const=(1,), quant={0: q}, output_quant=(q,), version=2)
    tflite_check("PADV2", [x, np.int32([[1, 2], [0, 1]]), np.int8([-17])], const=(1, 2), quant={0: q, 2: q},
                 output_quant=(q,), version=2)  # fmt: skip


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("const", [(1,), ()])
def test_onnx_pad_equals_onnxruntime(onnx_check, mode, const):
    onnx_check("Pad", [X, np.int64([1, 0, 2, 0, 3, 1])], {"mode": mode}, const=const)


def test_onnx_pad_with_value_axes_negative_pads_and_of_opset_7(onnx_check):
    onnx_check("Pad", [X, np.int64([1, 0, 2, 0, 3, 1]), np.float32(7)], const=(1, 2))
    onnx_check("Pad", [X, np.int64([1, 0, 2, 0, 3, 1]), np.float32(7)])
    onnx_check("Pad", [X, np.int64([1, 2]), None, np.int64([-2])], const=(1, 3))
    onnx_check("Pad", [X, np.int64([-1, 0, 2, 0, -3, 1])], const=(1,))
    onnx_check("Pad", [X], {"pads": [1, 0, 2, 0, 3, 1], "value": 1.5}, opset=7)
    onnx_check("Pad", [X.astype(np.int64), np.int64([1, 0, 2, 0, 3, 1]), np.int64(-4)], const=(1, 2))


def test_reflection_beyond_the_data_is_refused_by_name(onnx_check):
    with pytest.raises(Error, match=r"node.*exceed"):
        onnx_check("Pad", [X, np.int64([5, 0, 0, 0, 0, 0])], {"mode": "reflect"}, const=(1,), want=[])
