from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import Error

T, N, F, H = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
COUNT = {"LSTM": 3, "GRU": 2, "RNN": 2}


@pytest.fixture
def rng():
    return np.random.default_rng(10)


def weights(rng, op, directions=1, bias=True):
    g = GATES[op]
    shapes = [(T, N, F), (directions, g * H, F), (directions, g * H, H), (directions, 2 * g * H)]
    arrays = [rng.uniform(-0.6, 0.6, s).astype(np.float32) for s in shapes]
    return arrays if bias else arrays[:3]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_onnx_recurrent_layers_equal_onnxruntime(onnx_check, rng, op, direction):
    inputs = weights(rng, op, 2 if direction == "bidirectional" else 1)
    attrs = {"hidden_size": H, "direction": direction}
    onnx_check(op, inputs, attrs, const=(1, 2, 3), outputs=COUNT[op])
    onnx_check(op, inputs[:3], attrs, const=(1, 2), outputs=COUNT[op], opset=7)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_onnx_lengths_and_first_states_equal_onnxruntime(onnx_check, rng, op, direction):
    d = 2 if direction == "bidirectional" else 1
    states = [rng.uniform(-1, 1, (d, N, H)).astype(np.float32) for _ in range(2 if op == "LSTM" else 1)]
    inputs = [*weights(rng, op, d), np.int32([2, 5, 1]), *states]
    onnx_check(op, inputs, {"hidden_size": H, "direction": direction}, const=(1, 2, 3), outputs=COUNT[op])


def test_onnx_lstm_with_peepholes_and_clip_equals_onnxruntime(onnx_check, rng):
    inputs = [*weights(rng, "LSTM"), None, None, None, rng.uniform(-1, 1, (1, 3 * H)).astype(np.float32)]
    onnx_check("LSTM", inputs, {"hidden_size": H}, const=(1, 2, 3, 7), outputs=3)
    onnx_check("LSTM", inputs[:4], {"hidden_size": H, "clip": 0.3}, const=(1, 2, 3), outputs=3)


def test_onnx_gru_with_linear_before_reset_equals_onnxruntime(onnx_check, rng):
    attrs = {"hidden_size": H, "linear_before_reset": 1}
    onnx_check("GRU", weights(rng, "GRU"), attrs, const=(1, 2, 3), outputs=2)


@pytest.mark.parametrize(
    ("op", "names", "alpha", "beta"),
    [
        ("RNN", ["Relu"], None, None),
        ("RNN", ["LeakyRelu"], [0.2], None),
        ("RNN", ["Softsign"], None, None),
        ("GRU", ["HardSigmoid", "ScaledTanh"], [0.3, 1.2], [0.4, 0.7]),
        ("LSTM", ["Sigmoid", "Elu", "Softplus"], [0.8], None),
    ],
)
def test_onnx_activations_equal_onnxruntime(onnx_check, rng, op, names, alpha, beta):
    attrs = {"hidden_size": H, "activations": names}
    attrs |= {k: v for k, v in (("activation_alpha", alpha), ("activation_beta", beta)) if v}
    onnx_check(op, weights(rng, op), attrs, const=(1, 2, 3), outputs=COUNT[op])


def test_an_unknown_activation_is_refused_by_name(onnx_check, rng):
    with pytest.raises(Error, match=r"node.*activations"):
        attrs = {"hidden_size": H, "activations": ["Swoosh"]}
        onnx_check("RNN", weights(rng, "RNN"), attrs, const=(1, 2, 3), outputs=2, want=[])


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("variant", ["plain", "coupled", "peephole", "clip"])
def test_tflite_sequence_lstm_equals_litert(tflite_check, rng, time_major, variant):
    def f(*shape):
        return rng.uniform(-0.6, 0.6, shape).astype(np.float32)

    x = f(T, N, F) if time_major else f(N, T, F)
    inputs = [x, *(f(H, F) for _ in range(4)), *(f(H, H) for _ in range(4)), None, None, None]
    inputs += [*(f(H) for _ in range(4)), None, None, np.zeros((N, H), np.float32), np.zeros((N, H), np.float32)]
    inputs += [None] * 4
    if variant == "coupled":
        inputs[1] = inputs[5] = inputs[12] = None
    if variant == "peephole":
        inputs[9:12] = [f(H) for _ in range(3)]
    options = {"fused_activation_function": 4, "time_major": time_major, "cell_clip": 0.2 if variant == "clip" else 0.0}
    const = tuple(i for i, a in enumerate(inputs) if a is not None and i not in (0, 18, 19))
    tflite_check("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ("UnidirectionalSequenceLSTMOptions", options), const=const,
                 variable=(18, 19))  # fmt: skip


@pytest.mark.parametrize("rank", [1, 2])
def test_tflite_svdf_equals_litert_from_an_empty_state(tflite_check, rng, rank):
    units, memory = 4, 3
    filters = units * rank
    inputs = [rng.uniform(-1, 1, s).astype(np.float32) for s in ((N, F), (filters, F), (filters, memory), (units,))]
    inputs.append(np.zeros((N, memory * filters), np.float32))
    options = ("SVDFOptions", {"rank": rank, "fused_activation_function": 1})
    tflite_check("SVDF", inputs, options, const=(1, 2, 3), variable=(4,))
