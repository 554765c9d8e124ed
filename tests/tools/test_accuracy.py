"""The comparison rules of the benchmark tool."""

import math

import numpy as np
import pytest
from bitlite.tools.accuracy import AccuracyError, compare, cosine, mean_bias, sqnr


def bias_element_by_element(out, ref):
    """The rule as the real tool's source spells it."""
    total, wrong = 0.0, 0
    for x, y in zip(out, ref):
        error = abs(x - y)
        if error > 1e-8 + 1e-5 * abs(y):
            if abs(y) < 2**-23:
                if error > 1e-5:
                    total, wrong = total + error, wrong + 1
            else:
                total, wrong = total + error / (abs(y) + 2**-126), wrong + 1
    return total / wrong if wrong else 0.0


def test_mean_bias_is_the_real_tools_rule():
    chance = np.random.default_rng(0)
    for _ in range(50):
        ref = chance.normal(size=40) * chance.choice([0, 1e-9, 1e-4, 1, 1e6], 40)
        out = ref * (1 + chance.choice([0, 1e-6, 1e-5, 1e-3], 40)) + chance.choice([0, 1e-9, 2e-5], 40)
        assert mean_bias(out, ref) == pytest.approx(bias_element_by_element(out, ref), rel=1e-12)


def test_only_wrong_elements_count():
    ref = np.ones(100)
    out = ref.copy()
    out[0] = 1.5
    assert mean_bias(out, ref) == 0.5
    assert mean_bias(ref, ref) == 0


def test_cosine_of_any_size():
    a = np.array([3.0, 4.0])
    assert cosine(a, a) == pytest.approx(1)
    assert cosine(a, -a) == pytest.approx(-1)
    assert cosine(a, np.array([-4.0, 3.0])) == pytest.approx(0)
    assert cosine(a * 1e-200, a * 1e200) == pytest.approx(1)
    assert cosine(np.zeros(2), np.zeros(2)) == 1
    assert cosine(np.zeros(2), a) == 0


def test_sqnr():
    assert sqnr(np.ones(10), np.ones(10) + 0.1) == pytest.approx(20)
    assert sqnr(np.ones(3), np.ones(3)) == math.inf


def test_comparison_of_two_outputs():
    ref = {"a": np.array([[1.0, 2.0]]), "b": np.array([4.0])}
    seen = compare({"b": np.array([4.4]), "a": np.array([[1.0, 2.0]])}, ref)
    assert seen.bias == pytest.approx(5)
    assert seen.lines()[0] == "================ Comparing Output data ================"
    assert "Data of node a : 1 2" in seen.lines()
    assert "Mean bias of node/tensor a : 0%" in seen.lines()
    assert "Mean bias of node/tensor b : 10%" in seen.lines()
    assert seen.lines()[-1] == "Mean bias of all nodes/tensors: 5%"
    seen.check(accuracy_threshold=5.1)
    with pytest.raises(AccuracyError, match="too big: 5%"):
        seen.check(accuracy_threshold=4.9)


def test_a_failure_that_small_values_decide_says_so():
    ref = np.array([0.9, 0.1, 1e-6])
    seen = compare({"y": ref * [1.001, 0.999, 1.5]}, {"y": ref})
    with pytest.raises(
        AccuracyError, match=r"together are 0\.1% of the values: small values decide; cosine 1\.0"
    ) as stopped:
        seen.check(accuracy_threshold=3)
    assert "--cosineDistanceThreshold" in stopped.value.hint
    with pytest.raises(AccuracyError) as stopped:
        compare({"y": ref * 1.05}, {"y": ref}).check(accuracy_threshold=3)
    assert "decide" not in str(stopped.value)


def test_cosine_threshold_is_the_largest_distance():
    seen = compare({"a": np.array([1.0, 0.0])}, {"a": np.array([1.0, 1.0])})
    seen.check(cosine_distance_threshold=0.3)
    with pytest.raises(AccuracyError, match="Cosine distance"):
        seen.check(cosine_distance_threshold=0.29)
    with pytest.raises(AccuracyError, match="Mean bias"):
        seen.check(cosine_distance_threshold=-1.1)


def test_trailing_ones_and_a_single_other_name_are_forgiven():
    assert compare({"out": np.ones((1, 5, 1, 1))}, {"Identity": np.ones((1, 5))}).bias == 0


@pytest.mark.parametrize(
    "outputs, words",
    [
        ({"a": np.ones((5, 1))}, "differ"),
        ({"a": np.array([1.0, np.nan, 1, 1, 1])}, "1 NaN"),
        ({"x": np.ones(5), "y": np.ones(5)}, "'a' is not an output"),
    ],
)
def test_what_cannot_be_compared(outputs, words):
    with pytest.raises(AccuracyError, match=words):
        compare(outputs, {"a": np.ones(5)[None] if outputs.get("a", np.ones(1)).ndim == 2 else np.ones(5)})
