from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.numeric.qparams import QuantParam

X = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("at", [np.int64([0, 2]), np.int64([[1], [-1]]), np.int64(1)])
def test_onnx_gather_equals_onnxruntime(onnx_check, axis, at):
    onnx_check("Gather", [X, at], {"axis": axis})
    onnx_check("Gather", [X, at.astype(np.int32)], {"axis": axis}, const=(1,))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_tflite_gather_equals_litert(tflite_check, axis):
    for at in (np.int32([0, 2]), np.int32([[1, 0], [2, 2]])):
        tflite_check("GATHER", [X, at], ("GatherOptions", {"axis": axis}))
    tflite_check("GATHER", [X, np.int32([[1], [0], [2]])], ("GatherOptions", {"axis": 1, "batch_dims": 1}))


def test_tflite_gather_of_codes_keeps_them(tflite_check):
    q, x = QuantParam([0.1], [3]), np.arange(24).astype(np.int8).reshape(4, 6)
    tflite_check("GATHER", [x, np.int32([3, 1])], ("GatherOptions", {}), quant={0: q}, output_quant=(q,), version=2)


def test_tflite_embedding_lookup_equals_litert(tflite_check):
    tflite_check("EMBEDDING_LOOKUP", [np.int32([2, 0]), X], outputs=(np.float32,))


@pytest.mark.parametrize("at", [[[0, 1], [2, 3]], [[[1]], [[2]]], [[0, 1, 2]]])
def test_gather_nd_equals_both_runtimes(tflite_check, onnx_check, at):
    tflite_check("GATHER_ND", [X, np.int32(at)])
    onnx_check("GatherND", [X, np.int64(at)])
    onnx_check("GatherND", [X, -np.int64(at)], const=(1,))


def test_onnx_gather_nd_with_batch_dims_equals_onnxruntime(onnx_check):
    onnx_check("GatherND", [X, np.int64([[1], [0], [3]])], {"batch_dims": 1})
    onnx_check("GatherND", [X, np.int64([[[1, 2]], [[0, 0]], [[3, -1]]])], {"batch_dims": 1})
    onnx_check("GatherND", [X, np.int64([[[1]] * 4] * 3)], {"batch_dims": 2})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_onnx_gather_elements_equals_onnxruntime(onnx_check, axis):
    at = np.random.default_rng(1).integers(-3, 3, (2, 3, 4))
    onnx_check("GatherElements", [X, at], {"axis": axis})


def test_one_hot_equals_both_runtimes(tflite_check, onnx_check):
    at = np.int32([[0, 2], [4, -1]])
    for axis in (-1, 0, 1):
        tflite_check("ONE_HOT", [at, np.int32(4), np.float32(2), np.float32(-1)], ("OneHotOptions", {"axis": axis}),
                     const=(1,), outputs=(np.float32,))  # fmt: skip
        for const in ((1, 2), ()):
            onnx_check("OneHot", [at.astype(np.int64), np.int64(4), np.float32([-1, 2])], {"axis": axis}, const=const)


def test_an_index_outside_is_refused_by_name(onnx_check):
    with pytest.raises(Error, match=r"node.*index 3 is outside"):
        onnx_check("Gather", [X, np.int64([3])], const=(1,), want=[])
