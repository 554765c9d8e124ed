"""Preprocessing, cameras and changes of the ends from the command line, to int8."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.tools.converter_lite import main
from PIL import Image

DEMO = Path(__file__).parents[2] / "demo"
RNG = np.random.default_rng(8)
IMAGES = RNG.integers(0, 256, (24, 8, 8, 1)).astype(np.uint8)
KEYS = {"image_to_format": "GRAY", "normalize_mean": (8,), "normalize_std": (16,), "pixel_format": "GRAY"}


def ready(images):
    return ((images.astype(np.float32) - 8) / 16).transpose(0, 3, 1, 2)


def outputs(path, images):
    session = bitlite.load(path)
    (port,) = session.inputs
    planar = port.shape[1] == 1
    feeds = images.transpose(0, 3, 1, 2) if planar and images.shape[-1] == 1 else images
    return np.concatenate([session.run({port.name: x[None]})["logits"] for x in feeds])


@pytest.fixture(scope="module")
def model():
    assert bitlite.load(DEMO / "digits.onnx").inputs[0].shape == (None, 1, 8, 8)
    return DEMO / "digits.onnx"


def test_int8_from_pixels_has_the_bits_of_int8_from_ready_values(model, tmp_path):
    data = {"quant_type": "PostTraining", "output_format": "MS,TFLITE,ONNX"}
    bitlite.convert(model, tmp_path / "outside", calibration_data=ready(IMAGES), **data)
    inside = {**data, **KEYS, "fuse_preprocess": True}
    report = bitlite.convert(model, tmp_path / "raw", calibration_data=IMAGES, sample_stage="raw", **inside)
    assert any("uint8[?,8,8,1]: GRAY pixels, preprocessed inside the model" in note for note in report.notes)
    bitlite.convert(model, tmp_path / "ready", calibration_data=ready(IMAGES), sample_stage="preprocessed", **inside)
    for ending in ("ms", "tflite", "onnx"):
        wanted = ready(IMAGES) if ending == "onnx" else ready(IMAGES).transpose(0, 2, 3, 1)
        assert np.array_equal(
            outputs(tmp_path / f"raw.{ending}", IMAGES), outputs(tmp_path / f"outside.{ending}", wanted)
        )
        assert (tmp_path / f"raw.{ending}").read_bytes() == (tmp_path / f"ready.{ending}").read_bytes()


def test_float_and_weights_from_pixels(model, tmp_path):
    wanted = outputs(model, ready(IMAGES))
    for options, worst in (({}, 1e-5), ({"quant_type": "WeightQuant", "quant_weight_channel": 0}, 0.05)):
        bitlite.convert(model, tmp_path / "m", fuse_preprocess=True, **KEYS, **options)
        assert np.abs(outputs(tmp_path / "m.ms", IMAGES) - wanted).max() <= worst * np.ptp(wanted)


def test_images_are_pixels_whatever_goes_into_the_model(model, tmp_path):
    (tmp_path / "images").mkdir()
    for k, image in enumerate(IMAGES):
        Image.fromarray(image[..., 0]).save(tmp_path / "images" / f"{k:02}.png")
    config = tmp_path / "config.cfg"
    config.write_text(
        f"image_path={tmp_path / 'images'}\nbatch_count=24\nimage_to_format=GRAY\nnormalize_mean=[8]\n"
        "normalize_std=[16]\nfuse_preprocess=true\npixel_format=GRAY\n"
    )
    flags = [f"--modelFile={model}", "--quantType=PostTraining", "--fmk=ONNX"]
    assert not main([*flags, f"--outputFile={tmp_path / 'files'}", f"--configFile={config}"])
    bitlite.convert(
        model, tmp_path / "arrays", quant_type="PostTraining", calibration_data=IMAGES, sample_stage="raw",
        fuse_preprocess=True, **KEYS
    )  # fmt: skip
    assert np.array_equal(outputs(tmp_path / "files.ms", IMAGES), outputs(tmp_path / "arrays.ms", IMAGES))


def test_raw_files_are_prepared_without_a_change_of_the_model(model, tmp_path):
    np.save(tmp_path / "raw.npy", IMAGES)
    (tmp_path / "bins").mkdir()
    for k, image in enumerate(IMAGES):
        image.tofile(tmp_path / "bins" / f"{k:02}.bin")
    for name, path, more in (("npy", tmp_path / "raw.npy", {}), ("bin", tmp_path / "bins", {"image_size": (8, 8)})):
        bitlite.convert(
            model, tmp_path / name, quant_type="PostTraining", calibrate_path={0: str(path)}, calibrate_size=24,
            sample_stage="raw", **KEYS, **more
        )  # fmt: skip
    bitlite.convert(model, tmp_path / "py", quant_type="PostTraining", calibration_data=ready(IMAGES))
    x = ready(IMAGES).transpose(0, 2, 3, 1)
    for name in ("npy", "bin"):
        assert np.array_equal(outputs(tmp_path / f"{name}.ms", x), outputs(tmp_path / "py.ms", x))


def test_a_camera_and_a_batch(model, tmp_path, capsys):
    flags = [f"--modelFile={model}", "--fmk=ONNX", f"--outputFile={tmp_path / 'm'}", "--fusePreprocess"]
    flags += ["--imageToFormat=GRAY", "--pixelFormat=NV12", "--imageSize=16,12", "--resizeHeight=8", "--resizeWidth=8"]
    assert not main([*flags, "--inputBatch=2", "--separateBatch"])
    names = [(p.name, p.shape) for p in bitlite.load(tmp_path / "m.ms").inputs]
    name = bitlite.load(model).inputs[0].name
    assert [n for n, _ in names] == [f"{name}_{plane}_{k}" for plane in ("y", "uv") for k in (0, 1)]
    assert {shape for _, shape in names} == {(1, 16, 12, 1), (1, 8, 6, 2)}
    assert "batch of 2" in capsys.readouterr().out


def test_changes_of_the_ends(model, tmp_path, capsys):
    session = bitlite.load(model)
    first = session.graph.nodes[0]
    name = session.inputs[0].name
    flags = [f"--modelFile={model}", "--fmk=ONNX", f"--outputFile={tmp_path / 'm'}"]
    assert not main([*flags, f"--rename={name}:image,logits:scores", f"--addOutput={first.origin[0]}"])
    ports = bitlite.load(tmp_path / "m.ms")
    assert [p.name for p in ports.inputs] == ["image"] and len(ports.outputs) == 2
    assert "'logits' is named 'scores'" in capsys.readouterr().out
    assert not main([*flags, f"--cut=:{first.origin[0]}"])
    assert len(bitlite.load(tmp_path / "m.ms").graph.nodes) < len(session.graph.nodes)
    assert main([*flags, "--cut=:nothing"]) == 168 and "--cut: 'nothing' is no tensor" in capsys.readouterr().err
    assert main([*flags, "--removeNode=logit"]) == 168 and "'logit' is no node" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fuse_preprocess": True}, "order of colours it was trained on; try image_to_format='RGB'"),
        ({"pixel_format": "BGR"}, "pixel_format has no effect without preprocessing inside"),
        ({"separate_batch": True}, "the number of samples is missing; try input_batch=4"),
        ({"fuse_preprocess": True, **KEYS, "input_data_type": "INT8"}, "takes pixels as uint8"),
        ({"fuse_preprocess": True, **KEYS, "input_batch": 2, "roi_input": True}, "one region belongs to one image"),
        ({"fuse_preprocess": True, "image_to_format": "RGB"}, "no input takes images of 3 channel"),
        ({"quant_type": "PostTraining", "calibration_data": IMAGES, "fuse_preprocess": True, **KEYS},
         "may come before or after the preprocessing"),
        ({"cut": "a"}, "must read IN,...:OUT,..."),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_one_line(model, tmp_path, options, words):
    with pytest.raises(bitlite.Error) as error:
        bitlite.convert(model, tmp_path / "m", **options)
    assert words in str(error.value) and "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_the_same_from_python(model, tmp_path):
    from bitlite import surgery

    graph = bitlite.read(model)
    image = graph.inputs[0].name
    surgery.rename_ends(graph, {image: "image"})
    surgery.put_preprocessing(graph, surgery.ImageSpec("GRAY", (8,), (16,)), surgery.Pixels("GRAY"))
    graph = surgery.split_batch(graph, 2)
    wanted = outputs(model, ready(IMAGES[:2]))
    for ending in ("ms", "tflite", "onnx"):
        bitlite.write(graph, tmp_path / f"m.{ending}")
        session = bitlite.load(tmp_path / f"m.{ending}")
        assert [p.name for p in session.inputs] == ["image_0", "image_1"]
        got = session.run({f"image_{k}": IMAGES[k : k + 1] for k in range(2)})["logits"]
        assert np.abs(got - wanted).max() <= 1e-5 * np.ptp(wanted)
    with pytest.raises(bitlite.UsageError, match="names no format"):
        bitlite.write(graph, tmp_path / "m.pb")


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("make") is None, reason="no gcc or make")
@pytest.mark.parametrize(
    "data", [{}, {"quant_type": "PostTraining", "calibration_data": IMAGES, "sample_stage": "raw"}]
)
def test_c_code_takes_pixels(model, tmp_path, data):
    bitlite.convert(model, tmp_path / "net", output_format="C", fuse_preprocess=True, **KEYS, **data)
    assert "uint8_t" in (tmp_path / "net" / "net.h").read_text()
    done = subprocess.run(["make", "-C", tmp_path / "net", "test"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
