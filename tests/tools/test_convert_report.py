"""What a conversion says: tables that fit the terminal, report files in every form, a page that is well formed."""

import csv
import io
import json
import re
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.tools.converter_lite import main
from bitlite.tools.tables import table_lines, weight_table
from onnx import helper, numpy_helper, save

DIGITS = Path(__file__).parents[2] / "demo" / "digits.onnx"
LONG = "model/block_1_expand_relu6/Relu6;model/block_1_expand/BiasAdd;model/block_1_expand/Conv2D"


def document_of(page: Path):
    """What a page shows: the document in it."""
    found = re.search(r'<script type="application/json" id="documents">(.*?)</script>', page.read_text(), re.S)
    assert found
    return json.loads(found[1])[0]


def convert(folder, *flags):
    return main([f"--modelFile={DIGITS}", f"--outputFile={folder}/d", "--quantType=WeightQuant", *flags])


@pytest.mark.parametrize("columns", [80, 160])
def test_no_line_is_wider_than_the_terminal(monkeypatch, capsys, tmp_path, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert convert(tmp_path) == 0
    out = capsys.readouterr().out
    table = out[: out.index("3 of 5 quantized")]
    assert all(len(line) <= columns for line in table.splitlines())
    assert "conv3" in table and "gain gate" in table and "13,824" in table
    assert out.rstrip().endswith("CONVERTER RESULT SUCCESS:0")


def test_long_names_are_cut_in_their_middle_and_numbers_never():
    rows = [(LONG, 123456789, "a long reason " * 6)]
    lines = table_lines("", ("layer", "bytes", "why"), rows, ("bytes",), 60)
    assert all(len(line) <= 60 for line in lines)
    assert lines[2].startswith("model/") and "Conv2D" in lines[2] and "123456789" in lines[2]


def test_names_that_tflite_joins_are_shown_by_their_first():
    row = {"layer": LONG, "op": "Conv", "shape": [2, 2], "bits": 8, "bytes_before": 16, "bytes_after": 4,
           "form": "plain", "why": ""}  # fmt: skip
    assert weight_table([row], narrow=False)[1][0][0] == "model/block_1_expand_relu6/Relu6"


@pytest.fixture(scope="module")
def report():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        yield bitlite.convert(DIGITS, f"{folder}/d", quant_type="WeightQuant", bit_num=4, quant_weight_channel=0)


def test_json_and_csv_hold_every_layer(report, tmp_path):
    report.save(str(tmp_path / "r.json"))
    report.save(str(tmp_path / "r.csv"))
    layers = json.loads((tmp_path / "r.json").read_text())["layers"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert [r["layer"] for r in layers] == [r["layer"] for r in rows]
    assert {r["bits"] for r in layers if not r["why"]} == {4}
    assert all(r["bytes_after"] < r["bytes_before"] for r in layers if not r["why"])


def test_an_int8_model_has_a_row_per_weight_and_per_layer(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    config = tmp_path / "c.cfg"
    config.write_text(f"image_path={DIGITS.parent}/calibration\nbatch_count=20\n")
    flags = ["--quantType=PostTraining", f"--configFile={config}", f"--debugInfoSavePath={tmp_path}/tables"]
    assert main([f"--modelFile={DIGITS}", f"--outputFile={tmp_path}/d", *flags, f"--report={tmp_path}/r.html"]) == 0
    out = capsys.readouterr().out
    assert "5 of 5 quantized" in out and "so far dB" in out
    table, _ = out.split("\nnote:", 1)
    assert all(len(line) <= 80 for line in table.splitlines() if "quantized" in line or " dB" in line)
    assert out.startswith("calibration data: 20 samples\n") and "[1,8,8,1]" in out
    report = document_of(tmp_path / "r.html")
    assert report["data"]["samples"] == 20 and len(report["quality"]) == 5
    assert {p.suffix for p in (tmp_path / "tables").iterdir()} == {".csv", ".json"}


def test_what_a_conversion_cost_is_in_the_report_when_nothing_is_printed(tmp_path, capsys):
    config = tmp_path / "c.cfg"
    config.write_text(f"image_path={DIGITS.parent}/calibration\nbatch_count=40\n")
    flags = ["--quantType=PostTraining", f"--configFile={config}", f"--report={tmp_path}/r.json", "--quiet"]
    assert main([f"--modelFile={DIGITS}", f"--outputFile={tmp_path}/d", *flags]) == 0
    assert capsys.readouterr().out == "CONVERTER RESULT SUCCESS:0\n"
    told = json.loads((tmp_path / "r.json").read_text())["fidelity"]
    assert told["held_back"] and told["samples"] == 4 and told["outputs"][0]["sqnr"] > 20


def test_a_notebook_shows_tables_of_report_and_session(report, tmp_path):
    shown = report._repr_html_()
    assert shown.count("<table>") == 1 and "<td>conv3</td>" in shown and "weights quantized" in shown
    session = bitlite.load(str(DIGITS))
    session.graph.name = "<b>"
    shown = session._repr_html_()
    assert "&lt;b&gt;: " in shown and "<td>image</td><td>float32</td>" in shown and "<td>logits</td>" in shown


def test_text_names_what_the_passes_did(report, tmp_path):
    report.save(str(tmp_path / "r.txt"))
    assert "fold_batch_norm" in (tmp_path / "r.txt").read_text()


def test_infer_runs_every_file_that_was_written(tmp_path, capsys):
    assert convert(tmp_path, "--outputFormat=MS,ONNX", "--infer") == 0
    out = capsys.readouterr().out
    assert "d.ms: ran once" in out and "d.onnx: ran once" in out and out.count("float32[1, 10]") == 2


def test_verify_asks_the_runtimes_that_are_installed(tmp_path, capsys):
    flags = [f"--modelFile={DIGITS}", f"--outputFile={tmp_path}/d", "--outputFormat=MS,TFLITE,ONNX", "--verify"]
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "d.tflite: ai_edge_litert agrees" in out and "d.onnx: onnxruntime agrees" in out
    assert "d.ms: not verified: mindspore_lite is not installed" in out or "d.ms: mindspore_lite agrees" in out


def test_verify_fails_where_another_runtime_gives_something_else(tmp_path):
    from bitlite.tools.accuracy import AccuracyError
    from bitlite.tools.other_runtimes import verify_file

    bitlite.convert(DIGITS, tmp_path / "float.onnx", output_format="ONNX")
    coarse = {"quant_type": "WeightQuant", "bit_num": 1, "quant_weight_channel": 0, "gain_gate": False}
    bitlite.convert(DIGITS, tmp_path / "coarse.ms", input_data_format="NCHW", **coarse)
    session = bitlite.load(str(tmp_path / "coarse.ms"))
    with pytest.raises(AccuracyError, match="cosine"):
        verify_file(str(tmp_path / "float.onnx"), session, {"image": np.ones((1, 1, 8, 8), np.float32)})


def test_quiet_prints_the_result_alone(tmp_path, capsys):
    assert convert(tmp_path, "--quiet") == 0
    assert capsys.readouterr().out == "CONVERTER RESULT SUCCESS:0\n"


def test_tflite_gets_no_correction_that_it_cannot_hold(tmp_path, capsys):
    assert convert(tmp_path, "--outputFormat=TFLITE") == 0
    assert "no weight correction" in capsys.readouterr().out
    assert convert(tmp_path, "--outputFormat=TFLITE", "--weightCorrection=true") != 0


def test_report_and_runs_are_asked_for_by_keyword(tmp_path):
    report = bitlite.convert(DIGITS, tmp_path / "d", report=str(tmp_path / "r.json"), infer=True)
    assert json.loads((tmp_path / "r.json").read_text())["runs"] == report.runs
    assert "ran once" in report.runs[0]
    with pytest.raises(bitlite.UsageError, match="check"):
        bitlite.convert(DIGITS, tmp_path / "e", check="true")
    assert not (tmp_path / "e.ms").exists()


def test_no_model_stays_whose_report_cannot_be_written(tmp_path, monkeypatch):
    def full(self, path):
        raise bitlite.OutputError("no space left on device", file=path)

    monkeypatch.setattr("bitlite.tools.convert_report.Report.save", full)
    with pytest.raises(bitlite.OutputError, match="no space"):
        bitlite.convert(DIGITS, tmp_path / "d", report=str(tmp_path / "r.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", [{"report": "d.ms"}, {"report": "x.json", "dump_dist": "./x.json"}])
def test_two_outputs_of_one_name_are_refused(tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    samples = [np.zeros((1, 1, 8, 8), np.float32)]
    with pytest.raises(bitlite.UsageError, match="written twice"):
        bitlite.convert(DIGITS, "d", quant_type="PostTraining", calibration_data=samples, **other)
    assert not list(tmp_path.iterdir())


def test_a_report_measures_the_layers_without_being_asked(tmp_path):
    samples = [np.random.default_rng(k).random((1, 1, 8, 8), np.float32) for k in range(4)]
    options = {"quant_type": "PostTraining", "calibration_data": samples}
    report = bitlite.convert(DIGITS, tmp_path / "d", report=str(tmp_path / "r.html"), **options)
    assert len(report.quality) == 5
    assert not bitlite.convert(DIGITS, tmp_path / "d", **options).quality


def test_what_calibration_was_fed_is_in_every_form_of_the_report(tmp_path):
    samples = [np.random.default_rng(k).random((1, 1, 8, 8), np.float32) for k in range(4)]
    report = bitlite.convert(DIGITS, tmp_path / "d", quant_type="PostTraining", calibration_data=samples)
    for ending in ("json", "txt"):
        report.save(str(tmp_path / f"r.{ending}"))
    data = json.loads((tmp_path / "r.json").read_text())["data"]
    assert data["samples"] == 4
    assert data["inputs"][0]["mean"] == pytest.approx([np.mean(samples)], rel=1e-6)
    assert "calibration data: 4 samples" in (tmp_path / "r.txt").read_text()


@pytest.mark.parametrize("after", [False, True])
def test_a_layer_that_is_written_step_by_step_is_told(tmp_path, after):
    rng, size = np.random.default_rng(0), 4
    shapes = {"w": (1, 3 * size, 5), "r": (1, 3 * size, size)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    gru = helper.make_node("GRU", ["x", "w", "r"], ["y"], "cell", hidden_size=size, linear_before_reset=int(after))
    ports = [helper.make_tensor_value_info(n, 1, s) for n, s in (("x", (6, 1, 5)), ("y", (6, 1, 1, size)))]
    graph = helper.make_graph([gru], "g", ports[:1], ports[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    report = bitlite.convert(str(tmp_path / "m.onnx"), str(tmp_path / "m"))
    told = [note for note in report.notes if "cell is written step by step" in note and "grows" in note]
    assert bool(told) == after
