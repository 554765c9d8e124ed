"""Top-1 by labels and metrics of users: values, errors of paired differences, what does not fit."""

import math

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.quant.ptq.fidelity import hold_back
from bitlite.quant.score import Scoring


def outputs(classes, width=5):
    return [{"y": np.eye(width, dtype=np.float32)[c][None]} for c in classes]


def test_top1_counts_right_answers_and_the_error_is_that_of_paired_differences():
    labels = (0, 1, 2, 3, 4, 0, 1, 2)
    score = Scoring(labels).compare(outputs(labels), outputs((0, 1, 2, 3, 4, 1, 0, 2)))
    assert (score.name, score.before, score.after, score.samples) == ("top-1", 1.0, 0.75, 8)
    assert score.drop == pytest.approx(25) and "100 → 75" in score.text()
    apart = np.array([0, 0, 0, 0, 0, -1, -1, 0])
    assert score.error == pytest.approx(apart.std(ddof=1) / math.sqrt(8))


def test_what_both_get_wrong_has_no_error():
    score = Scoring((0, 0)).compare(outputs((1, 0)), outputs((1, 0)))
    assert score.drop == 0 and score.error == 0


def test_several_labels_of_a_sample_are_those_of_its_rows():
    values = [{"y": np.array([[1.0, 0, 0], [0, 1.0, 0]])}]
    assert Scoring(([0, 1],)).values(values) == [1.0]
    assert Scoring(([0, 2],)).values(values) == [0.5]


def test_the_output_that_has_the_classes_is_taken():
    values = [{"box": np.zeros((1, 4)), "y": np.eye(10)[7][None]}]
    assert Scoring((7,)).values(values) == [1.0]


def mean_value(outputs, labels):
    return np.mean([o["y"].sum() + sum(labels) for o in outputs])


def test_a_metric_of_all_samples_has_the_error_that_its_mean_has():
    rng = np.random.default_rng(3)
    before, after = ([{"y": rng.normal(k, 1, 4)} for _ in range(40)] for k in (1, 0))
    whole = Scoring(metric=mean_value).compare(before, after)
    each = Scoring(metric=lambda outputs, labels: [o["y"].sum() for o in outputs]).compare(before, after)
    assert whole.name == "mean_value"
    assert (whole.before, whole.after) == pytest.approx((each.before, each.after))
    assert whole.error == pytest.approx(each.error, rel=0.5)


def test_a_metric_gets_labels_of_any_kind_of_the_samples_it_is_asked_about():
    seen = []

    def metric(outputs, labels):
        seen.append((len(outputs), labels))
        return [1.0] * len(outputs)

    Scoring(("a", "b", "c"), metric).only([0, 2]).values(outputs((1, 2)))
    assert seen == [(2, ["a", "c"])]


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        (Scoring((9, 9)), "no class of an output: they are 'y'"),
        (Scoring((-1, 0)), "no class"),
        (Scoring(("cat", "dog")), "'cat' is no class number"),
        (Scoring(metric=lambda outputs, labels: outputs[0]["z"]), "KeyError: 'z'"),
        (Scoring(metric=lambda outputs, labels: np.nan), "NaN"),
        (Scoring(metric=lambda outputs, labels: [1, 2, 3]), r"returns \[3\] values for 2 samples"),
        (Scoring(metric=lambda outputs, labels: "good"), "could not convert"),
    ],
)
def test_what_does_not_fit_is_named(scoring, message):
    with pytest.raises(DataError, match=message):
        scoring.compare(outputs((0, 1)), outputs((0, 1)))


def test_all_samples_that_are_left_are_scored():
    fitted, held = hold_back(400, 64, scored=True)
    assert fitted == hold_back(400, 64)[0] and sorted(fitted + held) == list(range(400))
