from __future__ import annotations

import numpy as np
import pytest
from bitlite import OutputError, UsageError, convert
from bitlite.converter.builder import Builder
from bitlite.converter.formats import onnx_write, tflite, tflite_write
from bitlite.converter.ir import Graph


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
    with pytest.raises(UsageError, match=f"--outputFile=.*{name} names a directory"):
        convert(source, f"{tmp_path}/{name}")
