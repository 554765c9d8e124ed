"""Top-k against labels."""

import math

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.tools.classification import read_labels, top_k


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
