"""Horizon's yaml: a camera, mean and scale, nodes removed, a batch in parts, to int8."""

from __future__ import annotations

import json

import bitlite
import numpy as np
import pytest
from bitlite.converter import ops  # noqa: F401  (declares the operators that the builder emits)
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.surgery import remove_node_types
from bitlite.tools.converter_lite import main
from bitlite.tools.options.flags import Given
from bitlite.tools.options.horizon_quant import floats, quant_config, widths
from bitlite.tools.options.read import options_of_args

MEAN, SCALE = np.float32([103.94, 116.78, 123.68]), np.float32(0.017)
RNG = np.random.default_rng(11)
J5 = """
model_parameters:
  onnx_model: {folder}/m.onnx
  march: bayes-e
  output_model_file_prefix: net
  working_dir: {folder}/model_output
  remove_node_type: Quantize;Transpose;Dequantize;Cast;Reshape;Softmax
input_parameters:
  input_name: image
  input_type_rt: nv12
  input_type_train: bgr
  input_layout_train: NCHW
  input_shape: 1x3x16x12
  norm_type: data_mean_and_scale
  mean_value: 103.94 116.78 123.68
  scale_value: 0.017
  input_batch: 2
  separate_batch: True
calibration_parameters:
  cal_data_dir: {folder}/data
  cal_data_type: float32
  calibration_type: max
  max_percentile: 0.9999
compiler_parameters:
  compile_mode: latency
  optimize_level: O3
  core_num: 1
"""


@pytest.fixture
def folder(tmp_path):
    """A network of BGR images, m.onnx, with a Softmax at its end, and 20 files of pixels that lack mean and scale."""
    rng = np.random.default_rng(11)  # of its own: the same network whatever ran before
    graph = Graph("m")
    build = Builder(graph)
    x = build.input("image", np.float32, (1, 3, 16, 12), layout="NCHW")
    y = build.emit("Transpose", [x], {"perm": [0, 2, 3, 1]}, name="last")[0]
    for k, (cin, cout) in enumerate(((3, 8), (8, 8))):
        w = rng.normal(size=(cout, 3, 3, cin)).astype(np.float32) / 5
        attrs = {"stride": [2, 2], "dilation": [1, 1], "pad": [1] * 4}
        bias = build.constant(np.zeros(cout, np.float32), f"b{k}")
        y = build.emit("Conv", [y, build.constant(w, f"w{k}"), bias], attrs, name=f"conv{k}")[0]
        y = build.emit("Relu", [y], name=f"relu{k}")[0]
    y = build.emit("Reduce", [y], {"mode": "mean", "axes": [1, 2]}, name="mean")[0]
    w = rng.normal(size=(5, 8)).astype(np.float32)
    y = build.emit("FullyConnected", [y, build.constant(w, "w")], name="fc", outputs=["scores"])[0]
    graph.outputs = build.emit("Softmax", [y], {"axis": -1}, name="softmax", outputs=["probabilities"])[:]
    bitlite.write(graph, tmp_path / "m.onnx")
    (tmp_path / "data").mkdir()
    for k in range(20):
        rng.integers(0, 256, (1, 3, 16, 12)).astype(np.float32).tofile(tmp_path / "data" / f"{k:02}.bin")
    return tmp_path


def run_yaml(folder, text, *flags):
    (folder / "x.yaml").write_text(text.format(folder=folder))
    return main([f"--configFile={folder / 'x.yaml'}", *flags])


def test_pixels_as_bytes_calibrate_as_the_same_in_float(folder):
    written = []
    for dtype in (np.float32, np.uint8):
        for file in (folder / "data").iterdir():
            np.fromfile(file, np.float32).astype(dtype).tofile(file)
        assert not run_yaml(folder, J5, "--inputDataFormat=NCHW")
        written.append((folder / "model_output" / "net.ms").read_bytes())
    assert written[0] == written[1]


def test_a_camera_in_a_batch_to_int8(folder, capsys):
    assert not run_yaml(folder, J5, "--inputDataFormat=NCHW", "--outputFormat=MS,ONNX")
    printed = capsys.readouterr().out
    assert "softmax (Softmax) removed" in printed and "march: has no effect" in printed
    session = bitlite.load(folder / "model_output" / "net.ms")
    assert [(p.name, p.shape, p.dtype) for p in session.inputs] == [
        (f"image_{plane}_{k}", shape, np.uint8) for plane, shape in (("y", (1, 16, 12, 1)), ("uv", (1, 8, 6, 2)))
        for k in (0, 1)
    ]  # fmt: skip
    assert any(n.op == "Conv" and n.outputs[0].dtype == np.int8 for n in session.graph.nodes)
    feed = {p.name: RNG.integers(60, 190, p.shape).astype(np.uint8) for p in session.inputs}
    got = session.run(feed)["probabilities"]
    whole = bitlite.read(folder / "m.onnx")
    remove_node_types(whole, ["Softmax"])
    bitlite.write(whole, folder / "scores.onnx")
    network = bitlite.load(folder / "scores.onnx")
    wanted = []
    for k in (0, 1):
        y = feed[f"image_y_{k}"][0, ..., 0].astype(np.float64)
        u, v = np.moveaxis(feed[f"image_uv_{k}"][0].repeat(2, 0).repeat(2, 1).astype(np.float64) - 128, -1, 0)
        bgr = np.stack([y + 1.772 * u, y - 0.344136 * u - 0.714136 * v, y + 1.402 * v]).clip(0, 255)
        x = (bgr - MEAN[:, None, None]) * SCALE
        wanted.append(network.run({"image": x[None].astype(np.float32)})["probabilities"])
    wanted = np.concatenate(wanted)
    assert 10 * np.log10(np.square(wanted).sum() / np.square(got - wanted).sum()) > 25
    assert (folder / "model_output" / "net.onnx").exists()


def test_data_of_j6_are_ready_and_those_of_j5_lack_mean_and_scale(folder):
    """The same ranges from the same data, given in either form."""
    assert not run_yaml(folder, J5, "--inputDataFormat=NCHW")
    first = (folder / "model_output" / "net.ms").read_bytes()
    for path in (folder / "data").iterdir():
        x = np.fromfile(path, np.float32).reshape(1, 3, 16, 12)
        np.save(path.with_suffix(".npy"), (x - MEAN[:, None, None]) / np.float32(1 / 0.017))
        path.unlink()
    assert not run_yaml(folder, J5.replace("bayes-e", "nash-e"), "--inputDataFormat=NCHW")
    assert (folder / "model_output" / "net.ms").read_bytes() == first


def test_the_same_options_by_flags(folder):
    assert not run_yaml(folder, J5, "--inputDataFormat=NCHW")
    flags = [f"--modelFile={folder / 'm.onnx'}", f"--outputFile={folder / 'flags'}", "--quantType=PostTraining"]
    flags += ["--removeNodeType=Quantize,Transpose,Dequantize,Cast,Reshape,Softmax", "--fusePreprocess", "--fmk=ONNX"]
    flags += ["--pixelFormat=NV12", "--imageToFormat=BGR", "--normalizeMean=103.94,116.78,123.68", "--inputBatch=2"]
    flags += [f"--normalizeStd={1 / 0.017!r}", "--separateBatch", f"--calibratePath={folder / 'data'}"]
    flags += ["--sampleStage=unnormalized", "--activationQuantMethod=PERCENTILE:99.99", "--inputDataFormat=NCHW"]
    assert not main([*flags, "--calibrateSize=20"])
    ports = [bitlite.load(p) for p in (folder / "flags.ms", folder / "model_output" / "net.ms")]
    feed = {p.name: RNG.integers(0, 256, p.shape).astype(np.uint8) for p in ports[0].inputs}
    assert np.array_equal(*(s.run(feed)["probabilities"] for s in ports))


def test_types_of_the_model_of_operators_and_of_nodes(folder):
    config = {"model_config": {"all_node_type": "float16"}, "op_config": {"Conv": {"qtype": "int8"}},
              "node_config": {"conv1/Conv": {"qtype": "float32"}}}  # fmt: skip
    (folder / "quant.json").write_text(json.dumps(config))
    text = J5.replace("calibration_type: max", "quant_config: {folder}/quant.json").replace(
        "  max_percentile: 0.9999\n", ""
    )
    assert not run_yaml(folder, text, "--inputDataFormat=NCHW", "--floatWeights=float")
    graph = bitlite.load(folder / "model_output" / "net.ms").graph
    layers = [n for n in graph.nodes if n.op in ("Conv", "FullyConnected")]
    types = {n.name.partition("/")[0]: n.inputs[1].dtype for n in layers if n.name[:2] in ("co", "fc")}
    types.pop("colours", None)
    assert types == {"conv0": np.int8, "conv1": np.float32, "fc": np.float32}
    inline = J5.replace("calibration_type: max", 'quant_config: {{"node_config": {{"conv0": "float32"}}}}')
    (folder / "x.yaml").write_text(inline.replace("  max_percentile: 0.9999\n", "").format(folder=folder))
    assert list(map(str, options_of_args([f"--configFile={folder / 'x.yaml'}"]).keep_float)) == ["conv0"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("norm_type: data_mean_and_scale", "norm_typ: data_mean", "in input_parameters; try norm_type"),
        ("input_parameters:", "input_params:", "x.yaml:8: input_params is not a known section; try input_parameters"),
        ("input_type_rt: nv12", "input_type_rt: nv21", "x.yaml:10: input_type_rt=nv21: must be rgb"),
        ("core_num: 1", "core_num: 2", "core_num=2: belongs to the vendor's compiler"),
        ("calibration_type: max", "calibration_type: skip", "not from random values"),
        ("scale_value: 0.017", "scale_value: 0.017\n  std_value: 58", "scale_value is given, too"),
        ("  mean_value: 103.94 116.78 123.68\n", "", "mean_value: is missing with norm_type"),
        ("march: bayes-e", "set_node_data_type: conv0;int16", "must read NAME:int16;..., and 'conv0' has no colon"),
        ("march: bayes-e", "set_node_data_type: conv0:int4", "'int4' for 'conv0' must be int8|int16|float32"),
        ("march: bayes-e", "set_node_data_type: convv:int16", "convv"),
        ("calibration_type: max", "optimization: set_model_output_int16", "outputs are int8 or float"),
        ("calibration_type: max", "optimization: set_everything", "set_everything is not there"),
        ("calibration_type: max", 'quant_config: {{"op_config": {{"Conv": "int4"}}}}', "Conv: int4 is not there"),
        ("calibration_type: max", 'quant_config: {{"model_config": {{"activation": {{"num_bin": 7}}}}}}',
         "num_bin: 7 must be 512 to"),
        ("calibration_type: max", 'quant_config: {{"model_config": {{"layerwise_search": {{}}}}}}', "is not there"),
        ("march: bayes-e", "march: [", "is not yaml"),
        ("  march: bayes-e\n", "", "may come before or after the preprocessing"),
        ("remove_node_type:", "remove_node_name: conv1 #", "conv1"),
        ("input_layout_train: NCHW", "input_layout_train: NCHW\n  input_type_train: rgb", "given in line 11"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_its_place(folder, capsys, old, new, words):
    assert old in J5
    assert run_yaml(folder, J5.replace(old, new), "--inputDataFormat=NCHW")
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_file_without_a_camera_is_an_ordinary_quantization(folder):
    text = J5.replace("nv12", "featuremap").replace("  input_batch: 2\n  separate_batch: True\n", "")
    assert not run_yaml(folder, text, "--inputDataFormat=NCHW")
    (port,) = bitlite.load(folder / "model_output" / "net.ms").inputs
    assert (port.name, port.dtype) == ("image", np.float32)


def test_the_nearer_word_counts():
    config = {"subgraph_config": {"s": {"inputs": ["a"], "outputs": ["b", "c"], "qtype": "float32"}},
              "op_config": {"Conv": "float16"}, "model_config": {"model_output_type": "int8"},
              "node_config": {"a": "int8"}}  # fmt: skip
    given = Given()
    types = quant_config(config, "here", given)
    assert floats(types) == ["type:Conv", "from a to b", "from a to c", "!a"] and not widths(types)
    assert given.values == {"output_data_type": "INT8"}
    nodes = {"x": {"ON": "CPU"}, "y": {"ON": "BPU"}, "z": {"InputType": "int16", "OutputType": "int16"}}
    types = quant_config(nodes, "here", given, nodes=True)
    assert floats(types) == ["x", "!y", "!z"] and widths(types) == {"y": 8, "z": 16}
    with pytest.raises(bitlite.UsageError, match="InputType=int32 is not there; try int8 or int16"):
        quant_config({"x": {"InputType": "int32"}}, "here", given, nodes=True)


def test_sixteen_bits_of_the_model_of_operators_and_of_nodes():
    config = {"op_config": {"Conv": "int8", "Softmax": "float32"}, "model_config": {"all_node_type": "int16"},
              "node_config": {"c": {"qtype": "int16"}}}  # fmt: skip
    types = quant_config(config, "here", Given())
    assert widths(types) == {0: 16, "type:Conv": 8, "c": 16}
    assert floats(types) == ["!re:.*", "!type:Conv", "type:Softmax", "!c"]


def test_what_a_search_may_choose_from_is_chosen_by_auto():
    for kinds, percentile, method in ((["max", "kl"], [0.999, 1.0], "AUTO"), ("max", 0.999, "PERCENTILE:99.9")):
        given = Given()
        activation = {"calibration_type": kinds, "max_percentile": percentile, "num_bin": [1024], "asymmetric": True}
        config = {"model_config": {"activation": activation, "weight": {"bias_correction": {"metric": "mse"}}}}
        assert not quant_config(config, "here", given)
        wanted = {"activation_quant_method": (method,), "th_binnum": 1024, "bias_correction": "sequential"}
        assert given.values == wanted


@pytest.mark.parametrize(
    ("key", "value", "wide"),
    [
        ("calibration_type: max", "optimization: set_all_nodes_int16", {"conv0", "conv1", "fc"}),
        ("calibration_type: max", "optimization: set_Conv_output_int16", {"conv0", "conv1"}),
        ("calibration_type: max", "optimization: set_Gemm_input_int16;bias_correction", {"fc"}),
        ("march: bayes-e", "march: bayes-e\n  set_node_data_type: conv0/Conv:int16;fc:int8", {"conv0"}),
        ("march: bayes-e", 'march: bayes-e\n  node_info: {{"conv1/Conv": {{"InputType": "int16"}}}}', {"conv1"}),
        ("calibration_type: max", 'quant_config: {{"node_config": {{"fc": "int16"}}}}', {"fc"}),
        ("calibration_type: max", 'quant_config: {{"model_config": {{"all_node_type": "int16"}},'
         ' "op_config": {{"Conv": "int8"}}, "node_config": {{"conv0/Conv": "int16"}}}}', {"conv0", "fc"}),
    ],
)  # fmt: skip
def test_nodes_of_int16_have_codes_of_16_bits(folder, key, value, wide):
    text = J5.replace(key, value).replace("  max_percentile: 0.9999\n", "")
    assert not run_yaml(folder, text, "--inputDataFormat=NCHW")
    graph = bitlite.load(folder / "model_output" / "net.ms").graph
    layers = {n.name.partition("/")[0]: n for n in graph.nodes if n.op in ("Conv", "FullyConnected")}
    assert {name for name in ("conv0", "conv1", "fc") if layers[name].inputs[0].dtype == np.int16} == wide


def test_inputs_between_semicolons_have_values_of_their_own(tmp_path):
    (tmp_path / "x.yaml").write_text(
        """
model_parameters: {onnx_model: m.onnx, march: nash-e}
input_parameters:
  input_name: "image;lidar;"
  input_type_rt: nv12;featuremap
  input_type_train: rgb;featuremap
  input_shape: 1x3x64x64;1x10
  norm_type: data_scale;no_preprocess
  scale_value: 0.5;1
calibration_parameters: {cal_data_dir: a;b}
compiler_parameters:
  input_source: {image: resizer}
"""
    )
    options = options_of_args([f"--configFile={tmp_path / 'x.yaml'}"])
    assert options.input_shape == {"image": (1, 3, 64, 64), "lidar": (1, 10)}
    assert options.calibrate_path == {"image": "a", "lidar": "b"} and options.pixel_inputs == ("image",)
    assert (options.pixel_format, options.image_to_format, options.normalize_std) == ("NV12", "RGB", (2.0,))
    assert (
        options.roi_input
        and options.sample_stage == "preprocessed"
        and options.output_path() == "model_output/model.ms"
    )
