"""Saved reports side by side, and pictures of models: what is read back, told, drawn and refused."""

import json
from pathlib import Path
from xml.etree import ElementTree

import bitlite
import pytest
from bitlite.tools.benchmark import main

DIGITS = str(Path(__file__).parents[3] / "demo" / "digits.onnx")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for bits in (8, 4):
        options = {"quant_type": "WeightQuant", "bit_num": bits, "quant_weight_channel": 0, "threads": 1}
        bitlite.convert(DIGITS, folder / f"w{bits}", report=f"{folder}/w{bits}.json,{folder}/w{bits}.html", **options)
    return folder


@pytest.mark.parametrize("endings", [("json", "json"), ("html", "json")])
def test_two_reports_are_told_with_the_operators_that_differ(reports, capsys, monkeypatch, endings):
    monkeypatch.setenv("COLUMNS", "80")
    a, b = (f"{reports}/w{bits}.{ending}" for bits, ending in zip((8, 4), endings))
    assert main(["--compareReport", a, b]) == 0
    out = capsys.readouterr().out
    sizes = {bits: (reports / f"w{bits}.ms").stat().st_size for bits in (8, 4)}
    assert "A: digits.onnx → w8.ms" in out and f"{sizes[8]:,}" in out and f"{sizes[4]:,}" in out
    losses = out[out.index("dB so far A") :]
    assert "conv3" in losses and "-" in losses
    assert all(len(line) <= 80 for line in out.splitlines())


def test_both_stand_on_one_page_and_in_one_json(reports, tmp_path):
    flags = [f"--compareReport={reports}/w8.json,{reports}/w4.json", f"--report={tmp_path}/c.html,{tmp_path}/c.json"]
    assert main(flags) == 0
    document = json.loads((tmp_path / "c.json").read_text())
    assert [next(iter(run["files"]))[-5:] for run in document["reports"]] == ["w8.ms", "w4.ms"]
    assert "w8.ms and digits.onnx → w4.ms" in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize(
    "text, words",
    [(None, "no such file"), ("{", "is no report"), ("[1]", "is no report"), ('{"kind": "model"}', "of one run")],
)
def test_what_is_no_report_is_refused(reports, tmp_path, capsys, text, words):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    assert main([f"--compareReport={reports}/w8.json,{tmp_path}/x.json"]) != 0
    err = capsys.readouterr().err
    assert "x.json" in err and words in err.lower() and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--compareReport=a.json"], "must have 2 values"),
        (["--compareReport=a.json,b.json", "--loopCount=3"], "runs nothing"),
        ([f"--modelFile={DIGITS}", "--graph=g.png"], ".svg or .html"),
        ([f"--modelFile={DIGITS}", "--cpu=3"], "must have 2 or 3 or 4 values"),
    ],
)
def test_flags_that_make_no_sense_are_refused(capsys, flags, words):
    assert main(flags) != 0
    assert words in capsys.readouterr().err


def test_a_graph_is_drawn_of_what_was_read_and_of_what_was_written(reports, tmp_path):
    for name, source in (("read", DIGITS), ("written", f"{reports}/w8.ms")):
        assert main([f"--modelFile={source}", f"--graph={tmp_path}/{name}.svg"]) == 0
        root = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        labels = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert "Conv" in labels and "FullyConnected" in labels


def test_a_model_has_a_page_without_being_run(tmp_path, capsys):
    assert main([f"--modelFile={DIGITS}", "--info", f"--report={tmp_path}/i.html", f"--graph={tmp_path}/g.html"]) == 0
    assert "operators" in capsys.readouterr().out
    assert (tmp_path / "i.html").read_text() == (tmp_path / "g.html").read_text()


def test_a_forecast_is_told(capsys):
    assert main([f"--modelFile={DIGITS}", "--cpu=1,1", "--loopCount=1"]) == 0
    assert "Forecast for that CPU: " in capsys.readouterr().out
