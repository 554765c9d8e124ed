"""Layers whose values reach a logarithm: what is loud must not decide for what is quiet."""

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats import onnx
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.logarithms import before_logarithms
from bitlite.quant.ptq.placement import place


def bands():
    """Overlapping triangles over 32 bins, [12, 32], each bin in two."""
    at, centres = np.arange(32), np.linspace(0, 31, 12)
    return np.maximum(0, 1 - np.abs(at - centres[:, None]) / 4).astype(np.float32)


def spectrum():
    """Logarithms of the energies in bands of a waveform, and a layer on these."""
    graph = Graph("mel")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 20, 64))
    angles = 2 * np.pi * np.outer(np.arange(32), np.arange(64)) / 64
    window = np.hanning(64)
    waves = np.concatenate([np.cos(angles) * window, np.sin(angles) * window]).astype(np.float32)
    (y,) = build.emit("FullyConnected", [x, build.constant(waves, "waves")], name="waves")
    (y,) = build.emit("Square", [y])
    (y,) = build.emit("Reshape", [y, build.constant(np.array([1, 20, 2, 32]), "parts")])
    (y,) = build.emit("Reduce", [y, build.constant(np.array([2]), "axis")], {"mode": "sum", "keep_dims": False})
    (y,) = build.emit("FullyConnected", [y, build.constant(bands(), "bands")], name="bands")
    (y,) = build.emit("Clip", [y], {"min": 1e-6, "max": 1e30})
    (y,) = build.emit("Log", [y])
    w = np.random.default_rng(1).standard_normal((24, 12)).astype(np.float32)
    (z,) = build.emit("FullyConnected", [y, build.constant(w, "head")], name="head")
    graph.outputs = [y, z]
    return graph


def waveforms(seed, count):
    """Noise from loud to quiet."""
    rng = np.random.default_rng(seed)
    level = 10 ** rng.uniform(-3, 1, (count, 1, 20, 1))
    return list((level * rng.standard_normal((count, 1, 20, 64))).astype(np.float32))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.write(spectrum(), str(path))
    return path


def decibel(want, got):
    return 10 * np.log10(np.square(want).sum() / np.square(got - want).sum())


def test_layers_in_front_of_a_logarithm_are_found():
    assert {node.name for node in before_logarithms(spectrum())} == {"waves", "bands"}


def test_data_leave_quiet_parts_of_a_spectrum(source, tmp_path):
    """A shift of the mean, which the loudest samples decide, left the logarithms 3 dB."""
    judges = waveforms(3, 8)
    real = bitlite.load(str(source))
    logs, found = real.outputs[0].name, {}
    for name, data in (("alone", {}), ("data", {"calibration_data": waveforms(2, 20)})):
        path = str(tmp_path / f"{name}.ms")
        bitlite.convert(source, path, quant_type="WeightQuant", bit_num=8, quant_weight_channel=0, cost=False, **data)
        session = bitlite.load(path)
        pairs = [(real.run({"x": x})[logs], session.run({"x": x})[logs]) for x in judges]
        found[name] = decibel(*map(np.stack, zip(*pairs)))
    assert found["data"] > found["alone"] - 0.5 and found["data"] > 40


def test_spectra_stay_in_float_up_to_their_logarithms(source, tmp_path):
    """Codes of 16 bits have 90 dB between the loudest and what is nothing: logarithms kept 30 dB of them."""
    plan = place(spectrum(), wide=spectrum().nodes)
    floats = {node.op for node, why in plan.why.items() if why == "its values reach a logarithm"}
    assert floats == {"Clip", "FullyConnected", "Log", "Reduce", "Reshape", "Square"}
    path = str(tmp_path / "q.ms")
    asked = {"quant_type": "PostTraining", "activation_bits": 16, "calibration_data": waveforms(2, 20)}
    bitlite.convert(source, path, cost=False, diagnose="off", **asked)
    real, session = bitlite.load(str(source)), bitlite.load(path)
    pairs = [[s.run({"x": x})[real.outputs[0].name] for s in (real, session)] for x in waveforms(3, 8)]
    assert decibel(*map(np.stack, zip(*pairs))) > 40


@pytest.mark.parametrize("container", ["onnx", "tflite"])
def test_runtimes_take_no_spectrum_to_8_bits(source, tmp_path, container):
    path = str(tmp_path / f"q.{container}")
    bitlite.convert(source, path, quant_type="WeightQuant", bit_num=8, output_format=container.upper(), cost=False)
    session, x = bitlite.load(path), waveforms(4, 1)[0]
    logs = session.outputs[0].name
    want = session.run({session.inputs[0].name: x})[logs]
    if container == "onnx":
        import onnxruntime

        (got,) = onnxruntime.InferenceSession(path).run([logs], {"x": x})
    else:
        from ai_edge_litert.interpreter import Interpreter

        other = Interpreter(model_path=path)
        other.allocate_tensors()
        other.set_tensor(other.get_input_details()[0]["index"], x)
        other.invoke()
        got = other.get_tensor(other.get_output_details()[0]["index"])
    assert decibel(want, got) > 80
