"""The text format of expected outputs."""

import numpy as np
import pytest
from bitlite.converter.errors import DataError, OutputError
from bitlite.tools.expected_outputs import read_expected, write_expected


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
