"""labels and metric of a conversion: how outputs are scored on the samples that nothing is fitted to."""

from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import DataError, UsageError
from bitlite.tools.converter_lite import main

DEMO = Path(__file__).parents[2] / "demo" / "digits.onnx"
DATA = [np.random.default_rng(k).random((1, 1, 8, 8), np.float32) for k in range(60)]
CONVERSIONS = [
    {"quant_type": "PostTraining"},
    {"quant_type": "WeightQuant", "bit_num": 2},
    {"quant_type": "WeightQuant", "bit_num": 2, "weight_rounding": "nearest"},
]


@pytest.fixture(scope="module")
def labels():
    """What the float model says."""
    session = bitlite.load(str(DEMO))
    return [int(next(iter(session.run({session.inputs[0].name: x}).values())).argmax()) for x in DATA]


@pytest.mark.parametrize("options", CONVERSIONS)
def test_labels_give_top1_before_and_after_of_all_samples_held_back(tmp_path, labels, options):
    report = bitlite.convert(DEMO, tmp_path / "m.ms", calibration_data=DATA, labels=labels, **options)
    score = report.fidelity.score
    assert score.name == "top-1" and score.before == 1.0 and score.after <= 1.0
    assert score.samples == report.fidelity.samples >= 6
    assert report.as_dict()["fidelity"]["score"]["after"] == score.after


def test_labels_are_those_of_their_samples(tmp_path, labels):
    wrong = [(label + 1) % 10 for label in labels]
    options = {"quant_type": "PostTraining", "calibration_data": DATA}
    assert bitlite.convert(DEMO, tmp_path / "m.ms", labels=np.array(wrong), **options).fidelity.score.before == 0.0


def test_the_file_does_not_depend_on_labels(tmp_path, labels):
    options = {"quant_type": "PostTraining", "calibration_data": DATA}
    with_labels, without = (tmp_path / name for name in ("a.ms", "b.ms"))
    bitlite.convert(DEMO, with_labels, labels=labels, **options)
    bitlite.convert(DEMO, without, **options)
    assert with_labels.read_bytes() == without.read_bytes()


def test_a_metric_of_the_user_is_called_with_outputs_by_name_and_labels(tmp_path, labels):
    names = set()

    def right(outputs, labels):
        names.update(name for output in outputs for name in output)
        return [float(o[name].argmax() == label) for o, label in zip(outputs, labels) for name in o]

    options = {"quant_type": "PostTraining", "calibration_data": DATA, "labels": labels}
    by_metric = bitlite.convert(DEMO, tmp_path / "m.ms", metric=right, **options).fidelity.score
    by_labels = bitlite.convert(DEMO, tmp_path / "m.ms", **options).fidelity.score
    assert by_metric.name == "right" and names == {p.name for p in bitlite.load(str(DEMO)).outputs}
    assert (by_metric.before, by_metric.after) == (by_labels.before, by_labels.after)


def test_labels_of_a_file_are_matched_to_the_files_by_name(tmp_path, labels):
    data = tmp_path / "data"
    data.mkdir()
    for k, x in enumerate(DATA):
        np.save(data / f"{k:03}.npy", x)
    lines = [f"{k:03}.npy {label}" for k, label in enumerate(labels)]
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(lines[::-1]))
    options = {"quant_type": "PostTraining", "calibration_data": str(data)}
    assert bitlite.convert(DEMO, tmp_path / "m.ms", labels=file, **options).fidelity.score.before == 1.0
    file.write_text("\n".join(map(str, labels)))
    assert bitlite.convert(DEMO, tmp_path / "m.ms", labels=str(file), **options).fidelity.score.before == 1.0


def test_labels_of_samples_that_are_left_out_are_left_out(tmp_path, labels):
    options = {"quant_type": "PostTraining", "calibration_data": DATA, "calibrate_size": 40, "labels": labels}
    assert bitlite.convert(DEMO, tmp_path / "m.ms", **options).fidelity.score.before == 1.0


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"labels": [1, 2]}, DataError, "labels: 2 labels are given for 60 samples"),
        ({"labels": [1] * 61}, DataError, "61 labels are given for 60 samples"),
        ({"labels": "nothing.txt"}, DataError, "nothing.txt"),
        ({"labels": 3}, UsageError, "labels=3: cannot be a int"),
        ({"metric": "accuracy"}, UsageError, "metric='accuracy': cannot be a str"),
        ({"labels": [0] * 60, "calibration_data": None}, UsageError, "there are none"),
        ({"labels": [0] * 60, "quant_type": None}, UsageError, "no effect without a quantization type"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path, options, kind, message):
    given = {"quant_type": "WeightQuant", "calibration_data": DATA} | options
    with pytest.raises(kind, match=message):
        bitlite.convert(DEMO, tmp_path / "m.ms", **given)
    assert not (tmp_path / "m.ms").exists()


def test_dynamic_quantization_says_that_it_uses_no_labels(tmp_path, labels):
    report = bitlite.convert(DEMO, tmp_path / "m.ms", quant_type="DynamicQuant", calibration_data=DATA, labels=labels)
    assert any("not used by DynamicQuant" in note and "labels" in note for note in report.notes)


def test_the_command_takes_a_file(tmp_path, labels, capsys):
    np.save(tmp_path / "data.npy", np.concatenate(DATA))
    (tmp_path / "labels.txt").write_text("\n".join(map(str, labels)))
    flags = [f"--modelFile={DEMO}", f"--outputFile={tmp_path / 'm'}", "--quantType=PostTraining"]
    flags += [f"--calibratePath={tmp_path / 'data.npy'}", f"--labels={tmp_path / 'labels.txt'}"]
    assert main(flags) == 0
    assert main([*flags, f"--metric={tmp_path}"]) == 168
    assert "--metric is not a known flag" in capsys.readouterr().err
