"""Caffe networks as a whole: both forms, in-place tops, phases, data layers, and what is refused."""

from __future__ import annotations

import bitlite
import numpy as np
import onnxruntime
import pytest
from bitlite.converter.errors import ModelError, UnsupportedError
from bitlite.converter.formats import read_model
from caffe_networks import inputs, layer, write
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(5)
CONV = "convolution_param { num_output: 4 kernel_size: 3 bias_term: false }"
W = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
X = RNG.standard_normal((1, 3, 9, 9)).astype(np.float32)
NEW = f"""
name: "net"
input: "x" input_shape {{ dim: 1 dim: 3 dim: 9 dim: 9 }}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "y" {CONV} }}
layer {{ name: "relu" type: "ReLU" bottom: "y" top: "y" }}
layer {{ name: "pool" type: "Pooling" bottom: "y" top: "z" pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
"""
OLD = f"""
name: "net"
input: "x" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers {{ name: "conv" type: CONVOLUTION bottom: "x" top: "y" blobs_lr: 1 {CONV} }}
layers {{ name: "relu" type: RELU bottom: "y" top: "y" }}
layers {{ name: "pool" type: POOLING bottom: "y" top: "z" pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
"""


def run(path, **feeds):
    return bitlite.load(path).run(feeds)


@pytest.mark.parametrize(("text", "older"), [(NEW, False), (OLD, True), (NEW, True), (OLD, False)])
def test_both_forms_of_text_and_of_weights_are_read(tmp_path, text, older):
    path = write(tmp_path, text, {"conv": [W]}, older=older)
    graph = read_model(str(path))
    assert [(t.name, t.layout) for t in graph.inputs] == [("x", "NCHW")]
    assert [t.name for t in graph.outputs] == ["z"]
    # The blob that relu computes in place is y, and conv's own before.
    assert {n.name: n.outputs[0].name for n in graph.nodes if n.name in ("conv", "relu")}["relu"] == "y"
    y = np.stack([[(X[0, :, i : i + 3, j : j + 3] * w).sum() for i in range(7) for j in range(7)] for w in W])
    y = np.maximum(y, 0).reshape(4, 7, 7)
    wanted = [[[c[i : i + 2, j : j + 2].max() for j in (0, 2, 4, 6)] for i in (0, 2, 4, 6)] for c in y]
    np.testing.assert_allclose(run(path, x=X)["z"][0], wanted, rtol=1e-5, atol=1e-5)


def test_large_weights_are_views_of_the_file(tmp_path):
    big = RNG.standard_normal((200, 100)).astype(np.float32)
    text = inputs((2, 100)) + layer("InnerProduct", "inner_product_param { num_output: 200 bias_term: false }")
    for older in (False, True):
        path = write(tmp_path, text, {"l": [big]}, older=older)
        weight = next(t for t in read_model(str(path)).constants() if t.shape == (200, 100))
        np.testing.assert_array_equal(weight.data, big)
        assert not weight.data.flags.owndata


def squeezenet(rng, size=35):
    """SqueezeNet 1.1 with few channels, as text, weights and ONNX nodes of the same."""
    text, blobs, nodes, constants = [f'name: "squeeze"\n{inputs((1, 3, size, size))}'], {}, [], []

    def conv(name, x, ci, co, kernel, stride=1, pad=0):
        blobs[name] = [rng.standard_normal((co, ci, kernel, kernel)) * (1.5 / (ci * kernel**2)) ** 0.5,
                       rng.standard_normal(co) * 0.1]  # fmt: skip
        more = f"num_output: {co} kernel_size: {kernel} stride: {stride} pad: {pad}"
        text.append(layer("Convolution", f"convolution_param {{ {more} }}", x, name, name))
        text.append(layer("ReLU", "", name, name, f"relu_{name}"))
        for k, a in enumerate(blobs[name]):
            constants.append(numpy_helper.from_array(np.asarray(a, np.float32), f"{name}/{k}"))
        attrs = {"strides": [stride] * 2, "pads": [pad] * 4}
        nodes.append(helper.make_node("Conv", [x, f"{name}/0", f"{name}/1"], [f"{name}/conv"], **attrs))
        nodes.append(helper.make_node("Relu", [f"{name}/conv"], [name]))
        return name

    def pool(name, x):
        text.append(layer("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }", x, name, name))
        attrs = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
        nodes.append(helper.make_node("MaxPool", [x], [name], **attrs))
        return name

    def fire(name, x, ci, squeeze, expand):
        s = conv(f"{name}_squeeze", x, ci, squeeze, 1)
        both = [conv(f"{name}_1x1", s, squeeze, expand, 1), conv(f"{name}_3x3", s, squeeze, expand, 3, pad=1)]
        text.append(layer("Concat", "", " ".join(both), name, name))
        nodes.append(helper.make_node("Concat", both, [name], axis=1))
        return name

    y = pool("pool1", conv("conv1", "x", 3, 8, 3, 2))
    y = pool("pool3", fire("fire3", fire("fire2", y, 8, 4, 8), 16, 4, 8))
    y = pool("pool5", fire("fire5", fire("fire4", y, 16, 6, 12), 24, 6, 12))
    y = fire("fire6", y, 24, 8, 16)
    text.append(layer("Dropout", "dropout_param { dropout_ratio: 0.5 }", y, y, "drop"))
    y = conv("conv10", y, 32, 10, 1)
    text.append(layer("Pooling", "pooling_param { pool: AVE global_pooling: true }", y, "pool10", "pool10"))
    text.append(layer("Softmax", "", "pool10", "prob", "prob"))
    nodes += [
        helper.make_node("GlobalAveragePool", [y], ["pool10"]),
        helper.make_node("Softmax", ["pool10"], ["prob"], axis=1),
    ]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, size, size]), ("prob", None))
    ]
    graph = helper.make_graph(nodes, "squeeze", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return "".join(text), blobs, model


def test_squeezenet_gives_what_onnxruntime_does(tmp_path):
    text, blobs, model = squeezenet(np.random.default_rng(2))
    path = write(tmp_path, text, blobs)
    x = RNG.standard_normal((1, 3, 35, 35)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    assert np.ptp(wanted) > 0.01
    np.testing.assert_allclose(run(path, x=x)["prob"], wanted, rtol=0, atol=1e-6)
    bitlite.convert(path, tmp_path / "out", fmk="CAFFE", weight_file=str(tmp_path / "net.caffemodel"))
    session = bitlite.load(tmp_path / "out.ms")
    found = session.run({"x": x.transpose(0, 2, 3, 1)})["prob"]
    np.testing.assert_allclose(found.reshape(-1), wanted.reshape(-1), rtol=0, atol=1e-6)


DATA = """
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TEST }
  transform_param { scale: 0.5 crop_size: 9 mean_value: 104 mean_value: 117 mean_value: 123 }
  data_param { source: "somewhere" batch_size: 0 backend: LMDB } }
layer { name: "train" type: "Data" top: "x" top: "label" include { phase: TRAIN } }
"""
ENDS = """
layer { name: "acc" type: "Accuracy" bottom: "y" bottom: "label" top: "acc" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }
"""


def test_a_data_layer_is_the_input_and_labels_are_left_out(tmp_path):
    text = DATA + layer("Convolution", CONV, "x", "y", "conv") + ENDS
    graph = read_model(str(write(tmp_path, text, {"conv": [W]})))
    assert [(t.name, t.shape) for t in graph.inputs] == [("x", (1, 3, 9, 9))]
    assert [t.name for t in graph.outputs] == ["y"]
    assert graph.meta["data_layer"] == {
        "name": "data", "input": "x", "source": "somewhere", "backend": "LMDB", "batch": 0, "annotated": False,
        "steps": [{"op": "color", "order": "BGR"}, {"op": "crop", "height": 9, "width": 9},
                  {"op": "stand", "mean": [104.0, 117.0, 123.0], "scale": 0.5}],
    }  # fmt: skip


def test_steps_of_a_data_layer_keep_their_order(tmp_path):
    ops = """transform_op { op: RESIZE resize_h: 12 resize_w: 10 } transform_op { op: CROP crop_fraction: 0.75 }
             transform_op { op: STAND mean_value: 128 scale: 2 div: 64 bgr2rgb: true }"""
    data = f'layer {{ name: "d" type: "AnnotatedData" top: "x" transform_param {{ {ops} }} }}'
    graph = read_model(str(write(tmp_path, data + layer("Convolution", CONV, name="conv"), {"conv": [W]})))
    assert graph.inputs[0].shape == (1, 3, 9, 8)
    assert graph.meta["data_layer"]["annotated"]
    assert graph.meta["data_layer"]["steps"] == [
        {"op": "color", "order": "RGB"},
        {"op": "resize", "height": 12, "width": 10, "method": "LINEAR", "mode": "WARP", "pad": 0.0},
        {"op": "crop", "fraction": 0.75},
        {"op": "stand", "mean": [128.0], "scale": 0.03125},
    ]


def test_what_a_layer_says_of_its_quantization_is_kept(tmp_path):
    text = inputs(X.shape) + layer("Convolution", CONV + " th_strategy: USE_MAX th_scale: 0.5", tops="y", name="conv")
    text += layer("ReLU", "threshold: 3 forward_with_float: true", "y", "y", "relu")
    graph = read_model(str(write(tmp_path, text, {"conv": [W]})))
    assert graph.meta["layer_settings"] == [
        {"name": "conv", "th_strategy": "USE_MAX", "th_scale": 0.5},
        {"name": "relu", "threshold": 3.0, "forward_with_float": True},
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (inputs(X.shape) + layer("PriorBox", "prior_box_param { min_size: 3 }"), "l: layer type PriorBox is not read"),
        (inputs(X.shape) + layer("DetectionOutput", "foo_param { }"), "l: layer type DetectionOutput is not read"),
        (inputs(X.shape) + layer("Convolution", "convolution_param { kernal_size: 3 }"), "kernal_size"),
        (inputs(X.shape) + layer("Convolution", "convolution_param { kernel_size: 3 }", "w"), "'w' is read before"),
        (inputs(X.shape) + layer("Convolution", CONV, name="other"), "weight 0 is not in the file of weights"),
        (inputs(X.shape) + layer("Pooling"), "l (Pooling): kernel_size is missing"),
        (inputs(X.shape) + layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "stochastic"),
        (inputs(X.shape) + layer("Softmax", "softmax_param { axis: 4 }"), "axis 4 is outside -4..3"),
        (inputs(X.shape) + layer("Flatten", 'name: "'), "is not a network in text"),
        (inputs(X.shape), "it computes nothing"),
        (
            DATA.replace("crop_size: 9", "crop_size: 9 transform_op { op: NONE }") + layer("ReLU"),
            "one of the two kinds",
        ),
        (DATA.replace("mean_value: 104", 'mean_file: "m.binaryproto"') + layer("ReLU"), "mean_file 'm.binaryproto'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, said):
    path = write(tmp_path, text, {"l": [W]})
    with pytest.raises((ModelError, UnsupportedError)) as caught:
        read_model(str(path))
    assert said in str(caught.value)


def test_weights_that_are_missing_or_damaged_are_named(tmp_path):
    path = write(tmp_path, NEW, {"conv": [W]})
    weights = tmp_path / "net.caffemodel"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"net\.caffemodel: truncated, damaged or not a \.caffemodel"):
        read_model(str(path))
    write(tmp_path, NEW, {"conv": [W.reshape(4, 3, 9)]})
    with pytest.raises(UnsupportedError, match="conv"):
        read_model(str(path))
    weights.unlink()
    with pytest.raises(ModelError, match=r"net.prototxt: its weights, .*net.caffemodel, are not there; .*weight_file"):
        read_model(str(path))
