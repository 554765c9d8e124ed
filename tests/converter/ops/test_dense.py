from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import QuantParam


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("c", [(), (5,), (1, 5), (3, 5), (3, 1), None])
@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("const", [(), (1,), (1, 2)])
def test_onnx_gemm_equals_onnxruntime(onnx_check, rng, c, trans_a, trans_b, const):
    a, b = f32(rng, *((4, 3) if trans_a else (3, 4))), f32(rng, *((5, 4) if trans_b else (4, 5)))
    inputs = [a, b] if c is None else [a, b, f32(rng, *c)]
    const = tuple(i for i in const if i < len(inputs))
    onnx_check("Gemm", inputs, {"transA": trans_a, "transB": trans_b}, const=const)
    onnx_check("Gemm", inputs, {"transA": trans_a, "transB": trans_b, "alpha": 0.5, "beta": 2.0}, const=const)


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_onnx_gemm_of_other_types(onnx_check, dtype):
    values = np.arange(12).astype(dtype)
    inputs = [values.reshape(3, 4), values.reshape(4, 3), values[:3]]
    want = [inputs[0] @ inputs[1] + inputs[2]]
    onnx_check("Gemm", inputs, want=want)


SHAPES = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (3, 4, 5)),
    ((4,), (4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (4,)),
    ((3, 4), (2, 4, 5)),
    ((0, 4), (4, 5)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("const", [(), (1,)])
def test_onnx_matmul_equals_onnxruntime(onnx_check, rng, a, b, const):
    onnx_check("MatMul", [f32(rng, *a), f32(rng, *b)], const=const)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.float64])
def test_onnx_matmul_of_other_types(onnx_check, rng, dtype):
    a, b = rng.integers(0, 50, (2, 3, 4)).astype(dtype), rng.integers(0, 50, (4, 5)).astype(dtype)
    onnx_check("MatMul", [a, b], const=(1,))


def test_fused_matmul_and_gemm_equal_onnxruntime(onnx_check, rng):
    a, b = f32(rng, 2, 4, 3), f32(rng, 2, 5, 4)
    onnx_check("FusedMatMul", [a, b], {"transA": 1, "transB": 1, "alpha": 0.3}, domain="com.microsoft")
    inputs = [f32(rng, 3, 4), f32(rng, 4, 5), f32(rng, 5)]
    attrs = {"activation": "LeakyRelu", "activation_alpha": 0.2}
    onnx_check("FusedGemm", inputs, attrs, domain="com.microsoft", const=(1, 2))


EQUATIONS = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("bij,bjk", [(2, 3, 4), (2, 4, 5)]),
    ("ij->ji", [(3, 4)]),
    ("ij->", [(3, 4)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("...ij,...jk->...ik", [(2, 3, 4), (1, 4, 5)]),
    ("b h q d , b h k d -> b h q k", [(2, 2, 3, 4), (2, 2, 5, 4)]),
    ("i,j->ij", [(3,), (4,)]),
    ("abc,cd,de->abe", [(2, 3, 4), (4, 3), (3, 2)]),
    ("Ab,bC->AC", [(3, 4), (4, 5)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
def test_einsum_equals_onnxruntime(onnx_check, rng, equation, shapes):
    onnx_check("Einsum", [f32(rng, *s) for s in shapes], {"equation": equation})


@pytest.mark.parametrize("act", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 8), (2, 2, 1, 8)])
def test_tflite_fully_connected_equals_litert(tflite_check, rng, act, keep, shape):
    options = ("FullyConnectedOptions", {"fused_activation_function": act, "keep_num_dims": keep})
    tflite_check("FULLY_CONNECTED", [f32(rng, *shape), f32(rng, 5, 8), f32(rng, 5)], options, const=(1, 2))
    tflite_check("FULLY_CONNECTED", [f32(rng, *shape), f32(rng, 5, 8), None], options, const=(1,))


@pytest.mark.parametrize("adjoint", [(False, False), (True, False), (False, True), (True, True)])
def test_tflite_batch_matmul_equals_litert(tflite_check, rng, adjoint):
    a, b = f32(rng, 2, 1, *((4, 3) if adjoint[0] else (3, 4))), f32(rng, 3, *((5, 4) if adjoint[1] else (4, 5)))
    options = ("BatchMatMulOptions", {"adj_x": adjoint[0], "adj_y": adjoint[1]})
    tflite_check("BATCH_MATMUL", [a, b], options)


@pytest.mark.parametrize("act", ["NONE", "RELU6"])
@pytest.mark.parametrize("channels", [1, 6])
def test_tflite_int8_fully_connected_is_one_code_from_litert(tflite_check, rng, act, channels):
    x, w = rng.integers(-128, 128, (3, 16)).astype(np.int8), rng.integers(-127, 128, (6, 16)).astype(np.int8)
    bias = rng.integers(-2000, 2000, 6).astype(np.int32)
    sw = rng.uniform(0.001, 0.01, channels)
    axis = 0 if channels > 1 else None
    quant = {
        0: QuantParam(np.array([0.02]), np.array([3])),
        1: QuantParam(sw, np.zeros(channels), axis),
        2: QuantParam(0.02 * sw, np.zeros(channels), axis, 32),
    }
    out = (QuantParam(np.array([0.03]), np.array([-5])),)
    options = ("FullyConnectedOptions", {"fused_activation_function": act})
    tflite_check(
        "FULLY_CONNECTED", [x, w, bias], options, const=(1, 2), quant=quant, output_quant=out, version=4, steps=1
    )


def test_tflite_uint8_fully_connected_is_one_code_from_litert(tflite_check, rng):
    x, w = rng.integers(0, 256, (3, 16)).astype(np.uint8), rng.integers(0, 256, (6, 16)).astype(np.uint8)
    quant = {
        0: QuantParam(np.array([0.02]), np.array([130])),
        1: QuantParam(np.array([0.01]), np.array([120])),
        2: QuantParam(np.array([0.0002]), np.array([0]), None, 32),
    }
    out = (QuantParam(np.array([0.1]), np.array([125])),)
    bias = rng.integers(-2000, 2000, 6).astype(np.int32)
    tflite_check(
        "FULLY_CONNECTED",
        [x, w, bias],
        ("FullyConnectedOptions", {}),
        const=(1, 2),
        quant=quant,
        output_quant=out,
        steps=1,
    )


def test_tflite_int8_batch_matmul_is_one_code_from_litert(tflite_check, rng):
    a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in ((2, 3, 8), (2, 8, 5)))
    quant = {0: QuantParam(np.array([0.02]), np.array([3])), 1: QuantParam(np.array([0.01]), np.array([-4]))}
    out = (QuantParam(np.array([0.03]), np.array([2])),)
    tflite_check("BATCH_MATMUL", [a, b], ("BatchMatMulOptions", {}), quant=quant, output_quant=out, version=2, steps=1)
