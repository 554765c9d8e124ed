"""Sizes of int8 files: a weight is stored once, and in 8 bits where its layer computes in float."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats import onnx_write, read_model
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder

SAMPLES = [np.random.default_rng(k).normal(size=(4, 64)).astype(np.float32) for k in range(8)]


def dense(build, x, w, name):
    return build.emit("FullyConnected", [x, w], {"keep_dims": True, "act": "none"}, name=name)[0]


def written(tmp_path, graph, **options):
    onnx_write.write(graph, str(tmp_path / "m.onnx"))
    return bitlite.convert(tmp_path / "m.onnx", tmp_path / "q", output_format="MS,TFLITE,ONNX", quiet=True, **options)


def network(steps, last=None):
    """A layer applied `steps` times, and one that stays float, for its bias is computed."""
    graph = Graph("m")
    build = Builder(graph)
    rng = np.random.default_rng(0)
    w = build.constant(rng.normal(0, 0.12, (64, 64)).astype(np.float32), "w")
    y = build.input("x", np.float32, (4, 64))
    for k in range(steps):
        y = build.emit("Tanh", [dense(build, y, w, f"step{k}")], name=f"tanh{k}")[0]
    if last:
        v = build.constant(rng.normal(0, 0.1, (64, 64)).astype(np.float32), "v")
        bias = build.emit("Reduce", [y], {"mode": "mean", "axes": [0], "keep_dims": False}, name="bias")[0]
        y = build.emit("FullyConnected", [y, v, bias], {"keep_dims": True}, name=last)[0]
    graph.outputs = [y]
    return graph


def outputs(path, samples=SAMPLES):
    session = bitlite.load(path)
    return np.stack([next(iter(session.run(x).values())) for x in samples])


def sqnr(want, got):
    return 10 * np.log10((want**2).sum() / ((got - want) ** 2).sum())


def test_a_weight_that_several_layers_read_is_stored_once(tmp_path):
    options = {"quant_type": "PostTraining", "calibration_data": SAMPLES}
    report = written(tmp_path, network(6), **options)
    once = written(tmp_path, network(1), **options)
    for path, size in report.files.items():
        assert size - once.files[path] < 5 * 64 * 40  # biases and scales of five more layers; the weight has 4096 bytes


def test_layers_with_one_weight_still_compute_well(tmp_path):
    written(tmp_path, network(6), quant_type="PostTraining", calibration_data=SAMPLES)
    decibels = [sqnr(outputs(tmp_path / "m.onnx"), outputs(tmp_path / f"q.{e}")) for e in ("ms", "tflite", "onnx")]
    assert min(decibels) > 28, decibels


@pytest.mark.parametrize(("given", "bits"), [({}, 8), ({"float_weights": "float"}, 32)])
def test_weights_of_layers_in_float_are_stored_in_eight_bits(tmp_path, given, bits):
    options = {"quant_type": "PostTraining", "calibration_data": SAMPLES} | given
    report = written(tmp_path, network(2, "float"), **options)
    row = next(r for r in report.layers if r.layer == "float")
    assert row.bits == bits
    assert bool(row.reason) == (bits == 32)
    for path in report.files:
        stored = [t.dtype.itemsize * 8 for t in read_model(path).constants() if t.name.startswith("v") and t.rank == 2]
        assert stored == [bits]
        assert sqnr(outputs(tmp_path / "m.onnx"), outputs(path)) > 30


def test_weights_kept_in_float_on_request_stay_floats(tmp_path):
    options = {"quant_type": "PostTraining", "calibration_data": SAMPLES, "keep_float": "step1"}
    report = written(tmp_path, network(2), **options)
    assert {r.layer: r.bits for r in report.layers} == {"step0": 8, "step1": 32}
