"""Models that are quantized already, quantized again."""

from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats import ms
from onnx import TensorProto, helper, numpy_helper, save

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
    options = {"quant_type": "PostTraining", "calibration_data": samples, "cost": False}  # a slow CPU is named, too
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


@pytest.mark.parametrize("form", ["stack", "batches of one", "without a batch", "dict", "function", "file"])
def test_arrays_come_in_the_layout_of_the_written_file_or_of_the_model(tmp_path, form):
    rng = np.random.default_rng(0)
    w = numpy_helper.from_array(rng.normal(size=(6, 3, 3, 3)).astype(np.float32), "w")
    ends = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 8, 6]), ("y", None)))
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", *([end] for end in ends), [w])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    (port,) = bitlite.load(tmp_path / "m.onnx").inputs
    assert port.shape == (1, 3, 8, 6)

    def given(samples):
        if form == "file":
            np.save(tmp_path / "x.npy", samples)
            return {"calibrate_path": {"x": str(tmp_path / "x.npy")}, "calibrate_size": len(samples)}
        forms = {
            "stack": samples,
            "batches of one": [s[None] for s in samples],
            "without a batch": list(samples),
            "dict": [{"x": s[None]} for s in samples],
            "function": lambda: iter([s[None] for s in samples]),
        }
        return {"calibration_data": forms[form]}

    samples, written = rng.normal(size=(4, 8, 6, 3)).astype(np.float32), []
    for arrays in (samples, samples.transpose(0, 3, 1, 2)):
        bitlite.convert(tmp_path / "m.onnx", tmp_path / "q", quant_type="PostTraining", quiet=True, **given(arrays))
        scales = [t.quant.scale for t in ms.read(str(tmp_path / "q.ms")).tensors() if t.quant is not None]
        written.append(np.concatenate(scales))
    np.testing.assert_array_equal(*written)


def test_statistics_without_samples_warn_that_nothing_is_corrected(tmp_path):
    samples = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    given, saved = {"quant_type": "PostTraining"}, str(tmp_path / "d.json")
    bitlite.convert(DEMO / "digits.onnx", tmp_path / "m", **given, calibration_data=samples, dump_dist=saved)
    alone = bitlite.convert(DEMO / "digits.onnx", tmp_path / "m", **given, load_dist=saved)
    assert any("neither rounded nor corrected" in line and "calibrate_path" in line for line in alone.warnings)
    both = bitlite.convert(DEMO / "digits.onnx", tmp_path / "m", **given, load_dist=saved, calibration_data=samples)
    off = bitlite.convert(DEMO / "digits.onnx", tmp_path / "m", **given, load_dist=saved, bias_correction="off")
    assert not any("corrected" in line for report in (both, off) for line in report.warnings)
