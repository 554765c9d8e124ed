"""The command `benchmark` on the demo model: lines and exit codes that scripts read, comparisons, profiles."""

import json
import re
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.tools.benchmark import main
from bitlite.tools.expected_outputs import write_expected

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "demo" / "digits.onnx")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.ms"
    bitlite.convert(DIGITS, path, quant_type="WeightQuant", bit_num=8, quant_weight_channel=0)
    return str(path)


@pytest.fixture(scope="module")
def held_out():
    with np.load(ROOT / "demo" / "heldout.npz") as data:
        return data["x"], data["y"]


def run(capsys, *flags):
    status = main(list(flags))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_run_prints_what_scripts_for_the_real_tool_read(capsys, quantized):
    status, out, _ = run(capsys, f"--modelFile={quantized}", "--loopCount=2", "--numThreads=1")
    assert status == 0
    assert f"ModelPath = {quantized}" in out and "NumThreads = 1" in out
    line = r"Model = digits\.ms, NumThreads = 1, MinRunTime = [\d.]+ ms, MaxRuntime = [\d.]+ ms, AvgRunTime = [\d.]+ ms"
    assert re.search(line, out)
    assert out.rstrip().endswith("Run Benchmark digits.ms Success.")


def test_time_profiling_names_every_node_and_type(capsys, quantized):
    status, out, _ = run(capsys, f"--modelFile={quantized}", "--timeProfiling", "--loopCount=2")
    assert status == 0
    by_node, by_type = out.split("opName")[1].split("opType")
    assert all(name in by_node for name in ("conv3", "fc4", "logits"))
    assert "Conv" in by_type and "FullyConnected" in by_type
    assert re.search(r"total time : +[\d.]+ ms, +kernel cost : [\d.]+ ms", out)


@pytest.fixture
def expectation(tmp_path, quantized, held_out):
    sample = held_out[0][:1].transpose(0, 2, 3, 1)
    sample.tofile(tmp_path / "in.bin")
    outputs = bitlite.load(quantized).run({"image": sample})
    write_expected(tmp_path / "out.txt", outputs)
    return tmp_path, outputs


def test_expected_outputs_from_a_text_file(capsys, quantized, expectation):
    folder, outputs = expectation
    flags = [f"--modelFile={quantized}", f"--inDataFile={folder}/in.bin", f"--benchmarkDataFile={folder}/out.txt"]
    status, out, _ = run(capsys, *flags)
    assert status == 0
    assert "InData0: " in out and "Mean bias of node/tensor logits : 0%" in out
    write_expected(folder / "out.txt", {"logits": outputs["logits"] * 1.05})
    status, out, err = run(capsys, *flags)
    assert status == 1
    assert "Mean bias of all nodes/tensors is too big: 4.7" in err and "Run Benchmark digits.ms Failed : 1" in out
    assert run(capsys, *flags, "--accuracyThreshold=5")[0] == 0


def test_two_formats_are_fed_the_same_values_in_their_own_layouts(capsys, tmp_path, quantized):
    report = tmp_path / "r.json"
    status, out, _ = run(
        capsys, f"--modelFile={quantized}", f"--compareWith={DIGITS}", f"--report={report}", "--loopCount=1"
    )
    assert status == 0 and "Model = digits.onnx" in out
    output = json.loads(report.read_text())["comparison"]["outputs"][0]
    assert output["name"] == "logits" and output["cosine"] > 0.999 and 30 < output["sqnr"] < 80


def test_a_threshold_given_on_purpose_fails_a_comparison(capsys, quantized):
    flags = [f"--modelFile={quantized}", f"--compareWith={DIGITS}", "--loopCount=1", "--quiet"]
    assert run(capsys, *flags)[0] == 0
    assert run(capsys, *flags, "--accuracyThreshold=0.0001")[0] == 1
    assert run(capsys, *flags, "--cosineDistanceThreshold=0.001")[0] == 0
    assert run(capsys, *flags, "--cosineDistanceThreshold=0.0000001")[0] == 1


def test_a_directory_with_labels_gives_top_1_with_its_error(capsys, tmp_path, quantized, held_out):
    x, y = held_out
    samples = tmp_path / "samples"
    samples.mkdir()
    for i in range(20):
        np.save(samples / f"{i:02d}.npy", x[i : i + 1].transpose(0, 2, 3, 1))
    labels = y[:20].copy()
    labels[:5] = (labels[:5] + 1) % 10
    (tmp_path / "labels.txt").write_text("\n".join(f"{i:02d}.npy {v}" for i, v in enumerate(labels)))
    status, out, _ = run(
        capsys,
        f"--modelFile={quantized}",
        f"--inDataFile={samples}",
        f"--labelsFile={tmp_path}/labels.txt",
        f"--compareWith={DIGITS}",
        "--loopCount=1",
        "--quiet",
    )
    assert status == 0
    assert "Top-1: 75.00% ± 9.68% (n=20)" in out
    assert "Same class: 100.00%" in out and "Top-1 difference: +0.00 ± 0.00" in out


def test_info_shows_how_a_file_was_made(capsys, quantized):
    status, out, _ = run(capsys, f"--modelFile={quantized}", "--info")
    assert status == 0
    assert f"written by   bitlite {bitlite.__version__}" in out and "quant_type = WeightQuant" in out
    assert "image: float32[?,8,8,1] NHWC" in out and "8 bit, per channel" in out


def test_verify_checks_every_node(capsys, quantized):
    status, out, _ = run(capsys, f"--modelFile={quantized}", "--verify", "--loopCount=1")
    assert status == 0
    assert re.search(r"Verified (\d+) of \1 nodes with kernels: 0 differ", out)


def test_input_shapes_by_position(capsys, quantized):
    assert run(capsys, f"--modelFile={quantized}", "--inputShapes=3,8,8,1", "--loopCount=1")[0] == 0
    status, _, err = run(capsys, f"--modelFile={quantized}", "--inputShapes=3,8,8", "--loopCount=1")
    assert status != 0 and "image" in err and "[3, 8, 8]" in err


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--modelFile=absent.ms"], "no such file"),
        (["--modelFile={demo}/heldout.npz"], "none of"),
        (["--modelFile={demo}/digits.onnx", "--inDataFile=absent.bin"], "--inDataFile: absent.bin"),
        (["--modelFile={demo}/digits.onnx", "--inDataFile={demo}/digits.onnx"], "file_size"),
        (["--modelFile={demo}/digits.onnx", "--inDataFile=a,b"], "names 2 files"),
        (["--modelFile={demo}/digits.onnx", "--report=/nowhere/r.json"], "/nowhere/r.json"),
        (
            ["--modelFile={demo}/digits.onnx", "--report=b.csv"],
            "--report=b.csv: figures are written as a page",
        ),
    ],
)
def test_bad_input_is_one_line(capsys, flags, words):
    status, _, err = run(capsys, *(f.format(demo=ROOT / "demo") for f in flags))
    assert status != 0
    assert words in err and err.count("\n") == 1 and "Traceback" not in err


def test_samples_of_the_other_layout_are_told_of(capsys, tmp_path):
    from bitlite.converter.formats import tflite
    from bitlite.converter.ir import Graph
    from bitlite.converter.schema.builder import Builder

    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 32, 32, 3))
    graph.outputs = build.emit("Reduce", [x], {"axes": [1, 2], "mode": "mean", "keep_dims": False}, name="mean")
    tflite.write(graph, str(tmp_path / "m.tflite"))
    image = np.linspace(0, 1, 32)[:, None, None] * np.ones((32, 32, 3)) + np.array([0.0, 5.0, -5.0])
    flags = [f"--modelFile={tmp_path / 'm.tflite'}", "--loopCount=1", "--quiet"]
    for name, values, said in (("nhwc", image, 0), ("nchw", image.transpose(2, 0, 1), 1)):
        np.ascontiguousarray(values, np.float32).tofile(tmp_path / f"{name}.bin")
        status, _, err = run(capsys, *flags, f"--inDataFile={tmp_path / name}.bin")
        assert status == 0 and err.count("WARNING: x: the samples look like NCHW data") == said
