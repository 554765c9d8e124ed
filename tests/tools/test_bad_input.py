"""Whatever a user gives the commands: one clear line, an exit status, no partial output, the input untouched."""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import bitlite
import onnx
import pytest
from bitlite.tools.converter_lite import main
from onnx import TensorProto, helper

DIGITS = Path(__file__).parents[2] / "demo" / "digits.onnx"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of inputs, good and bad."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(DIGITS, folder / "digits.onnx")
    bitlite.convert(DIGITS, folder / "digits.tflite", output_format="TFLITE")
    bitlite.convert(DIGITS, folder / "digits.ms")
    for name in ("digits.onnx", "digits.tflite", "digits.ms"):
        data = (folder / name).read_bytes()
        (folder / f"half_{name}").write_bytes(data[: len(data) // 2])
        (folder / f"head_{name}").write_bytes(data[:12])
    (folder / "empty.tflite").write_bytes(b"")
    (folder / "text.onnx").write_text("this is no model\n" * 20)
    (folder / "picture.tflite").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    node = helper.make_node("FluxCapacitor", ["x"], ["y"], "flux")
    onnx.save(
        helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)]),
        folder / "unknown.onnx",
    )
    (folder / "wrong_key.cfg").write_text("image_path=.\nbatch_cuont=10\n")
    (folder / "wrong_value.cfg").write_text("[common_quant_param]\nquant_type=WEIGHT_QUANT\nbit_num=17\n")
    (folder / "no_data.cfg").write_text("image_path=/nowhere/at/all\n")
    return folder


W = "--quantType=WeightQuant"
P = "--quantType=PostTraining"
CASES = [
    # (flags after the model's name, what the line says)
    ("absent.onnx", [], "no such file"),
    ("", [], "--modelFile is missing"),
    (".", [], "is a directory"),
    ("empty.tflite", [], "is empty"),
    ("text.onnx", [], "none of tflite, onnx, ms"),
    ("picture.tflite", [], "none of tflite, onnx, ms"),
    ("digits.onnx", ["--fmk=TFLITE"], "its format is onnx, not tflite"),
    ("digits.onnx", ["--fmk=CAFFE"], "its format is onnx, not caffe"),
    ("digits.onnx", ["--fmk=TORCH"], "must be"),
    ("digits.onnx", ["--weightFile=w.caffemodel"], "w.caffemodel would be the weights of a Caffe network"),
    ("half_digits.onnx", [], "truncated"),
    ("half_digits.tflite", [], "half_digits.tflite"),
    ("half_digits.ms", [], "half_digits.ms"),
    ("head_digits.onnx", [], "head_digits.onnx"),
    ("head_digits.tflite", [], "head_digits.tflite"),
    ("head_digits.ms", [], "head_digits.ms"),
    ("unknown.onnx", [], "FluxCapacitor"),
    ("digits.onnx", [W, "--bitNum=17"], "0..16"),
    ("digits.onnx", [W, "--bitNum=-1"], "0..16"),
    ("digits.onnx", [W, "--bitNum=abc"], "0..16"),
    ("digits.onnx", [W, "--bitNum="], "--bitNum"),
    ("digits.onnx", [P, "--bitNum=9", "--calibratePath=."], "1..8"),
    ("digits.onnx", ["--bitNum=17"], "0..16"),
    ("digits.onnx", [W, "--quantWeightSize=-1"], "--quantWeightSize=-1"),
    ("digits.onnx", [W, "--quantWeightChannel=-5"], "--quantWeightChannel=-5"),
    ("digits.onnx", [W, "--quantWeightSize=1e3"], "integer >= 0"),
    ("digits.onnx", [W, "--bitNum=4", "--bitNum=8"], "contradicts"),
    ("digits.onnx", [W, "--bitNum=4", "--enableEncode=false"], "only 8 and 16"),
    ("digits.onnx", ["--keepFloat=conv1"], "no effect without a quantization type"),
    ("digits.onnx", [P], "needs calibration data"),
    ("digits.onnx", [P, "--configFile={models}/no_data.cfg"], "/nowhere/at/all"),
    ("digits.onnx", [P, "--configFile={models}/wrong_key.cfg"], "batch_count"),
    ("digits.onnx", ["--configFile={models}/wrong_value.cfg"], "wrong_value.cfg:3"),
    ("digits.onnx", ["--configFile={models}/absent.cfg"], "absent.cfg"),
    ("digits.onnx", [W, "--quantTipe=x"], "--quantType"),
    ("digits.onnx", ["--quantType=WeightQant"], "WeightQuant"),
    ("digits.onnx", ["positional"], "'positional' is not a flag"),
    ("digits.onnx", [W, "--layerBits=nowhere:4"], "nowhere"),
    ("digits.onnx", [W, "--keepFloat=nowhere"], "nowhere"),
    ("digits.onnx", ["--skipPass=fuse_nothing"], "fuse_nothing"),
    ("digits.onnx", ["--inputShape=imge:1,1,8,8"], "imge"),
    ("digits.onnx", ["--inputShape=image:1,8"], "[1, 8]"),
    ("digits.onnx", ["--inputShape=image:0,1,8,8"], "at least 1"),
    ("digits.onnx", ["--encryption=true"], "encrypted"),
    ("digits.onnx", ["--report=/nowhere/r.json"], "/nowhere"),
    ("digits.onnx", ["--outputFile=/nowhere/x"], "/nowhere"),
    ("digits.onnx", ["--outputFile=/proc/x"], "/proc/x.ms"),
    ("digits.onnx", ["--outputFile={models}/digits.onnx/x"], "digits.onnx"),
    ("digits.onnx", ["--outputFile={models}/"], "names a directory"),
    ("digits.onnx", ["--outputFile={models}/digits", "--outputFormat=ONNX"], "would overwrite the model"),
    ("digits.onnx", ["--outputFormat=PB"], "MS"),
    ("digits.onnx", ["--onnxWeights=uint8"], "has no effect without a .onnx"),
]


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "model, flags, words", CASES, ids=lambda v: " ".join(v) if isinstance(v, list) else str(v)[:24]
)
def test_the_line_names_what_is_wrong(capsys, tmp_path, models, model, flags, words):
    before = snapshot(models)
    arguments = [f"--modelFile={models}/{model}"] if model else []
    if not any(f.startswith("--outputFile") for f in flags):
        arguments.append(f"--outputFile={tmp_path}/out")
    status = main([*arguments, *(f.format(models=models) for f in flags)])
    out, err = capsys.readouterr()
    assert status not in (0, None)
    assert err.startswith("ERROR: ") and err.count("\n") == 1 and "internal error" not in err
    assert words in err
    assert "SUCCESS" not in out
    assert list(tmp_path.iterdir()) == [] and snapshot(models) == before


@pytest.mark.parametrize("trace", ["0", "1"])
def test_a_bug_asks_for_a_report(tmp_path, models, capsys, monkeypatch, trace):
    def broken(*_, **__):
        assert not "a slip"

    monkeypatch.setattr("bitlite.tools.convert.run_passes", broken)
    monkeypatch.setenv("BITLITE_TRACE", trace)
    assert main([f"--modelFile={models}/digits.onnx", f"--outputFile={tmp_path}/x"]) == 255
    *above, line = capsys.readouterr().err.splitlines()
    assert line.startswith("ERROR: internal error: AssertionError") and "please report it" in line
    assert any("Traceback" in text for text in above) == (trace == "1")


def test_a_closed_folder(tmp_path, models, capsys):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert main([f"--modelFile={models}/digits.onnx", f"--outputFile={closed}/x"]) != 0
    assert "ermission" in capsys.readouterr().err and list(closed.iterdir()) == []


def run_process(*flags, **more):
    command = [sys.executable, "-m", "bitlite.tools.converter_lite", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def test_a_file_that_grows_past_the_limit_of_the_system(tmp_path, models):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # noqa: E731
    (tmp_path / "out.ms").write_bytes(b"what was there before")
    done = run_process(f"--modelFile={models}/digits.onnx", f"--outputFile={tmp_path}/out", preexec_fn=limit)
    assert done.returncode != 0
    assert done.stderr.startswith("ERROR: ") and "out.ms" in done.stderr and done.stderr.count("\n") == 1
    assert snapshot(tmp_path) == {Path("out.ms"): b"what was there before"}


@contextlib.contextmanager
def small_disk(folder, size):
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting needs rights that this process lacks")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(tmp_path, models):
    with small_disk(tmp_path / "disk", "64k") as disk:
        done = run_process(f"--modelFile={models}/digits.onnx", f"--outputFile={disk}/out", W)
        assert done.returncode != 0
        assert "No space left" in done.stderr and done.stderr.count("\n") == 1
        assert list(disk.iterdir()) == []


def test_all_formats_or_none(tmp_path, models):
    """The smaller of two files is written first and fits under the limit, the larger does not: neither stays."""
    flags = (W, f"--modelFile={models}/digits.onnx", f"--outputFile={tmp_path}/out")
    assert run_process(*flags, "--outputFormat=MS,ONNX").returncode == 0
    small, large = sorted(tmp_path.iterdir(), key=os.path.getsize)
    between = (os.path.getsize(small) + os.path.getsize(large)) // 2
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (between, between))  # noqa: E731
    small.unlink(), large.unlink()
    order = ",".join(path.suffix[1:].upper() for path in (small, large))
    done = run_process(*flags, f"--outputFormat={order}", preexec_fn=limit)
    assert done.returncode != 0 and large.name in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_python_raises_the_same_line(models, tmp_path):
    with pytest.raises(bitlite.UsageError, match=r"bit_num=17: .*0\.\.16"):
        bitlite.convert(models / "digits.onnx", tmp_path / "x", quant_type="WeightQuant", bit_num=17)
    with pytest.raises(bitlite.ModelError, match="no such file"):
        bitlite.load(str(models / "absent.onnx"))
    with pytest.raises(bitlite.Error, match="FluxCapacitor"):
        bitlite.load(str(models / "unknown.onnx"))
