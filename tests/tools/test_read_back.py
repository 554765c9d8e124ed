from __future__ import annotations

import re

import numpy as np
import pytest
from bitlite import OutputError, UsageError, convert, load
from bitlite.converter.formats import ms, onnx_write, tflite, tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.tools import read_back
from bitlite.tools.read_back import Original, check_written


@pytest.fixture
def source(tmp_path):
    graph = Graph("m")
    build = Builder(graph)
    rng = np.random.default_rng(4)

    def const(*shape):
        return build.constant(rng.normal(size=shape).astype(np.float32), "w")

    x = build.input("x", np.float32, (1, 16))
    y = build.emit("FullyConnected", [x, const(20, 16), const(20)], {"keep_dims": True}, name="first")[0]
    y = build.emit("Tanh", [y], name="second")[0]
    graph.outputs = build.emit("FullyConnected", [y, const(5, 20), const(5)], {"keep_dims": True}, name="third")
    tflite.write(graph, str(tmp_path / "m.tflite"))
    return tmp_path / "m.tflite"


@pytest.mark.parametrize(
    ("container", "module", "word"),
    [("TFLITE", tflite_write, "TANH"), ("ONNX", onnx_write, "Tanh")],
)
def test_a_file_that_holds_something_else_is_an_error_that_names_the_node(
    source, tmp_path, monkeypatch, container, module, word
):
    write = module.write_operators

    def wrong(*args, **options):
        writing = write(*args, **options)
        for item in writing.emitted:
            if item.op == word:
                item.op = "RELU" if word == "TANH" else "Relu"
        return writing

    monkeypatch.setattr(module, "write_operators", wrong)
    with pytest.raises(OutputError, match=r"is not what was written: \S+ \(\w+\) is the first node that differs"):
        convert(source, tmp_path / "out", output_format=f"MS,{container}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.tflite"]
    convert(source, tmp_path / "out", output_format=container, read_back=False)


def test_a_file_that_cannot_be_read_is_an_error(source, tmp_path, monkeypatch):
    write = tflite_write.to_record

    def damaged(graph):
        record, stored = write(graph)
        record["subgraphs"][0]["operators"][0]["inputs"] = [99]
        return record, stored

    monkeypatch.setattr(tflite_write, "to_record", damaged)
    with pytest.raises(OutputError, match="cannot be read back"):
        convert(source, tmp_path / "out", output_format="TFLITE")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.tflite"]


@pytest.mark.parametrize("quantized", [{}, {"quant_type": "WeightQuant", "bit_num": 4}, {"fp16": True}])
def test_what_is_written_is_what_is_read(source, tmp_path, quantized):
    report = convert(source, tmp_path / "out", output_format="MS,TFLITE,ONNX", **quantized)
    assert len(report.files) == 3


def test_a_failed_read_back_leaves_what_stood_at_the_target(source, tmp_path, monkeypatch):
    convert(source, tmp_path / "out", output_format="MS")
    before = (tmp_path / "out.ms").read_bytes()
    write = tflite_write.to_record

    def damaged(graph):
        record, stored = write(graph)
        record["subgraphs"][0]["operators"][0]["inputs"] = [99]
        return record, stored

    monkeypatch.setattr(tflite_write, "to_record", damaged)
    with pytest.raises(OutputError, match=r"^\S*/out\.tflite: what was written cannot be read back: \S*/out.tflite"):
        convert(source, tmp_path / "out", output_format="MS,TFLITE", quant_type="WeightQuant")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.tflite", "out.ms"]
    assert (tmp_path / "out.ms").read_bytes() == before


@pytest.mark.parametrize("name", [".", "..", "sub/.", "sub/"])
def test_a_folder_is_no_output_file(source, tmp_path, name):
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError, match=f"output_file=.*{name} names a directory"):
        convert(source, f"{tmp_path}/{name}")


def saturated(sample):
    """Two layers whose large terms cancel before a Sigmoid: its outputs on the sample are some 6e-6."""
    rng = np.random.default_rng(7)
    graph = Graph("m")
    build = Builder(graph)
    first, second = rng.normal(size=(64, 16)).astype(np.float32), rng.normal(0, 300, (5, 64)).astype(np.float32)
    bias = (-12 - second @ (first @ sample[0])).astype(np.float32)
    y = build.input("x", np.float32, sample.shape)
    for weight, extra in ((first, []), (second, [build.constant(bias, "bias")])):
        y = build.emit("FullyConnected", [y, build.constant(weight, "w"), *extra], {"keep_dims": True})[0]
    graph.outputs = build.emit("Sigmoid", [y])
    return graph


@pytest.mark.parametrize(("moved", "refused"), [(1e-6, False), (1e-3, True)])
def test_what_the_last_bits_account_for_is_no_difference(tmp_path, moved, refused):
    sample = np.random.default_rng(2).uniform(0.5, 1, (1, 16)).astype(np.float32)
    graph = saturated(sample)
    original = Original(graph, sample={"x": sample})
    assert 1e-6 < original.run().outputs[graph.outputs[0].name].max() < 1e-5
    weight = graph.nodes[0].inputs[1]
    weight.data = weight.data * (1 + moved * np.sign(np.random.default_rng(0).normal(size=weight.shape)))
    weight.data = weight.data.astype(np.float32)
    path = str(tmp_path / "m.tflite")
    tflite.write(graph, path)
    if refused:
        with pytest.raises(OutputError, match="is not what was written"):
            check_written(path, original)
        return
    actual = load(path).run({"x": sample})[graph.outputs[0].name]
    (wanted,) = original.run().outputs.values()
    assert np.abs(actual - wanted).max() > 1e-3 * wanted.max()  # more than a part of the range tells
    check_written(path, original)


def images(tmp_path):
    graph = Graph("m")
    build = Builder(graph)
    rng = np.random.default_rng(4)
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4}
    y = build.input("x", np.float32, (1, 6, 6, 4))
    for name in ("first", "second", "third"):
        w = build.constant(rng.normal(0, 0.3, (6, 3, 3, y.shape[-1])).astype(np.float32), "w")
        y = build.emit("Conv", [y, w], window, name=name)[0]
        if name == "second":
            y = build.emit("Tanh", [y], name="squashed")[0]
    graph.outputs = [y]
    tflite.write(graph, str(tmp_path / "m.tflite"))
    return tmp_path / "m.tflite"


@pytest.mark.parametrize("options", [{}, {"quant_type": "WeightQuant", "gain_gate": False, "quant_weight_channel": 0}])
def test_the_node_that_differs_is_named_whatever_order_of_axes_the_file_has(tmp_path, monkeypatch, options):
    write = onnx_write.write_operators

    def wrong(*args, **kwargs):
        writing = write(*args, **kwargs)
        for item in writing.emitted:
            item.op = "Relu" if item.op == "Tanh" else item.op
        return writing

    monkeypatch.setattr(onnx_write, "write_operators", wrong)
    with pytest.raises(OutputError, match=r"squashed \(Tanh\) is the first node that differs"):
        convert(images(tmp_path), tmp_path / "out", output_format="ONNX", **options)


def test_a_calibration_sample_is_what_the_file_is_run_on(tmp_path, monkeypatch):
    fed = []
    run = Original.run
    monkeypatch.setattr(Original, "run", lambda self: fed.append(self.sample) or run(self))
    samples = [np.full((1, 6, 6, 4), k, np.float32) for k in (3.0, 4.0)]
    convert(images(tmp_path), tmp_path / "out", quant_type="PostTraining", calibration_data=samples, quiet=True)
    assert fed[0]["x"].max() in (3.0, 4.0)
    convert(images(tmp_path), tmp_path / "out", quant_type="WeightQuant", quiet=True)
    assert fed[-1] is None


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_a_file_too_large_to_run_is_checked_weight_by_weight_and_says_so(source, tmp_path, monkeypatch, bits):
    monkeypatch.setattr(read_back, "LARGEST", 0)
    options = {"quant_type": "WeightQuant", "bit_num": bits, "gain_gate": False}
    report = convert(source, tmp_path / "out", **options)
    (note,) = (n for n in report.notes if "not run" in n)
    assert re.search(r"out.ms: read back, not run \(0 MB of constants, .*\): 9[5-9]% of the bytes", note)

    write = ms.write_tensor

    def wrong(t, *args):
        fields = write(t, *args)
        if "quantParams" in fields:
            fields["quantParams"]["varCorr"] *= 1.01
        return fields

    monkeypatch.setattr(ms, "write_tensor", wrong)
    with pytest.raises(OutputError, match=r"weight '\S+' \[\d+, \d+\] is not what was written"):
        convert(source, tmp_path / "out", **options)


@pytest.mark.parametrize(("quant_type", "whole"), [("WeightQuant", False), ("DynamicQuant", True)])
def test_codes_count_as_the_floats_that_a_run_makes_of_them(source, tmp_path, monkeypatch, quant_type, whole):
    monkeypatch.setattr(read_back, "LARGEST", 1000)  # 420 weights, 25 biases
    report = convert(source, tmp_path / "out", quant_type=quant_type, gain_gate=False)
    assert any("not run" in note for note in report.notes) is not whole


@pytest.mark.parametrize("container", ["MS", "TFLITE", "ONNX"])
def test_float_weights_of_a_large_file_are_compared_whatever_the_order_of_their_axes(tmp_path, monkeypatch, container):
    monkeypatch.setattr(read_back, "LARGEST", 0)
    module = {"MS": ms, "TFLITE": tflite_write, "ONNX": onnx_write}[container]
    report = convert(images(tmp_path), tmp_path / "out", output_format=container)
    assert any("99% of" in note for note in report.notes)
    write = module.write_operators

    def wrong(graph, *args, **kwargs):
        for t in graph.constants():
            if t.data.ndim == 4:
                t.data = t.data.copy()
                t.data.flat[-1] += 1
        return write(graph, *args, **kwargs)

    monkeypatch.setattr(module, "write_operators", wrong)
    with pytest.raises(OutputError, match=r"weight '\S+' \[6, 3, 3, \d\] is not what was written"):
        convert(images(tmp_path), tmp_path / "out", output_format=container)
