"""The front of a model's forms: what is on it, what its folder holds, and that it goes on where it was interrupted."""

import csv
from pathlib import Path
from xml.etree import ElementTree

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import OutputError, UsageError
from bitlite.quant.search.integer_family import IntegerFamily
from bitlite.quant.search.weight_family import WeightFamily
from bitlite.tools.converter_lite import main

DEMO = Path(__file__).parents[2] / "demo" / "digits.onnx"
DATA = [np.random.default_rng(k).random((1, 1, 8, 8), np.float32) for k in range(30)]
WEIGHTS = {"quant_weight_channel": 0, "gain_gate": False}
KINDS = [("PostTraining", {}), ("WeightQuant", WEIGHTS)]
FAMILY = {"PostTraining": IntegerFamily, "WeightQuant": WeightFamily}


def table(folder):
    with open(folder / "pareto.csv", newline="") as file:
        return list(csv.DictReader(file))


def models(folder):
    return {path.name: path.read_bytes() for path in folder.glob("m-*.ms")}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_the_folder_holds_the_files_of_the_front_a_table_and_a_picture(tmp_path, kind, options):
    folder = tmp_path / "front"
    found = bitlite.search(DEMO, DATA, tmp_path / "m", quant_type=kind, pareto=str(folder), **options)
    assert len(found.front) > 2 and {t.bytes for t in found.front} <= {t.bytes for t in found.trials}
    rows = table(folder)
    assert len(rows) == len(found.trials)
    files = {row["file"]: int(row["bytes"]) for row in rows if row["front"]}
    assert files == {name: len(data) for name, data in models(folder).items()}
    for name in files:
        bitlite.load(str(folder / name))
    for small, large in zip(found.front, found.front[1:]):
        assert small.bytes <= large.bytes
        assert small.loss.cost > large.loss.cost or small.share is not None
    picture = ElementTree.parse(folder / "pareto.svg").getroot()
    assert len(picture.findall("{*}circle")) == len(found.trials)
    assert (tmp_path / "m.ms").exists() and not list(tmp_path.glob("*.search"))


@pytest.mark.slow
def test_a_goal_decides_what_is_written_and_the_front_is_the_same(tmp_path):
    given = {"quant_type": "WeightQuant", **WEIGHTS}
    plain = bitlite.search(DEMO, DATA, tmp_path / "m", pareto=str(tmp_path / "a"), **given)
    goal = bitlite.search(DEMO, DATA, tmp_path / "m", pareto=str(tmp_path / "b"), max_drop="20dB", **given)
    assert goal.met and goal.report.fidelity.worst.sqnr >= 20
    assert {t.form.key for t in plain.trials} <= {t.form.key for t in goal.trials}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_an_interrupted_front_shows_what_there_is_and_goes_on(tmp_path, monkeypatch, kind, options):
    given = {"quant_type": kind, "calibration_data": DATA, **options}
    whole = bitlite.convert(DEMO, tmp_path / "w", pareto=str(tmp_path / "whole"), **given)
    make, made = FAMILY[kind].make, []

    def interrupted(self, form):
        made.append(form)
        if len(made) == 4:
            raise KeyboardInterrupt
        return make(self, form)

    folder = tmp_path / "front"
    monkeypatch.setattr(FAMILY[kind], "make", interrupted)
    part = bitlite.convert(DEMO, tmp_path / "m", pareto=str(folder), **given)
    assert part.search.interrupted and len(part.search.trials) == 3 == len(table(folder))
    done = bitlite.convert(DEMO, tmp_path / "m", pareto=str(folder), resume=True, **given)
    assert [t.form for t in done.search.trials] == [t.form for t in whole.search.trials]
    assert [t.bytes for t in done.search.trials] == [t.bytes for t in whole.search.trials]
    assert set(models(folder)) == {row["file"] for row in table(folder) if row["front"]}


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"mine: holds files that are not bitlite's"):
        bitlite.search(DEMO, DATA, pareto=str(tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_what_has_no_front_is_refused(tmp_path, capsys):
    with pytest.raises(UsageError, match=r"pareto.*: needs calibration data"):
        bitlite.convert(DEMO, tmp_path / "m", quant_type="PostTraining", pareto=str(tmp_path / "f"))
    with pytest.raises(UsageError, match="files of one format"):
        bitlite.search(DEMO, DATA, pareto=str(tmp_path / "f"), output_format="MS,TFLITE")
    flags = [f"--modelFile={DEMO}", f"--outputFile={tmp_path / 'm'}", f"--pareto={tmp_path / 'f'}"]
    assert main(flags) == 168
    assert "--pareto" in capsys.readouterr().err
