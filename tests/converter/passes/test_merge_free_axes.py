from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.passes.merge_free_axes import merge_free_axes
from onnx import helper, numpy_helper, save


def volume(net, shape=(2, 3, 6, 5, 4), kernel=(1, 3, 3), group=1, **attrs):
    w = net.const(8, *kernel, shape[-1] // group)
    pads = [v for k in kernel for v in (k // 2, k // 2)]
    window = {"stride": [1, 1, 1], "dilation": [1, 1, 1], "pad": pads, "group": group} | attrs
    return net.done(net.emit("Conv", net.input(*shape), w, net.const(8, name="b"), **window))


@pytest.mark.parametrize("attrs", [{}, {"stride": [1, 2, 1]}, {"dilation": [1, 1, 2]}, {"group": 4}, {"act": "relu"}])
def test_slices_become_images(net, rewrite, attrs):
    got = rewrite(volume(net, **attrs), merge_free_axes)
    assert got.ops == ["Reshape", "Conv", "Reshape"]
    conv = got.node("Conv")
    assert conv.inputs[0].shape == (6, 6, 5, 4) and conv.inputs[1].shape[1:3] == (3, 3)


def test_an_axis_of_one_value_falls_out(net, rewrite):
    got = rewrite(volume(net, (2, 7, 1, 5, 4), (3, 1, 3)), merge_free_axes)
    assert got.node("Conv").inputs[0].shape == (2, 7, 5, 4)


@pytest.mark.parametrize(
    ("shape", "kernel", "attrs"),
    [
        ((2, 3, 6, 5, 4), (3, 3, 3), {}),
        ((2, 3, 6, 5, 4), (3, 1, 3), {}),
        ((2, 3, 6, 5, 4), (1, 3, 3), {"stride": [2, 1, 1]}),
        ((2, 3, 6, 5, 4), (1, 3, 3), {"pad": [1, 0, 1, 1, 1, 1]}),
        ((None, 3, 6, 5, 4), (1, 3, 3), {}),
    ],
)
def test_other_volumes_stay(net, rewrite, shape, kernel, attrs):
    got = rewrite(volume(net, shape, kernel, **attrs), merge_free_axes)
    assert got.ops == ["Conv"] and got.refusals


@pytest.mark.parametrize("quant_type", [None, "WeightQuant"])
def test_a_network_on_frames_is_written_for_mindspore(tmp_path, quant_type):
    """Conv3d of kernel 1 x 5 x 5 on one frame, as a watermark's network has it."""
    w = np.random.default_rng(0).normal(0, 0.1, (8, 3, 1, 5, 5)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 2, 2, 0, 2, 2])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, [1, 3, 1, 16, 16])],
        [helper.make_tensor_value_info("y", 1, [1, 8, 1, 16, 16])], [numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    source = str(tmp_path / "m.onnx")
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source)
    x = np.random.default_rng(1).normal(size=(1, 3, 1, 16, 16)).astype(np.float32)
    onnxruntime = pytest.importorskip("onnxruntime")
    [want] = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    [path] = bitlite.convert(source, tmp_path / "out", output_format="MS", quant_type=quant_type).files
    [got] = bitlite.load(path).run({"x": x}).values()
    assert np.abs(got - want).max() < (1e-5 if quant_type is None else 0.02) * np.abs(want).max()
