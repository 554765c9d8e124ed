"""Models that are quantized already, quantized again."""

from pathlib import Path

import bitlite
import numpy as np
import pytest

DEMO = Path(__file__).parents[2] / "demo"


def test_post_training_wants_a_float_model(tmp_path):
    samples = [np.full((1, 1, 8, 8), i / 4, np.float32) for i in range(4)]
    bitlite.convert(
        DEMO / "digits.onnx", tmp_path / "int8", quant_type="PostTraining", calibration_data=lambda: iter(samples)
    )
    with pytest.raises(bitlite.UsageError, match=r"int8\.ms: is quantized already: \S+ \(Conv\) computes int8"):
        bitlite.convert(
            tmp_path / "int8.ms", tmp_path / "again", quant_type="PostTraining", calibration_data=lambda: iter(samples)
        )
    assert not (tmp_path / "again.ms").exists()


def test_what_comes_quantized_is_named_and_kept(tmp_path):
    samples = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    options = {"quant_type": "PostTraining", "calibration_data": samples}
    planes = samples.transpose(0, 3, 1, 2)
    first = bitlite.convert(
        DEMO / "digits.onnx", tmp_path / "part", **options | {"calibration_data": planes, "keep_float": "type:Conv"}
    )
    assert any("kept in float on request" in note for note in first.notes)
    again = bitlite.convert(tmp_path / "part.ms", tmp_path / "whole", **options)
    assert any("operators come quantized and keep their own scales" in note for note in again.notes)
    assert not any("in float" in note for note in again.notes)


def test_weights_that_are_integers_stay_as_they_are(tmp_path):
    bitlite.convert(DEMO / "digits.onnx", tmp_path / "w4", quant_type="WeightQuant", bit_num=4)
    again = bitlite.convert(tmp_path / "w4.ms", tmp_path / "again", quant_type="WeightQuant", bit_num=4)
    assert any("integer weights stay as they are" in note for note in again.notes)
    x = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1)
    first, second = (bitlite.load(tmp_path / name).run(x) for name in ("w4.ms", "again.ms"))
    assert all(np.array_equal(a, b) for a, b in zip(first.values(), second.values()))
