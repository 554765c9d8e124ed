"""Fourier transforms against onnxruntime and LiteRT, and what each container makes of them."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import Error
from onnx import helper, numpy_helper, save
from tflite_models import run_litert, tflite_file


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "attrs"),
    [((2, 8, 1), {}), ((2, 8, 2), {}), ((2, 6, 2), {"inverse": 1}), ((2, 8, 1), {"onesided": 1})],
)
@pytest.mark.parametrize("count", [None, 4, 16])
def test_dft_equals_onnxruntime(onnx_check, rng, shape, attrs, count):
    inputs = [floats(rng, *shape), None if count is None else np.asarray(count, np.int64), np.asarray(1, np.int64)]
    onnx_check("DFT", inputs, attrs, const=(2,) if count is None else (1, 2), opset=20, tolerance=1e-4)


def test_the_axis_of_a_dft_was_an_attribute(onnx_check, rng):
    onnx_check("DFT", [floats(rng, 2, 4, 8, 1)], {"axis": 2}, opset=17, tolerance=1e-4)


def test_the_inverse_of_a_one_sided_dft_is_the_signal(onnx_check, rng):
    x = floats(rng, 3, 8)
    spectrum = np.fft.rfft(x)
    given = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)
    attrs = {"inverse": 1, "onesided": 1}
    onnx_check("DFT", [given], attrs, opset=20, want=[x[..., None]])


@pytest.mark.parametrize("signal", [(2, 50), (1, 50, 1)])
@pytest.mark.parametrize("window", [True, False])
@pytest.mark.parametrize("onesided", [0, 1])
def test_frames_are_cut_out_and_transformed(onnx_check, rng, signal, window, onesided):
    weights = np.hanning(16).astype(np.float32) if window else None
    inputs = [floats(rng, *signal), np.array(7), weights, np.array(16)]
    const = (1, 2, 3) if window else (1, 3)
    onnx_check("STFT", inputs, {"onesided": onesided}, const=const, opset=17, tolerance=1e-4)


def test_frames_longer_than_the_signal_are_refused(onnx_check, rng):
    with pytest.raises(Error, match=r"frames of 64 values every 7 do not fit a signal of 50"):
        onnx_check("STFT", [floats(rng, 1, 50), np.array(7), None, np.array(64)], const=(1, 3), opset=17, want=[])


FRAMES, LENGTH = 5, 16


def spectrum(length, tail, kind="FLOAT32", out=None):
    """frames [5, 1, 16] → RFFT2D → a Squeeze of complex numbers → `tail` operators."""
    bins = length // 2 + 1
    tensors = [
        ("FLOAT32", [FRAMES, 1, LENGTH]), np.int32([1, length]), ("COMPLEX64", [FRAMES, 1, bins]),
        ("COMPLEX64", [FRAMES, bins]), (kind, out or [FRAMES, bins]), np.int32([1, 0]),
    ]  # fmt: skip
    squeeze = ("SQUEEZE", [2], [3], ("SqueezeOptions", {"squeeze_dims": np.int32([1])}))
    return tflite_file((tensors, [0], [4], [("RFFT2D", [0, 1], [2], None), squeeze, *tail]))


TAILS = {
    "magnitude": [("COMPLEX_ABS", [3], [4], None)],
    "real": [("REAL", [3], [4], None)],
    "imaginary": [("IMAG", [3], [4], None)],
    "cast": [("CAST", [3], [4], None)],
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("length", [8, 16, 32])
def test_transforms_of_tflite_equal_litert(tmp_path, rng, tail, length):
    data = spectrum(length, TAILS[tail])
    path, x = tmp_path / "m.tflite", floats(rng, FRAMES, 1, LENGTH)
    path.write_bytes(data)
    [got] = bitlite.load(str(path)).run({"t0": x}).values()
    np.testing.assert_allclose(got, run_litert(data, {"t0": x})[0], atol=1e-5)


def test_a_transform_of_both_axes_equals_litert(tmp_path, rng):
    tensors = [("FLOAT32", [2, 4, 8]), np.int32([4, 8]), ("COMPLEX64", [2, 4, 5]), ("FLOAT32", [2, 4, 5])]
    operators = [("RFFT2D", [0, 1], [2], None), ("COMPLEX_ABS", [2], [3], None)]
    data, x = tflite_file((tensors, [0], [3], operators)), floats(rng, 2, 4, 8)
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    [got] = bitlite.load(str(path)).run({"t0": x}).values()
    np.testing.assert_allclose(got, run_litert(data, {"t0": x})[0], atol=1e-5)


def test_complex_numbers_turn_as_their_parts_do(tmp_path, rng):
    tensors = [
        ("FLOAT32", [1, 16]), np.int32([1, 16]), ("COMPLEX64", [1, 9]), np.int32([1, 0]), ("COMPLEX64", [9, 1]),
        ("FLOAT32", [9, 1]),
    ]  # fmt: skip
    operators = [("RFFT2D", [0, 1], [2], None), ("TRANSPOSE", [2, 3], [4], None), ("IMAG", [4], [5], None)]
    path, x = tmp_path / "m.tflite", floats(rng, 1, 16)
    path.write_bytes(tflite_file((tensors, [0], [5], operators)))
    [got] = bitlite.load(str(path)).run({"t0": x}).values()
    np.testing.assert_allclose(got, np.fft.rfft(x).imag.T, atol=1e-5)


def test_other_operators_of_complex_numbers_are_refused_by_name(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(spectrum(16, [("EXP", [3], [4], None)], kind="COMPLEX64"))
    with pytest.raises(Error, match=r"t4 \(EXP\): of complex numbers it is not read"):
        bitlite.load(str(path))


def test_a_complex_output_is_refused_by_name(tmp_path):
    tensors = [("FLOAT32", [1, 16]), np.int32([1, 16]), ("COMPLEX64", [1, 9])]
    path = tmp_path / "m.tflite"
    path.write_bytes(tflite_file((tensors, [0], [2], [("RFFT2D", [0, 1], [2], None)])))
    with pytest.raises(Error, match=r"output 't2' is complex"):
        bitlite.load(str(path))


@pytest.mark.parametrize("container", ["MS", "TFLITE", "ONNX"])
@pytest.mark.parametrize("length", [16, 20])
def test_a_spectrogram_is_written_to_every_container(tmp_path, rng, container, length):
    """RFFT2D in .tflite is of powers of two; elsewhere, and in .ms, the transform is a product with its matrix."""
    nodes = [
        helper.make_node("STFT", ["x", "step", "window"], ["s"], name="stft"),
        helper.make_node("ReduceSumSquare", ["s", "last"], ["y"], keepdims=0),
    ]
    given = {"step": np.array(5), "window": np.hanning(length).astype(np.float32), "last": np.array([3])}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 100])], [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(v, k) for k, v in given.items()],
    )  # fmt: skip
    source = str(tmp_path / "m.onnx")
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), source)
    x = floats(rng, 1, 100)
    [want] = bitlite.load(source).run({"x": x}).values()
    [path] = bitlite.convert(source, tmp_path / "out", output_format=container).files
    [got] = bitlite.load(path).run({"x": x}).values()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    if container == "TFLITE":
        with open(path, "rb") as file:
            data = file.read()
        assert ("RFFT2D" in operators_of(path)) == (length == 16)
        np.testing.assert_allclose(run_litert(data, {"x": x})[0], want, rtol=1e-4, atol=1e-4)
    if container == "ONNX":
        onnxruntime = pytest.importorskip("onnxruntime")
        [theirs] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        np.testing.assert_allclose(theirs, want, rtol=1e-4, atol=1e-3)


def operators_of(path):
    from bitlite.converter.formats.flat import decode
    from bitlite.converter.formats.tflite_schema import SCHEMA

    with open(path, "rb") as file:
        model = decode(file.read(), SCHEMA)
    names = SCHEMA.enums["BuiltinOperator"]
    return {names.name(max(c.builtin_code, c.deprecated_builtin_code)) for c in model.operator_codes}
