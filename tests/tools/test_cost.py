from __future__ import annotations

import json
import math
import re
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.tools import cost, read_back
from bitlite.tools.converter_lite import main

DEMO = Path(__file__).parents[2] / "demo" / "digits.onnx"
DATA = [np.random.default_rng(k).random((1, 1, 8, 8), np.float32) for k in range(40)]


@pytest.mark.parametrize("quant_type", ["WeightQuant", "DynamicQuant"])
def test_without_data_outputs_are_compared_on_a_random_input_and_said_to_be(tmp_path, quant_type):
    report = bitlite.convert(DEMO, tmp_path / "m.ms", quant_type=quant_type)
    assert report.fidelity is not None and report.fidelity.random and report.fidelity.samples == 1
    lines = str(report).splitlines()
    assert "on a random input, there are no data" in lines[-2] and lines[-1].startswith("one run: ")


def test_with_data_outputs_are_compared_on_samples_that_were_held_back(tmp_path):
    for options in ({"quant_type": "PostTraining"}, {"quant_type": "WeightQuant", "bit_num": 4}):
        report = bitlite.convert(DEMO, tmp_path / "m.ms", calibration_data=DATA, **options)
        assert report.fidelity is not None and not report.fidelity.random and report.fidelity.held_back
        assert report.run_time is not None and math.isfinite(report.run_time.before.low + report.run_time.after.low)


def test_fewer_bits_cost_more(tmp_path):
    lost = [bitlite.convert(DEMO, tmp_path / "m.ms", quant_type="WeightQuant", bit_num=b).fidelity for b in (8, 3)]
    assert lost[0].worst.sqnr > lost[1].worst.sqnr + 10


def test_json_has_the_cost_and_the_file_is_the_same_without(tmp_path):
    def convert(name, **options):
        report = tmp_path / f"{name}.json"
        bitlite.convert(DEMO, tmp_path / f"{name}.ms", quant_type="WeightQuant", report=str(report), **options)
        return (tmp_path / f"{name}.ms").stat().st_size, json.loads(report.read_text())

    size, with_cost = convert("a")
    assert with_cost["fidelity"]["random"] and with_cost["threads"] == 1
    other, without = convert("b", cost=False)
    assert without["fidelity"] is None and other == pytest.approx(size, abs=64)


@pytest.mark.parametrize(
    ("options", "tries"),
    [
        (
            {"quant_type": "PostTraining", "calibration_data": DATA},
            "target_time=1 looks for .*quant_type='WeightQuant'",
        ),
        ({"quant_type": "DynamicQuant"}, "quant_type='WeightQuant' is as small"),
        ({"quant_type": "WeightQuant"}, ""),
    ],
)
def test_integers_that_are_slower_than_float_say_so_and_what_to_try(tmp_path, monkeypatch, options, tries):
    for share, said in ((0.9, False), (1.2, bool(tries))):
        monkeypatch.setattr(cost.RunTime, "share", share)
        report = bitlite.convert(DEMO, tmp_path / "m.ms", **options)
        (*found,) = [n for n in report.notes if n.startswith("slower than float on this CPU: ")]
        assert len(found) == said and (not said or re.search(tries, found[0]))


def test_a_model_too_large_to_run_says_that_its_cost_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(read_back, "LARGEST", 100)
    report = bitlite.convert(DEMO, tmp_path / "m.ms", quant_type="WeightQuant")
    assert report.run_time is None and any(n.startswith("cost: not measured: ") for n in report.notes)


def test_the_command_ends_with_the_cost(tmp_path, capsys):
    flags = ["--fmk=ONNX", f"--modelFile={DEMO}", f"--outputFile={tmp_path / 'm'}", "--quantType=WeightQuant"]
    assert main(flags) == 0
    shown = capsys.readouterr().out
    assert "against float: output" in shown and "of float's" in shown
    assert main([*flags, "--cost=false"]) == 0
    assert "of float's" not in capsys.readouterr().out


def test_a_conversion_without_quantization_costs_nothing(tmp_path):
    report = bitlite.convert(DEMO, tmp_path / "m.ms")
    assert report.fidelity is None and report.run_time is None


def dark(tmp_path):
    """Samples that are all alike, of which the look at the data warns."""
    return ["--quantType=PostTraining", f"--calibratePath=image:{tmp_path}/x.npy", "--calibrateSize=24"]


def test_warnings_stand_out_on_stderr_also_when_nothing_else_is_shown(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.ones((24, 1, 8, 8), np.float32))
    flags = ["--fmk=ONNX", f"--modelFile={DEMO}", f"--outputFile={tmp_path / 'm'}", *dark(tmp_path)]
    assert main([*flags, "--quiet"]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("WARNING: ") and "note: warning" not in shown.out
    assert main([*flags, "--strict"]) == 3
    assert capsys.readouterr().err.startswith("ERROR: ")


def test_strict_writes_nothing_and_says_the_first_warning(tmp_path):
    data = [np.ones((1, 1, 8, 8), np.float32)] * 24
    with pytest.raises(bitlite.StrictError, match=r"repeat another.*more warnings.*strict=False"):
        bitlite.convert(DEMO, tmp_path / "m.ms", quant_type="PostTraining", calibration_data=data, strict=True)
    assert not (tmp_path / "m.ms").exists()
    bitlite.convert(DEMO, tmp_path / "m.ms", quant_type="WeightQuant", strict=True)
