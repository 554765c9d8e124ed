"""PostTraining, from file to file, of networks that few exporters write."""

import bitlite
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(5)


def weight(*shape):
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def saved(path, nodes, inputs, outputs, constants):
    """inputs and outputs: name → shape; float32."""
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", *ends, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def conv(x, w, y, **attrs):
    size = attrs.pop("size", 3)
    pads = {"kernel_shape": [size, size], "pads": [size // 2] * 4}
    return helper.make_node("Conv", [x, w], [y], name=y, **(pads | attrs))


def normal(*shape, count=8):
    return [RNG.standard_normal(shape).astype(np.float32) for _ in range(count)]


def sqnr(want, got):
    return 10 * np.log10(np.square(want).sum() / np.square(want - got).sum())


@pytest.mark.parametrize("target", ["bitlite", "mslite"])
def test_an_input_of_rank_0(tmp_path, target):
    nodes = [conv("x", "w", "a"), helper.make_node("Mul", ["a", "k"], ["b"]), conv("b", "v", "y")]
    source = saved(
        tmp_path / "m.onnx", nodes, {"x": [1, 4, 6, 6], "k": []}, {"y": [1, 4, 6, 6]},
        {"w": weight(8, 4, 3, 3), "v": weight(4, 8, 3, 3)},
    )  # fmt: skip
    samples = [{"x": x, "k": np.array(k, np.float32)} for x, k in zip(normal(1, 4, 6, 6), np.linspace(0.5, 2, 8))]
    options = {"output_format": "ONNX", "target": target, "quant_type": "PostTraining"}
    bitlite.convert(source, tmp_path / "q", calibration_data=samples, **options)
    want = np.stack([bitlite.load(source).run(s)["y"] for s in samples])
    got = np.stack([bitlite.load(tmp_path / "q.onnx").run(s)["y"] for s in samples])
    assert got.shape == want.shape
    assert sqnr(want, got) > 25


@pytest.mark.parametrize("optimize", ["general", "none"])
def test_a_layer_without_output_channels(tmp_path, optimize):
    join = helper.make_node("Concat", ["a", "b"], ["c"], axis=1)
    nodes = [conv("x", "none", "a"), conv("x", "w", "b"), join, conv("c", "v", "y")]
    constants = {"none": weight(0, 4, 3, 3), "w": weight(6, 4, 3, 3), "v": weight(3, 6, 3, 3)}
    source = saved(tmp_path / "m.onnx", nodes, {"x": [1, 4, 6, 6]}, {"y": [1, 3, 6, 6]}, constants)
    samples = normal(1, 4, 6, 6)
    formats = "MS,TFLITE,ONNX" if optimize == "general" else "ONNX"
    bitlite.convert(source, tmp_path / "q", quant_type="PostTraining", calibration_data=samples, optimize=optimize,
                    output_format=formats)  # fmt: skip
    got = np.stack([bitlite.load(tmp_path / "q.onnx").run(x)["y"] for x in samples])
    assert sqnr(np.stack([bitlite.load(source).run(x)["y"] for x in samples]), got) > 25


def test_a_mean_of_open_sizes_is_named(tmp_path):
    nodes = [conv("x", "w", "a"), helper.make_node("GlobalAveragePool", ["a"], ["b"], name="pool"),
             conv("b", "v", "y", size=1)]  # fmt: skip
    constants = {"w": weight(8, 4, 3, 3), "v": weight(3, 8, 1, 1)}
    source = saved(tmp_path / "m.onnx", nodes, {"x": ["n", 4, 6, 6]}, {"y": ["n", 3, 1, 1]}, constants)

    def noted(**options):
        samples = normal(1, 4, 6, 6)
        report = bitlite.convert(source, tmp_path / "q", quant_type="PostTraining", calibration_data=samples, **options)
        return [note for note in report.notes if "fixed sizes for int8 pool: input_shape" in note]

    assert noted()
    assert not noted(input_shape="x:1,4,6,6")
    assert not noted(target="mslite")
    assert not noted(output_format="TFLITE")


def pixels(path, *nodes, shape):
    """A network on uint8."""
    nodes = [helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT), *nodes]
    saved(path, nodes, {"x": shape}, {"y": [1, 4, 6, 6]}, {"w": weight(4, 3, 3, 3)})
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, path)
    return path


def test_pixels_that_a_model_turns_itself_are_taken_as_they_are(tmp_path):
    turn = helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2])
    path = pixels(tmp_path / "m.onnx", turn, conv("b", "w", "y"), shape=[1, 6, 6, 3])
    x = RNG.integers(0, 256, (1, 6, 6, 3)).astype(np.uint8)
    (tmp_path / "data").mkdir()
    x.tofile(tmp_path / "data" / "0.bin")
    bitlite.convert(path, tmp_path / "q", quant_type="PostTraining", calibrate_path="x:" + str(tmp_path / "data"),
                    output_format="MS,TFLITE,ONNX", calibrate_size=1)  # fmt: skip
    want = bitlite.load(path).run(x)["y"]
    for ending in (".ms", ".tflite", ".onnx"):
        session = bitlite.load(tmp_path / ("q" + ending))
        assert session.inputs[0].shape == (1, 6, 6, 3)
        got = session.run(x)["y"]
        assert sqnr(want, got if ending != ".tflite" else got.transpose(0, 3, 1, 2)) > 30


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_named(tmp_path, value):
    bad = weight(8, 4, 3, 3)
    bad[2, 1, 0, 0] = value
    nodes = [conv("x", "bad", "a"), conv("a", "v", "y")]
    constants = {"bad": bad, "v": weight(3, 8, 3, 3)}
    source = saved(tmp_path / "m.onnx", nodes, {"x": [1, 4, 6, 6]}, {"y": [1, 3, 6, 6]}, constants)
    with pytest.raises(bitlite.DataError, match=r"constant 'bad' of a \(Conv\) holds NaN or infinity"):
        bitlite.convert(source, tmp_path / "q", quant_type="PostTraining", calibration_data=normal(1, 4, 6, 6))
    assert not (tmp_path / "q.ms").exists()
