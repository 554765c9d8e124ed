"""A directory of samples through a model, by workers: the figures of one process."""

import json
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.tools.benchmark import main
from bitlite.tools.evaluation import stacked

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "demo" / "digits.onnx")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """The flags of a comparison on 30 labelled samples."""
    folder = tmp_path_factory.mktemp("evaluation")
    with np.load(ROOT / "demo" / "heldout.npz") as data:
        images, labels = data["x"][:30], data["y"][:30]
    (folder / "samples").mkdir()
    for k, image in enumerate(images):
        np.save(folder / "samples" / f"{k:02}.npy", image[None])
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    bitlite.convert(DIGITS, folder / "m", quant_type="WeightQuant", bit_num=3, quant_weight_channel=0)
    return [
        f"--modelFile={DIGITS}", f"--compareWith={folder}/m.ms", f"--inDataFile={folder}/samples",
        f"--labelsFile={folder}/labels.txt", "--loopCount=1", "--warmUpLoopCount=0", "--quiet",
    ]  # fmt: skip


def figures(flags, path):
    assert main([*flags, f"--report={path}"]) == 0
    report = json.loads(path.read_text())
    return {key: report[key] for key in ("top_k", "agreement", "top1_difference", "comparison")}


def test_figures_of_two_processes_are_those_of_one(evaluation, tmp_path):
    expected = figures(evaluation, tmp_path / "one.json")
    assert expected["comparison"]["bias_percent"] > 0
    assert figures([*evaluation, "--workers=2"], tmp_path / "two.json") == expected


def test_a_damaged_sample_is_named(evaluation, tmp_path, capsys):
    for k in range(6):
        np.save(tmp_path / f"{k}.npy", np.zeros((1, 1, 8, 8), np.float32) if k != 4 else np.full((1, 1, 8, 8), np.nan))
    flags = [flag for flag in evaluation if "labels" not in flag and "inData" not in flag]
    assert main([*flags, f"--inDataFile={tmp_path}", "--workers=2"]) != 0
    assert f"{tmp_path}/4.npy" in capsys.readouterr().err


def test_workers_without_a_directory_are_refused(capsys):
    assert main([f"--modelFile={DIGITS}", "--workers=2"]) == 168
    assert "workers run a directory of samples; try --inDataFile=DIR" in capsys.readouterr().err


def test_outputs_of_samples_stand_one_after_the_other_and_what_does_not_fit_is_named():
    parts = [np.full((rows, 3), rows, np.float32) for rows in (1, 1, 4, 2)]
    mine, theirs = stacked([({"y": part}, {}) for part in parts], 4)
    assert np.array_equal(mine["y"], np.concatenate(parts)) and not theirs
    with pytest.raises(DataError, match=r"output 'y': sizes \[1, 4\] after \[3\]"):
        stacked([({"y": parts[0]}, {}), ({"y": np.zeros((1, 4), np.float32)}, {})], 2)
