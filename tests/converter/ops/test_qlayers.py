from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def codes(rng, dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


PAIRS = [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]


@pytest.mark.parametrize(("xt", "wt"), PAIRS)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_qlinear_conv_is_one_code_from_onnxruntime(onnx_check, rng, xt, wt, per_channel, group):
    many = 8 if per_channel else 1
    scale = rng.uniform(0.002, 0.01, many).astype(np.float32)
    zero = np.zeros(many, wt) if per_channel else np.array([3], wt)
    inputs = [
        codes(rng, xt, 1, 4, 7, 6), np.float32(0.03), xt(7), codes(rng, wt, 8, 4 // group, 3, 3),
        scale if per_channel else scale[0], zero if per_channel else zero[0], np.float32(0.06), xt(50),
        rng.integers(-900, 900, 8).astype(np.int32),
    ]  # fmt: skip
    inputs = [np.asarray(a) for a in inputs]
    attrs = {"group": group, "pads": [1, 1, 1, 1], "strides": [2, 1]}
    onnx_check("QLinearConv", inputs, attrs, const=tuple(range(1, 9)), steps=1)


@pytest.mark.parametrize(("at", "bt"), PAIRS)
@pytest.mark.parametrize("const", [True, False])
@pytest.mark.parametrize("shape", [(4, 6), (2, 4, 6)])
def test_qlinear_matmul_is_one_code_from_onnxruntime(onnx_check, rng, at, bt, const, shape):
    inputs = [
        codes(rng, at, *shape), np.float32(0.03), at(7), codes(rng, bt, 6, 5), np.float32(0.01), bt(3), np.float32(0.1),
        at(20),
    ]  # fmt: skip
    inputs = [np.asarray(a) for a in inputs]
    fixed = (1, 2, 4, 5, 6, 7) + ((3,) if const else ())
    onnx_check("QLinearMatMul", inputs, const=fixed, steps=1)


@pytest.mark.parametrize("wt", [np.uint8, np.int8])
@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_conv_integer_equals_onnxruntime(onnx_check, rng, wt, zeros):
    inputs = [codes(rng, np.uint8, 1, 3, 6, 7), codes(rng, wt, 4, 3, 3, 2), np.uint8(9), wt(5)][: 2 + zeros]
    inputs = [np.asarray(a) for a in inputs]
    onnx_check("ConvInteger", inputs, {"pads": [1, 0, 0, 1]}, const=tuple(range(1, 2 + zeros)))


@pytest.mark.parametrize(("at", "bt"), PAIRS)
def test_matmul_integer_equals_onnxruntime(onnx_check, rng, at, bt):
    a, b = codes(rng, at, 2, 4, 6), codes(rng, bt, 6, 5)
    onnx_check("MatMulInteger", [a, b])
    onnx_check("MatMulInteger", [a, b, np.asarray(at(5)), np.asarray(bt(-3 % 100))], const=(1, 2, 3))
    onnx_check("MatMulInteger", [a, b, np.asarray(at(5)), np.arange(5).astype(bt)])


@pytest.mark.parametrize("to_float", [False, True])
def test_qgemm_is_one_code_from_onnxruntime(onnx_check, rng, to_float):
    inputs = [
        codes(rng, np.uint8, 4, 6), np.float32(0.03), np.uint8(7), codes(rng, np.int8, 5, 6), np.float32(0.01),
        np.int8(2), rng.integers(-500, 500, 5).astype(np.int32),
    ]  # fmt: skip
    inputs += [] if to_float else [np.float32(0.05), np.uint8(90)]
    inputs = [np.asarray(a) for a in inputs]
    const = tuple(range(1, len(inputs)))
    onnx_check("QGemm", inputs, {"transB": 1}, domain="com.microsoft", const=const, steps=1)


@pytest.mark.parametrize(
    ("bits", "zero"), [(4, "none"), (4, "packed"), (4, "float"), (8, "none"), (8, "packed"), (2, "packed")]
)
def test_matmul_nbits_equals_onnxruntime(onnx_check, rng, bits, zero):
    k, n, size = 40, 3, 16
    blocks = 3
    packed = codes(rng, np.uint8, n, blocks, size * bits // 8)
    scales = rng.uniform(0.01, 0.1, n * blocks).astype(np.float32)
    inputs = [rng.standard_normal((2, k)).astype(np.float32), packed, scales]
    if zero == "packed":
        inputs.append(codes(rng, np.uint8, n * -(-blocks * bits // 8)))
    elif zero == "float":
        inputs.append(rng.uniform(3, 9, n * blocks).astype(np.float32))
    attrs = {"K": k, "N": n, "bits": bits, "block_size": size}
    const = tuple(range(1, len(inputs)))
    onnx_check("MatMulNBits", inputs, attrs, domain="com.microsoft", const=const, tolerance=1e-4)


def test_matmul_integer_to_float_equals_onnxruntime(onnx_check, rng):
    inputs = [
        codes(rng, np.uint8, 4, 6), codes(rng, np.int8, 6, 5), np.float32(0.03), np.float32(0.01), np.uint8(9),
        np.int8(2), rng.standard_normal(5).astype(np.float32),
    ]  # fmt: skip
    inputs = [np.asarray(a) for a in inputs]
    onnx_check("MatMulIntegerToFloat", inputs, domain="com.microsoft", const=(1, 3, 5, 6))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("last", [0, 1])
def test_qlinear_pools_are_one_code_from_onnxruntime(onnx_check, rng, dtype, last):
    scalars = [np.asarray(a) for a in (np.float32(0.03), dtype(9), np.float32(0.02), dtype(5))]
    inputs = [codes(rng, dtype, 1, 6, 7, 3) if last else codes(rng, dtype, 1, 3, 6, 7), *scalars]
    how = {"domain": "com.microsoft", "const": (1, 2, 3, 4), "steps": 1}
    onnx_check("QLinearGlobalAveragePool", inputs, {"channels_last": last}, **how)
    attrs = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1], "channels_last": last}
    onnx_check("QLinearAveragePool", inputs, attrs, **how)
