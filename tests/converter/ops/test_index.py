from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error


@pytest.fixture
def rng():
    return np.random.default_rng(9)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("const", [(), (1,)])
def test_onnx_top_k_equals_onnxruntime(onnx_check, rng, largest, const):
    for x in (f32(rng, 3, 7, 4), rng.integers(0, 3, (3, 7, 4)).astype(np.float32)):
        for axis in (0, 1, -1):
            onnx_check("TopK", [x, np.int64([2])], {"axis": axis, "largest": largest}, const=const, outputs=2)


def test_tflite_top_k_equals_litert(tflite_check, rng):
    for x in (f32(rng, 3, 7), rng.integers(0, 3, (3, 7)).astype(np.float32), rng.integers(0, 9, (9,)).astype(np.int32)):
        tflite_check("TOPK_V2", [x, np.int32(3)], const=(1,), outputs=(None, np.int32))


def test_more_than_there_are_is_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*k is 4"):
        onnx_check("TopK", [f32(rng, 2, 3), np.int64([4])], const=(1,), outputs=2, want=[])


def test_places_of_what_is_not_zero_equal_both_runtimes(tflite_check, onnx_check, rng):
    x = (rng.random((3, 4)) < 0.4).astype(np.float32)
    onnx_check("NonZero", [x])
    tflite_check("WHERE", [x > 0], outputs=(np.int64,))
    tflite_check("WHERE", [x], outputs=(np.int64,))


def test_unique_equals_both_runtimes(tflite_check, onnx_check, rng):
    x = rng.integers(0, 4, 11)
    for sorted_ in (0, 1):
        onnx_check("Unique", [x.astype(np.float32)], {"sorted": sorted_}, outputs=4)
        onnx_check("Unique", [rng.integers(0, 2, (4, 3)).astype(np.float32)], {"sorted": sorted_, "axis": 0}, outputs=4)
    tflite_check("UNIQUE", [x.astype(np.int32)], ("UniqueOptions", {"idx_out_type": 2}), outputs=(None, np.int32))


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_onnx_compress_equals_onnxruntime(onnx_check, rng, axis):
    onnx_check("Compress", [f32(rng, 3, 4), np.array([True, False, True])], {} if axis is None else {"axis": axis})


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -2, 0, 1, 9, -9])
def test_onnx_trilu_equals_onnxruntime(onnx_check, rng, upper, k):
    onnx_check("Trilu", [f32(rng, 2, 3, 4), None if k is None else np.int64(k)], {"upper": upper})


def test_reverse_sequence_equals_both_runtimes(tflite_check, onnx_check, rng):
    onnx_check("ReverseSequence", [f32(rng, 4, 3), np.int64([2, 4, 1])], {"time_axis": 0, "batch_axis": 1})
    tflite_check("REVERSE_SEQUENCE", [f32(rng, 3, 2, 4), np.int32([2, 4, 1])],
                 ("ReverseSequenceOptions", {"seq_dim": 2, "batch_dim": 0}))  # fmt: skip


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_onnx_scatters_equal_onnxruntime(onnx_check, rng, reduction):
    x, attrs = f32(rng, 4, 3), {"reduction": reduction}
    onnx_check("ScatterND", [x, np.int64([[0, 1], [3, -1]]), f32(rng, 2)], attrs)
    onnx_check("ScatterND", [x, np.int64([[2], [0]]), f32(rng, 2, 3)], attrs)
    for axis in (0, 1):
        onnx_check("ScatterElements", [x, np.int64([[0, 1, 2], [2, -1, 0]]), f32(rng, 2, 3)], attrs | {"axis": axis})


def test_tflite_scatters_equal_litert(tflite_check, rng):
    tflite_check("SCATTER_ND", [np.int32([[1], [3], [1]]), f32(rng, 3, 2), np.int32([5, 2])], outputs=(np.float32,),
                 const=(2,))  # fmt: skip
    at = np.int32([[0, 1], [2, 0]])
    options = ("SparseToDenseOptions", {"validate_indices": False})
    for values in (np.float32([1, 2]), np.float32(3)):
        tflite_check("SPARSE_TO_DENSE", [at, np.int32([3, 2]), values, np.float32(-1)], options,
                     outputs=(np.float32,), const=(1,))  # fmt: skip
    tflite_check("SPARSE_TO_DENSE", [np.int32([1, 3]), np.int32([5]), np.float32([1, 2]), np.float32(0)],
                 outputs=(np.float32,), const=(1,))  # fmt: skip


def test_onnx_eye_like_equals_onnxruntime(onnx_check, rng):
    for attrs in ({}, {"k": 1}, {"k": -2, "dtype": 7}):
        onnx_check("EyeLike", [f32(rng, 3, 4)], attrs)


def test_an_unknown_reduction_is_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*reduction 'median'"):
        onnx_check("ScatterND", [f32(rng, 4), np.int64([[1]]), f32(rng, 1)], {"reduction": "median"}, want=[])
