"""com.microsoft's DynamicQuantizeLSTM, as onnxruntime's quantize_dynamic writes it, against onnxruntime."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError

T, F, H = 5, 6, 8


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def inputs_of(rng, d=1, batch=1, kind=np.int8, columns=False, zero=0, extra=()):
    """x, W, R, b, four optional inputs, and scales and zero points."""
    info = np.iinfo(kind)
    shape = (d, 4 * H) if columns else (d,)
    w, r = (rng.integers(info.min, info.max, (d, n, 4 * H), endpoint=True).astype(kind) for n in (F, H))
    scales = [rng.uniform(1e-3, 4e-3, shape).astype(np.float32) for _ in range(2)]
    zeros = np.full(shape, zero, kind)
    more = [*extra, *[None] * (4 - len(extra))]
    x, b = (rng.standard_normal(s).astype(np.float32) for s in ((T, batch, F), (d, 8 * H)))
    return [x, w, r, b, *more, scales[0], zeros, scales[1], zeros]


CONST = (1, 2, 3, 8, 9, 10, 11)
MS = {"domain": "com.microsoft", "opset": 17}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "zero"), [(np.int8, 0), (np.uint8, 128), (np.uint8, 120)])
@pytest.mark.parametrize("columns", [False, True])
def test_it_equals_onnxruntime(onnx_check, rng, direction, kind, zero, columns):
    d = 2 if direction == "bidirectional" else 1
    inputs = inputs_of(rng, d, kind=kind, zero=zero, columns=columns)
    attrs = {"hidden_size": H, "direction": direction}
    onnx_check("DynamicQuantizeLSTM", inputs, attrs, const=CONST, outputs=3, tolerance=1e-5, **MS)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True])
def test_states_peepholes_and_lengths_equal_onnxruntime(onnx_check, rng, direction, lengths):
    """Its range of the state, once a sequence has ended, is that of the others: codes may round the other way."""
    d, batch = 2 if direction == "bidirectional" else 1, 2
    states = [rng.uniform(-1, 1, (d, batch, H)).astype(np.float32) for _ in range(2)]
    extra = [np.int32([5, 3]) if lengths else None, *states, rng.uniform(-1, 1, (d, 3 * H)).astype(np.float32)]
    inputs = inputs_of(rng, d, batch, extra=extra)
    attrs = {"hidden_size": H, "direction": direction, "clip": 2.0}
    tolerance = 2e-3 if lengths else 1e-5
    onnx_check("DynamicQuantizeLSTM", inputs, attrs, const=(*CONST, 7), outputs=3, tolerance=tolerance, **MS)


def test_the_second_direction_has_its_own_functions(onnx_check, rng):
    attrs = {"hidden_size": H, "direction": "bidirectional"}
    attrs["activations"] = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"]
    onnx_check("DynamicQuantizeLSTM", inputs_of(rng, 2), attrs, const=CONST, outputs=3, **MS)


def loaded(inputs, attrs, const, tmp_path):
    from conftest import onnx_model

    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_model("DynamicQuantizeLSTM", inputs, attrs, const=const, outputs=3, **MS).SerializeToString())
    return bitlite.load(str(path))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({8: np.float32([-1.0])}, "not a positive number"),
        ({8: np.ones(3, np.float32)}, "do not fit a weight"),
        ({1: np.zeros((1, F, 4 * H), np.int16)}, "in 8 bits"),
    ],
)
def test_what_does_not_fit_is_refused(rng, change, what, tmp_path):
    inputs = inputs_of(rng)
    for i, value in change.items():
        inputs[i] = value
    with pytest.raises(UnsupportedError, match=what):
        loaded(inputs, {"hidden_size": H}, CONST, tmp_path)


def test_weights_of_a_run_are_refused(rng, tmp_path):
    with pytest.raises(UnsupportedError, match="no constant"):
        loaded(inputs_of(rng), {"hidden_size": H}, CONST[1:], tmp_path)


def test_written_files_keep_its_codes(rng, tmp_path):
    """bitlite's own .onnx and .ms of the layer give what it gives."""
    source = tmp_path / "m.onnx"
    loaded(inputs := inputs_of(rng, 2), attrs := {"hidden_size": H, "direction": "bidirectional"}, CONST, tmp_path)
    want = loaded(inputs, attrs, CONST, tmp_path).run({"x0": inputs[0]})
    for form in ("ONNX", "MS"):
        target = tmp_path / "out"
        bitlite.convert(str(source), str(target), output_format=form)
        got = bitlite.load(f"{target}.{form.lower()}").run({"x0": inputs[0]})
        for name, y in want.items():
            np.testing.assert_allclose(got[name].reshape(y.shape), y, atol=1e-5)
