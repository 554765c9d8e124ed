"""Networks one after the other: the next is calibrated on what the one before gives."""

from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter import ops  # noqa: F401  (declares the operators that the builder emits)
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.tools.converter_lite import main

RNG = np.random.default_rng(6)
CASCADE = """
networks:
  - name: first
    model: {folder}/first.tflite
    output: {folder}/first_int8
    options: {{calibrate_path: {{0: {folder}/data.npy}}, calibrate_size: 12}}
  - name: second
    model: {folder}/second.tflite
    output: {folder}/second_int8
    after: first
    {how}
"""


def conv(build, x, w, name):
    attrs = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4, "act": "relu"}
    return build.emit("Conv", [x, build.constant(w.astype(np.float32), f"{name}/w")], attrs, name=name)[0]


@pytest.fixture
def folder(tmp_path):
    """first: image → features of 8 channels and one box; second: 4x6 images of the channels that it gets."""
    for name, size, channels in (("first", (8, 10), 3), ("second", (4, 6), 8), ("crops", (4, 6), 3)):
        graph = Graph(name)
        build = Builder(graph)
        x = build.input("image", np.float32, (1, *size, channels), layout="NHWC")
        y = conv(build, x, RNG.normal(size=(8, 3, 3, channels)) / 4, "conv")
        graph.outputs = [y]
        if name == "first":
            means = build.emit("Reduce", [y], {"mode": "mean", "axes": [1, 2]}, name="means")[0]
            w = np.abs(RNG.normal(size=(4, 8))).astype(np.float32) / 100
            box = build.constant(np.float32([0.1, 0.2, 0.7, 0.9]), "box")
            fc = build.emit("FullyConnected", [means, build.constant(w, "w"), box], name="boxes")
            graph.outputs = [y, fc[0]]
        for t, wish in zip(graph.outputs, ("features", "boxes")):
            t.name = wish
        bitlite.write(graph, tmp_path / f"{name}.tflite")
    np.save(tmp_path / "data.npy", RNG.normal(size=(12, 8, 10, 3)).astype(np.float32))
    return tmp_path


def cascade(folder, how, *flags):
    (folder / "c.yaml").write_text(CASCADE.format(folder=folder, how=how))
    return main([f"--cascade={folder / 'c.yaml'}", "--quantType=PostTraining", "--outputFormat=TFLITE", *flags])


def test_features_calibrate_the_next_network(folder):
    assert not cascade(folder, "inputs: {image: features}")
    assert not any(n.op == "Resize" for n in bitlite.read(folder / "second_int8.tflite").nodes)
    first, real = bitlite.load(folder / "first_int8.tflite"), bitlite.load(folder / "second.tflite")
    from bitlite.quant.calibrate.images import resize

    data = np.load(folder / "data.npy")
    features = [resize(first.run({"image": x[None]})["features"][0], 4, 6)[None] for x in data]
    bitlite.convert(
        folder / "second.tflite", folder / "alone", quant_type="PostTraining", calibration_data=features,
        output_format="TFLITE",
    )  # fmt: skip
    alone, made = (bitlite.load(folder / f"{name}.tflite") for name in ("alone", "second_int8"))
    for x in features:
        assert np.array_equal(alone.run({"image": x})["features"], made.run({"image": x})["features"])
        wanted = real.run({"image": x})["features"]
        error = np.square(made.run({"image": x})["features"] - wanted).sum()
        assert 10 * np.log10(np.square(wanted).sum() / error) > 25


def test_boxes_are_cut_out_of_the_image_before(folder, capsys):
    (folder / "crops.tflite").replace(folder / "second.tflite")
    assert not cascade(folder, "crop: {image: boxes}\n    boxes: normalized")
    assert "second_int8.tflite" in capsys.readouterr().out
    q = next(n for n in bitlite.read(folder / "second_int8.tflite").nodes if n.op == "Quantize").outputs[0].qparams
    reach = float(q.scale[0]) * 128
    assert 1 < reach < 4  # crops of the image, not features


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("inputs: {image: feature}", "'feature' is no output of the network before it; try features, boxes"),
        ("inputs: {imag: features}", "'imag' is no input of the network; try image"),
        ("inputs: {image: boxes}", "[1, 4] of the network before it does not fit 'image' [1, 4, 6, 8]"),
        ("crops: {image: boxes}", "crops is not a known key; try crop"),
        ("inputs: [image]", "inputs holds no keys"),
        ("inputs: {image: [features]}", "inputs: each names an output of the network before"),
        ("crop: {image: {a: b}}", "crop: each names an output of the network before"),
        ("inputs: {image: features}\n    options: {5: 3}", "options holds no keys"),
        (
            "inputs: {image: features}\n    options: {model_file: x.onnx}",
            "model_file is not one of a network's options",
        ),
        ("inputs: {image: features}\n    options: {input_shape: 'image:1,x'}", "input_shape"),
        ("inputs: {image: features}\n    options: {bit_nun: 4}", "'bit_nun' is not a known option; try bit_num"),
    ],
)
def test_what_is_wrong_is_one_line(folder, capsys, how, words):
    assert cascade(folder, how)
    error = capsys.readouterr().err
    assert words in error and error.strip().count("\n") == 0


@pytest.mark.parametrize("flag", ["--modelFile=m.onnx", "--outputFile=m", "--check=m.onnx"])
def test_networks_are_named_in_one_place(folder, capsys, flag):
    (folder / "c.yaml").write_text("networks: [{model: a.onnx, output: b}]")
    assert main([f"--cascade={folder / 'c.yaml'}", flag]) == 168
    assert "--cascade names networks itself" in capsys.readouterr().err


def test_a_network_after_none_is_refused(folder, capsys):
    (folder / "c.yaml").write_text("networks: [{model: a.onnx, output: b, after: x}]")
    assert main([f"--cascade={folder / 'c.yaml'}"]) == 255 and "a.onnx" in capsys.readouterr().err
    with pytest.raises(bitlite.UsageError, match="networks is missing"):
        (folder / "c.yaml").write_text("network: 1")
        bitlite.cascade(folder / "c.yaml")
