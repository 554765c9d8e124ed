"""Searches for a goal: what is found, the same every time, what is said when it is missed, interrupted, resumed."""

from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import DataError, UsageError
from bitlite.quant.search.weight_family import WeightFamily
from bitlite.tools.converter_lite import main

DEMO = Path(__file__).parents[2] / "demo" / "digits.onnx"
DATA = [np.random.default_rng(k).random((1, 1, 8, 8), np.float32) for k in range(30)]
GIVEN = {"quant_type": "WeightQuant", "quant_weight_channel": 0, "gain_gate": False, "calibration_data": DATA}


@pytest.fixture(scope="module")
def labels():
    session = bitlite.load(str(DEMO))
    return [int(next(iter(session.run({session.inputs[0].name: x}).values())).argmax()) for x in DATA]


@pytest.mark.slow
def test_less_that_may_be_lost_takes_more_bytes_and_all_goals_are_met(tmp_path):
    sizes = []
    for limit in ("10dB", "20dB", "30dB"):
        report = bitlite.convert(DEMO, tmp_path / "m.ms", max_drop=limit, **GIVEN)
        assert report.search.met and report.fidelity.worst.sqnr >= float(limit[:2])
        assert report.search.best.bytes == (tmp_path / "m.ms").stat().st_size
        sizes.append(report.search.best.bytes)
    assert sizes == sorted(set(sizes))
    assert not list(tmp_path.glob("*.search"))


@pytest.mark.parametrize("limit", ["0.99cos", *(pytest.param(limit, marks=pytest.mark.slow) for limit in ("1", "5%"))])
def test_a_goal_in_any_unit_is_met_on_the_samples_that_judge(tmp_path, labels, limit):
    report = bitlite.convert(DEMO, tmp_path / "m.ms", max_drop=limit, labels=labels, **GIVEN)
    assert report.search.met and report.fidelity.held_back and report.fidelity.samples >= 10
    assert min(row.bits for row in report.layers) < 8
    assert any(note.startswith("max_drop: ") for note in report.notes)
    assert report.as_dict()["search"]["met"]


def test_a_metric_of_the_user_decides(tmp_path):
    session = bitlite.load(str(DEMO))
    want = [next(iter(session.run({session.inputs[0].name: x}).values())) for x in DATA]

    def closeness(outputs, labels):
        return [-float(np.abs(next(iter(o.values())) - y).mean()) for o, y in zip(outputs, labels)]

    report = bitlite.convert(DEMO, tmp_path / "m.ms", max_drop=0.02, labels=want, metric=closeness, **GIVEN)
    assert report.search.met and report.fidelity.score.drop <= 0.02


@pytest.mark.slow
def test_with_a_size_the_best_within_it_is_found_and_a_missed_goal_is_said(tmp_path, capsys):
    report = bitlite.convert(DEMO, tmp_path / "m.ms", max_drop="60dB", target_size=0.3, **GIVEN)
    assert not report.search.met and (tmp_path / "m.ms").stat().st_size <= 0.3 * DEMO.stat().st_size
    assert any(note.startswith("warning: the goal is missed (at least 60.0 dB") for note in report.notes)
    np.save(tmp_path / "data.npy", np.concatenate(DATA))
    flags = [f"--modelFile={DEMO}", f"--outputFile={tmp_path / 'm'}", "--quantType=WeightQuant"]
    flags += [f"--calibratePath={tmp_path / 'data.npy'}", "--quantWeightChannel=0", "--gainGate=off"]
    assert main([*flags, "--maxDrop=60dB", "--targetSize=0.3"]) == 0
    assert "the goal is missed" in capsys.readouterr().err
    assert main([*flags, "--maxDrop=25dB"]) == 0
    shown = capsys.readouterr().out
    assert "asked for: at least 25.0 dB" in shown and "meets" in shown


@pytest.mark.slow
def test_the_same_bytes_come_of_any_number_of_threads(tmp_path):
    files = []
    for threads in (1, 3):
        bitlite.convert(DEMO, tmp_path / "m.ms", max_drop="25dB", threads=threads, **GIVEN)
        files.append((tmp_path / "m.ms").read_bytes())
    assert files[0] == files[1]


INTEGER = {"quant_type": "PostTraining", "calibration_data": DATA}


def test_integers_get_fewer_bits_where_the_goal_allows_it_and_meet_it(tmp_path):
    plain = bitlite.convert(DEMO, tmp_path / "m.ms", **INTEGER)
    found = bitlite.convert(DEMO, tmp_path / "m.ms", max_drop="15dB", **INTEGER)
    assert found.search.met and found.fidelity.worst.sqnr >= 15
    assert min(row.bits for row in found.layers) < 8
    assert found.search.best.bytes == (tmp_path / "m.ms").stat().st_size < next(iter(plain.files.values()))


def test_where_integers_lose_too_much_operators_go_to_float_until_the_goal_is_met(tmp_path):
    plain = bitlite.convert(DEMO, tmp_path / "m.ms", **INTEGER)
    wanted = plain.fidelity.worst.sqnr + 6
    found = bitlite.convert(DEMO, tmp_path / "m.ms", max_drop=f"{wanted:.1f}dB", **INTEGER)
    assert found.search.met and found.fidelity.worst.sqnr >= wanted - 0.05
    assert any(trial.form.floats for trial in found.search.trials)


def test_integers_within_a_size_and_what_no_file_can_be_is_said(tmp_path):
    size = next(iter(bitlite.convert(DEMO, tmp_path / "m.ms", **INTEGER).files.values()))
    found = bitlite.convert(DEMO, tmp_path / "m.ms", target_size=int(0.8 * size), **INTEGER)
    assert found.search.met and (tmp_path / "m.ms").stat().st_size <= 0.8 * size
    with pytest.raises(UsageError, match="the smallest file has"):
        bitlite.convert(DEMO, tmp_path / "n.ms", target_size=1000, **INTEGER)
    assert not list(tmp_path.glob("*.search"))


def test_a_time_is_met_or_said_to_be_missed(tmp_path):
    for time, met in (("10000ms", True), ("0.000001ms", False)):
        found = bitlite.convert(DEMO, tmp_path / "m.ms", target_time=time, **INTEGER)
        assert found.search.met is met and found.search.best.seconds > 0
        assert any("the goal is missed" in note for note in found.notes) is not met


class _Interrupts:
    """WeightFamily.make that is interrupted at its n-th call."""

    def __init__(self, monkeypatch, at):
        self.calls, self.at = 0, at
        make = WeightFamily.make

        def counted(family, form):
            self.calls += 1
            if self.calls == self.at:
                raise KeyboardInterrupt
            return make(family, form)

        monkeypatch.setattr(WeightFamily, "make", counted)


@pytest.mark.slow
def test_an_interrupted_search_writes_the_best_so_far_and_goes_on(tmp_path, monkeypatch):
    options = {"max_drop": "25dB", **GIVEN}
    whole = bitlite.convert(DEMO, tmp_path / "whole.ms", **options)
    with monkeypatch.context() as patch:
        _Interrupts(patch, 3)
        report = bitlite.convert(DEMO, tmp_path / "m.ms", **options)
        assert report.search.interrupted and len(report.search.trials) == 2
        assert any(note.startswith("warning: interrupted: ") for note in report.notes)
    assert (tmp_path / "m.ms").exists() and (tmp_path / "m.ms.search").exists()
    with monkeypatch.context() as patch:
        counter = _Interrupts(patch, 0)
        resumed = bitlite.convert(DEMO, tmp_path / "m.ms", resume=True, **options)
    assert any(note.startswith("resume: 3 steps") for note in resumed.notes)
    assert counter.calls <= len(whole.search.trials) - 1
    assert (tmp_path / "m.ms").read_bytes() == (tmp_path / "whole.ms").read_bytes()
    assert not (tmp_path / "m.ms.search").exists()


def test_interrupted_before_any_form_was_tried_nothing_is_written(tmp_path, monkeypatch):
    _Interrupts(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        bitlite.convert(DEMO, tmp_path / "m.ms", max_drop="25dB", **GIVEN)
    assert not (tmp_path / "m.ms").exists()


def test_a_journal_of_another_search_is_not_gone_on_with(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _Interrupts(patch, 2)
        bitlite.convert(DEMO, tmp_path / "m.ms", max_drop="25dB", **GIVEN)
    report = bitlite.convert(DEMO, tmp_path / "m.ms", max_drop="20dB", resume=True, **GIVEN)
    assert any("has none of this search" in note for note in report.notes)
    (tmp_path / "m.ms.search").write_text("no journal")
    with pytest.raises(DataError, match=r"m\.ms\.search: is no journal"):
        bitlite.convert(DEMO, tmp_path / "m.ms", max_drop="25dB", resume=True, **GIVEN)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_drop": 0.5}, "points are of top-1 or of a metric"),
        ({"max_drop": "2 apples"}, "must be points"),
        ({"max_drop": "1.5cos"}, "must be points"),
        ({"max_drop": -1}, "must be points"),
        ({"max_drop": True}, "cannot be a bool"),
        ({"max_drop": "20dB", "quant_type": "DynamicQuant"}, "is for WeightQuant"),
        ({"max_drop": "20dB", "mixed": True}, "one of them"),
        ({"max_drop": "20dB", "bit_num": 4}, "asks for 4"),
        ({"max_drop": "20dB", "calibration_data": None}, "needs calibration data"),
        ({"resume": True}, "no effect without a search"),
        ({"target_time": 0.5}, "is for PostTraining"),
        ({"max_drop": "20dB", "quant_type": "PostTraining", "conv_group": True}, "one of them"),
        ({"target_time": "fast"}, "must be milliseconds"),
        ({"max_drop": "20dB", "quant_type": "PostTraining", "output_format": "C"}, "C code"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        bitlite.convert(DEMO, tmp_path / "m.ms", **(GIVEN | options))
    assert not (tmp_path / "m.ms").exists()


def test_from_python_a_search_gives_its_trials_as_a_table(tmp_path):
    found = bitlite.search(DEMO, DATA, quant_type="WeightQuant", max_drop="20dB", quant_weight_channel=0)
    assert found.met and found.best in found.trials and found.report.search is found.found
    shown = repr(found)
    assert "WeightQuant, at least 20.0 dB: met" in shown and f"{found.best.bytes:,}" in shown
    assert "<table" in found._repr_html_()
    bitlite.search(DEMO, DATA, tmp_path / "m.ms", max_drop="10dB")
    assert (tmp_path / "m.ms").exists()
    with pytest.raises(UsageError, match="needs a goal"):
        bitlite.search(DEMO, DATA)


@pytest.mark.parametrize("kind", [pytest.param("WeightQuant", marks=pytest.mark.slow), "PostTraining"])
def test_mixed_searches_for_the_smallest_file_within_the_mean_error(tmp_path, kind):
    options = {"quant_type": kind, "calibration_data": DATA, "quant_weight_channel": 0, "cost": False}
    sizes = []
    for threshold in (0.05, 0.3):
        report = bitlite.convert(DEMO, tmp_path / "m.ms", mixed=True, mean_error_threshold=threshold, **options)
        assert report.search.met and report.search.best.loss.unit == "error"
        assert report.search.best.loss.value <= threshold
        sizes.append((tmp_path / "m.ms").stat().st_size)
    assert sizes[0] > sizes[1]
