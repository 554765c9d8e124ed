"""The comparison rules of the benchmark tool, and their text format."""

import math

import numpy as np
import pytest
from bitlite.converter.errors import DataError, OutputError
from bitlite.tools.accuracy import (
    AccuracyError,
    compare,
    cosine,
    mean_bias,
    read_expected,
    read_labels,
    sqnr,
    top_k,
    write_expected,
)


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
    with pytest.raises(AccuracyError, match=r"0\.1% without values below 1% of the largest; cosine 1\.0") as stopped:
        seen.check(accuracy_threshold=3)
    assert "--cosineDistanceThreshold" in stopped.value.hint
    with pytest.raises(AccuracyError) as stopped:
        compare({"y": ref * 1.05}, {"y": ref}).check(accuracy_threshold=3)
    assert "without" not in str(stopped.value)


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


def test_the_text_format_survives_a_round_trip(tmp_path):
    chance = np.random.default_rng(1)
    outputs = {
        "logits": chance.normal(size=(2, 3, 4)).astype(np.float32) * 1e-20,
        "StatefulPartitionedCall:0": np.array([[2**31 - 1, -(2**31)]], np.int32),
        "name with 2 blanks": chance.normal(size=(1, 1)).astype(np.float32),
        "scalar": np.float32(0.1),
        "codes": np.arange(-4, 4, dtype=np.int8),
        "nothing": np.zeros((2, 0), np.float32),
        "flags": np.array([True, False]),
    }
    path = tmp_path / "out.txt"
    write_expected(path, outputs)
    again = read_expected(path)
    assert list(again) == list(outputs)
    for name, value in outputs.items():
        assert again[name].shape == np.shape(value)
        np.testing.assert_array_equal(again[name].astype(np.asarray(value).dtype), value)


def test_a_file_of_the_real_tool(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("Softmax 2 1 4\n0.1 0.2 0.3 0.4 \nother 1 2 \n1 -2e-05\n\n")
    assert read_expected(path)["other"].tolist() == [1, -2e-5]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "no tensors"),
        ("Softmax\n1 2\n", ":1: "),
        ("Softmax 2 1\n1\n", ":1: "),
        ("a 1 -1\n\n", ":1: "),
        ("a 1 3\n1 2\n", ":2: a has 2 values"),
        ("a 1 2\n1 x\n", ":2: "),
        ("a 1 2\n", ":2: a has 0 values"),
        ("a 2 99999999999 99999999999\n1\n", "elements"),
    ],
)
def test_wrong_expected_data(tmp_path, text, words):
    path = tmp_path / "out.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_expected(path)
    assert words in str(caught.value) and "out.txt" in str(caught.value)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_expected(tmp_path / "none")
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not text"):
        read_expected(tmp_path / "b")
    with pytest.raises(OutputError, match=r"the folder .*none does not exist"):
        write_expected(tmp_path / "none" / "x", {"a": np.ones(1)})
    with pytest.raises(DataError, match="blanks"):
        write_expected(tmp_path / "x", {"a  b": np.ones(1)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]


def test_top_1_and_top_5():
    scores = np.array([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [0, 0, 9, 0, 9, 0]])
    seen = top_k(scores, [5, 5, 4])
    assert seen.right == {1: 1, 5: 2}
    assert seen.ties == 1
    assert seen.rate(1) == pytest.approx(1 / 3)
    assert seen.standard_error(1) == pytest.approx(math.sqrt(2 / 9 / 3))
    assert seen.lines()[0].startswith("Top-1: 33.33%")


def test_top_1_agrees_with_argmax():
    scores = np.random.default_rng(0).integers(0, 5, (500, 10))
    labels = np.random.default_rng(1).integers(0, 10, 500)
    assert top_k(scores, labels).right[1] == int((scores.argmax(1) == labels).sum())


def test_wrong_labels():
    with pytest.raises(DataError, match="2 labels are given for 1"):
        top_k(np.ones((1, 3)), [0, 1])
    with pytest.raises(DataError, match="3 classes"):
        top_k(np.ones((1, 3)), [3])


def test_labels_by_line_and_by_name(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("3\n\n# note\n1\n")
    assert read_labels(path).tolist() == [3, 1]
    path.write_text("b.bin 3\na.bin,1\n")
    assert read_labels(path, ["a.bin", "b.bin"]).tolist() == [1, 3]
    with pytest.raises(DataError, match=r"no label for c\.bin"):
        read_labels(path, ["a.bin", "c.bin"])
    path.write_text("cat\n")
    with pytest.raises(DataError, match=r"labels.txt:1: 'cat'"):
        read_labels(path)


@pytest.mark.parametrize("kind, good", [("FLOAT", True), ("INT32", False), ("INT8", False), ("UINT8", False)])
def test_expected_values_must_be_of_the_type_that_is_named(tmp_path, kind, good):
    path = tmp_path / "e.txt"
    path.write_text("out 1 3\n1 2.5 300\n")
    if good:
        assert read_expected(path, kind)["out"].tolist() == [1, 2.5, 300]
    else:
        with pytest.raises(DataError, match=f"out holds values that are no {kind}"):
            read_expected(path, kind)
    path.write_text("out 1 2\n1 200\n")
    assert read_expected(path, "UINT8")["out"].tolist() == [1, 200]
