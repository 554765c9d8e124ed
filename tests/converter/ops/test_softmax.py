from __future__ import annotations

import math

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import QuantParam


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.mark.parametrize("opset", [7, 11, 13, 21])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 5, 1, 1), (6,), (2, 3, 2, 2)])
def test_onnx_softmax_of_every_opset_equals_onnxruntime(onnx_check, rng, op, opset, shape):
    x = 4 * rng.standard_normal(shape).astype(np.float32)
    for axis in range(-len(shape), len(shape)):
        onnx_check(op, [x], {"axis": axis}, opset=opset)
    if len(shape) > 1 or opset >= 13:
        onnx_check(op, [x], opset=opset)


def test_large_inputs_do_not_overflow(onnx_check):
    x = np.float32([[1000, 999, -1000], [-1e30, 0, 1]])
    onnx_check("Softmax", [x])
    onnx_check("LogSoftmax", [x])


@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("shape", [(2, 7), (1, 3, 3, 5), (9,)])
def test_tflite_softmax_equals_litert(tflite_check, rng, beta, shape):
    x = 4 * rng.standard_normal(shape).astype(np.float32)
    tflite_check("SOFTMAX", [x], ("SoftmaxOptions", {"beta": beta}))
    tflite_check("LOG_SOFTMAX", [x])


@pytest.mark.parametrize("shape", [(3, 10), (2, 1001), (1, 2)])
def test_tflite_int8_softmax_is_within_one_code_of_litert(tflite_check, rng, shape):
    x = rng.integers(-128, 128, shape).astype(np.int8)
    qx, qy = QuantParam([0.11], [20]), QuantParam([1 / 256], [-128])
    got = tflite_check("SOFTMAX", [x], ("SoftmaxOptions", {"beta": 1.0}), quant={0: qx}, output_quant=(qy,), steps=1,
                       version=2)[0]  # fmt: skip
    e = [[round(2**24 * math.exp(-(int(r.max()) - int(q)) * float(np.float32(0.11)))) for q in r] for r in x]
    f = np.float32
    want = [[min(int(np.rint(f(v) * f(1 / (sum(row) / 256)))) - 128, 127) for v in row] for row in e]
    np.testing.assert_array_equal(got, np.int8(want))
