from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.numeric.qparams import QuantParam

Q, OTHER = QuantParam([0.1], [3]), QuantParam([0.07], [-5])


@pytest.fixture
def rng():
    return np.random.default_rng(6)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def i8(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


def test_tflite_reshape_takes_its_shape_from_an_input_or_an_option(tflite_check, rng):
    x = f32(rng, 2, 3, 4)
    tflite_check("RESHAPE", [x, np.int32([4, -1])], ("ReshapeOptions", {"new_shape": np.int32([4, 6])}), const=(1,))
    tflite_check("RESHAPE", [x], ("ReshapeOptions", {"new_shape": np.int32([6, 4])}))
    tflite_check("RESHAPE", [f32(rng, 1, 1)], ("ReshapeOptions", {"new_shape": np.int32([0])}))
    tflite_check("RESHAPE", [x, np.int32([2, 12])])


@pytest.mark.parametrize("shape", [[0, 12], [-1, 4], [2, 0, -1], [24], [1, 2, 3, 4]])
@pytest.mark.parametrize("const", [(), (1,)])
def test_onnx_reshape_equals_onnxruntime(onnx_check, rng, shape, const):
    onnx_check("Reshape", [f32(rng, 2, 3, 4), np.int64(shape)], const=const)


def test_onnx_reshape_with_allowzero_makes_empty_tensors(onnx_check):
    onnx_check("Reshape", [np.zeros((0, 3), np.float32), np.int64([3, 0])], {"allowzero": 1}, const=(1,))


def test_reshape_to_another_count_is_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*cannot reshape"):
        onnx_check("Reshape", [f32(rng, 2, 3), np.int64([4, 2])], const=(1,), want=[])


@pytest.mark.parametrize("axis", [-3, -1, 0, 1, 2, 3])
def test_onnx_flatten_equals_onnxruntime(onnx_check, rng, axis):
    onnx_check("Flatten", [f32(rng, 2, 3, 4)], {"axis": axis})


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (3, 2, 1, 0), (0, 1, 2, 3), (1, 0, 3, 2)])
def test_transpose_equals_both_runtimes(tflite_check, onnx_check, rng, perm):
    x = f32(rng, 2, 3, 4, 5)
    tflite_check("TRANSPOSE", [x, np.int32(perm)], const=(1,))
    tflite_check("TRANSPOSE", [i8(rng, 2, 3, 4, 5), np.int32(perm)], const=(1,), quant={0: Q}, output_quant=(Q,))
    onnx_check("Transpose", [x], {"perm": perm})
    onnx_check("Transpose", [x])


@pytest.mark.parametrize("axes", [[0], [-2], [1]])
def test_reverse_equals_litert(tflite_check, rng, axes):
    tflite_check("REVERSE_V2", [f32(rng, 2, 3, 4), np.int32(axes)], const=(1,))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_equals_both_runtimes(tflite_check, onnx_check, rng, axis):
    shapes = [[2, 3, 4] for _ in range(3)]
    for k, s in enumerate(shapes):
        s[axis] = k + 1
    parts = [f32(rng, *s) for s in shapes]
    tflite_check("CONCATENATION", parts, ("ConcatenationOptions", {"axis": axis}))
    onnx_check("Concat", parts, {"axis": axis})
    codes = [i8(rng, *s) for s in shapes]
    tflite_check("CONCATENATION", codes, ("ConcatenationOptions", {"axis": axis}), quant=dict.fromkeys(range(3), Q),
                 output_quant=(Q,), version=2)  # fmt: skip


def test_uint8_concat_requantizes_what_has_other_parameters(tflite_check, rng):
    parts = [rng.integers(0, 256, (2, 3)).astype(np.uint8) for _ in range(2)]
    q, other, out = QuantParam([0.1], [120]), QuantParam([0.07], [130]), QuantParam([0.12], [125])
    tflite_check("CONCATENATION", parts, ("ConcatenationOptions", {"axis": 1}), quant={0: q, 1: other},
                 output_quant=(out,), steps=1)  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_pack_and_unpack_equal_litert(tflite_check, rng, axis):
    parts = [f32(rng, 3, 4) for _ in range(3)]
    tflite_check("PACK", parts, ("PackOptions", {"values_count": 3, "axis": axis}))
    tflite_check("PACK", parts[:1], ("PackOptions", {"values_count": 1, "axis": axis}))
    x = f32(rng, 3, 3, 3)
    tflite_check("UNPACK", [x], ("UnpackOptions", {"num": 3, "axis": axis}), outputs=(None,) * 3)


def test_tflite_split_equals_litert(tflite_check, rng):
    x = f32(rng, 2, 6, 4)
    for axis, n in ((1, 3), (-1, 2), (0, 2)):
        tflite_check("SPLIT", [np.int32(axis), x], ("SplitOptions", {"num_splits": n}), const=(0,),
                     outputs=(np.float32,) * n)  # fmt: skip
    for sizes in ([1, 3, 2], [2, -1, 1]):
        tflite_check("SPLIT_V", [x, np.int32(sizes), np.int32(1)], ("SplitVOptions", {"num_splits": 3}), const=(1, 2),
                     outputs=(None,) * 3)  # fmt: skip


def test_onnx_split_of_every_opset_equals_onnxruntime(onnx_check, rng):
    x = f32(rng, 2, 7)
    onnx_check("Split", [x, np.int64([3, 4])], {"axis": 1}, const=(1,), outputs=2)
    onnx_check("Split", [x], {"axis": 1, "num_outputs": 3}, outputs=3)
    onnx_check("Split", [x], {"axis": 1, "split": [3, 4]}, opset=11, outputs=2)
    onnx_check("Split", [f32(rng, 4, 2)], opset=11, outputs=2)


def test_squeeze_and_unsqueeze_equal_both_runtimes(tflite_check, onnx_check, rng):
    x = f32(rng, 1, 3, 1, 2)
    for dims in ([], [0], [2, 0], [-2]):
        tflite_check("SQUEEZE", [x], ("SqueezeOptions", {"squeeze_dims": np.int32(dims)}))
    for axis in (0, 2, -1):
        tflite_check("EXPAND_DIMS", [x, np.int32(axis)], const=(1,))
    for const in ((), (1,)):
        onnx_check("Squeeze", [x, np.int64([0, -2])], const=const)
        onnx_check("Unsqueeze", [x, np.int64([0, -1])], const=const)
    onnx_check("Squeeze", [x])
    onnx_check("Squeeze", [x], {"axes": [2]}, opset=11)
    onnx_check("Unsqueeze", [x], {"axes": [2, 0]}, opset=11)


def test_squeezing_a_larger_axis_is_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*axis 1 .*not of size 1"):
        onnx_check("Squeeze", [f32(rng, 1, 3), np.int64([1])], const=(1,), want=[])


def test_shape_size_and_rank_equal_both_runtimes(tflite_check, onnx_check, rng):
    x = f32(rng, 2, 3, 4)
    tflite_check("SHAPE", [x], ("ShapeOptions", {"out_type": 2}), outputs=(np.int32,))
    tflite_check("SHAPE", [x], ("ShapeOptions", {"out_type": 4}), outputs=(np.int64,))
    tflite_check("RANK", [x], outputs=(np.int32,))
    for attrs in ({}, {"start": 1}, {"start": -2, "end": -1}):
        onnx_check("Shape", [x], attrs)
    onnx_check("Size", [x])


def test_broadcast_tile_fill_and_range_equal_litert(tflite_check, rng):
    tflite_check("BROADCAST_TO", [f32(rng, 3, 1), np.int32([2, 3, 4])], const=(1,), version=2)
    tflite_check("TILE", [f32(rng, 2, 3), np.int32([2, 3])], const=(1,))
    tflite_check("FILL", [np.int32([2, 3]), np.float32(1.5)], const=(0,), outputs=(np.float32,))
    tflite_check("RANGE", [np.int32(3), np.int32(11), np.int32(3)])
    tflite_check("RANGE", [np.float32(5), np.float32(-2), np.float32(-1.5)])
    tflite_check("ZEROS_LIKE", [f32(rng, 2, 3)])


def test_expand_tile_constants_and_range_equal_onnxruntime(onnx_check, rng):
    for const in ((), (1,)):
        onnx_check("Expand", [f32(rng, 3, 1), np.int64([2, 1, 4])], const=const)
        onnx_check("Tile", [f32(rng, 2, 3), np.int64([2, 3])], const=const)
    onnx_check("ConstantOfShape", [np.int64([2, 3])])
    from onnx import numpy_helper

    onnx_check("ConstantOfShape", [np.int64([2, 0])], {"value": numpy_helper.from_array(np.int32([7]))}, const=(0,))
    onnx_check("Range", [np.int64(3), np.int64(-4), np.int64(-2)])
    onnx_check("Range", [np.float32(1), np.float32(2), np.float32(0.3)], const=(0, 1, 2))


@pytest.mark.parametrize("to", ["FLOAT", "INT32", "INT64", "UINT8", "INT8", "BOOL", "DOUBLE", "FLOAT16"])
def test_onnx_cast_equals_onnxruntime(onnx_check, to):
    from onnx import TensorProto

    for x in (np.float32([0, 1.7, 100.2, 0.3]), np.int64([0, 1, 100]), np.array([True, False])):
        onnx_check("Cast", [x], {"to": getattr(TensorProto, to)})


@pytest.mark.parametrize("to", [np.float32, np.int32, np.int64, np.uint8, np.bool_])
def test_tflite_cast_equals_litert(tflite_check, to):
    for x in (np.float32([0, 1.7, 100.2, 0.3]), np.int32([0, 1, 100]), np.array([True, False])):
        if x.dtype != to:
            tflite_check("CAST", [x], outputs=(to,))


def test_what_passes_its_input_on(onnx_check, rng):
    x = f32(rng, 2, 3)
    onnx_check("Identity", [x])
    onnx_check("Dropout", [x])
    onnx_check("Dropout", [x], {"ratio": 0.3}, opset=7)
    onnx_check("Dropout", [x], outputs=2)


def test_dropout_in_training_is_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*training mode"):
        onnx_check("Dropout", [f32(rng, 2), np.float32(0.5), np.bool_(True)], const=(1, 2), want=[])


def test_where_equals_both_runtimes(tflite_check, onnx_check, rng):
    c, a, b = rng.random((3, 4)) < 0.5, f32(rng, 3, 4), f32(rng, 4)
    onnx_check("Where", [c, a, b])
    tflite_check("SELECT_V2", [c, a, b], outputs=(np.float32,))
    tflite_check("SELECT", [c, a, f32(rng, 3, 4)], outputs=(np.float32,))
    tflite_check("SELECT", [c[:, 0], a, f32(rng, 3, 4)], outputs=(np.float32,))
