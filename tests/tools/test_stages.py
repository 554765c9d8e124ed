"""The model after each stage: which files there are, that all run alike, and where the error of a conversion begins."""

import re
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.tools.benchmark import main as benchmark

DIGITS = Path(__file__).parents[2] / "demo" / "digits.onnx"


def samples():
    with np.load(DIGITS.parent / "heldout.npz") as data:
        return [data["x"][k : k + 1] for k in range(24)]


OPTIONS = {
    "": {},
    "WeightQuant": {"quant_type": "WeightQuant", "bit_num": 4, "quant_weight_channel": 0},
    "PostTraining": {"quant_type": "PostTraining", "calibration_data": samples()},
    "codes": {"quant_type": "PostTraining", "calibration_data": samples(), "input_data_type": "INT8",
              "output_format": "TFLITE"},
}  # fmt: skip


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    folder, reports = tmp_path_factory.mktemp("stages"), {}
    for name, options in OPTIONS.items():
        reports[name] = bitlite.convert(DIGITS, folder / f"m{name}", dump_stages=str(folder / name), **options)
    return folder, reports


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("WeightQuant", ["1_original.onnx", "2_optimized.onnx", "3_quantized.ms"]),
        ("PostTraining", ["1_original.onnx", "2_optimized.onnx", "3_calibrated.onnx", "4_quantized.ms"]),
        ("codes", ["1_original.onnx", "2_optimized.onnx", "3_calibrated.onnx", "4_quantized.tflite"]),
    ],
)
def test_every_stage_is_a_file_that_runs_on_the_samples(stages, name, wanted):
    folder, reports = stages
    assert sorted(path.name for path in (folder / name).iterdir()) == [*wanted, "samples"]
    told = [note for note in reports[name].notes if str(folder / name) in note]
    assert [note.partition(":")[0] for note in told] == [str(folder / name / file) for file in wanted]
    assert all("as the original" in note for note in told[:2]) and all(" dB against" in note for note in told[2:])
    flags = [f"--modelFile={folder / name / wanted[0]}", f"--compareWith={folder / name / wanted[-1]}"]
    assert benchmark([*flags, f"--inDataFile={folder / name}/samples", "--loopCount=1", "--quiet"]) == 0


def test_the_calibrated_stage_lies_between_float_and_integers(stages):
    folder, _ = stages
    with np.load(folder / "PostTraining" / "samples" / "0.npz") as data:
        feed = dict(data)
    original, calibrated = (
        bitlite.load(str(folder / "PostTraining" / name)) for name in ("1_original.onnx", "3_calibrated.onnx")
    )
    ops = [node.op for node in calibrated.graph.nodes]
    assert ops.count("Quantize") >= 4
    assert all(t.dtype.kind == "f" for n in calibrated.graph.nodes if n.op == "Conv" for t in n.outputs)
    error = np.abs(original.run(feed)["logits"] - calibrated.run(feed)["logits"]).max()
    assert 0 < error < 0.5


def test_the_quantized_stage_is_what_was_written(stages):
    folder, _ = stages
    staged, written = (
        bitlite.load(str(path)) for path in (folder / "PostTraining" / "4_quantized.ms", folder / "mPostTraining.ms")
    )
    feed = {"image": samples()[0].transpose(0, 2, 3, 1)}
    assert (staged.run(feed)["logits"] == written.run(feed)["logits"]).all()


def test_an_unquantized_conversion_has_the_float_stages(stages):
    folder, _ = stages
    assert sorted(path.name for path in (folder / "").glob("*.onnx")) == ["1_original.onnx", "2_optimized.onnx"]


def test_a_folder_that_cannot_be_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(bitlite.OutputError, match=r"dump_stages.*not a directory"):
        bitlite.convert(DIGITS, tmp_path / "m", dump_stages=str(tmp_path / "file" / "x"))
    assert not (tmp_path / "m.ms").exists()


@pytest.mark.parametrize("name", ["codes", "WeightQuant"])
def test_test_networks_give_every_layer_under_one_name_and_compare(tmp_path, capsys, name):
    options = {"dump_stages": str(tmp_path), "layer_outputs": True, "diagnose": "off"}
    bitlite.convert(DIGITS, tmp_path / "m", **options, **OPTIONS[name])
    real = tmp_path / "layers_float.onnx"
    (codes,) = tmp_path.glob("layers_quantized.*")
    wanted, given = (bitlite.load(str(path)).outputs for path in (real, codes))
    assert [port.name for port in wanted] == [port.name for port in given] and len(wanted) >= 5
    assert {"relu1", "relu2", "relu4", "logits"} <= {port.name for port in wanted}
    assert [port.shape[1:] for port in wanted] == [port.shape[1:] for port in given]
    flags = [f"--modelFile={real}", f"--compareWith={codes}", f"--inDataFile={tmp_path}/samples", "--loopCount=1"]
    assert benchmark(flags) == 0
    assert len(re.findall(r": cosine (?:0\.99|1\.0)", capsys.readouterr().out)) == len(wanted)


def test_layer_outputs_without_a_folder_for_them_is_refused(tmp_path):
    with pytest.raises(bitlite.Error, match="dump_stages"):
        bitlite.convert(DIGITS, tmp_path / "m", layer_outputs=True)
