from __future__ import annotations

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import Error
from bitlite.converter.ops.norm import group_norm, instance_norm


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3), (2, 3, 7), (1, 3, 2, 3, 4)])
@pytest.mark.parametrize("const", [(), (1, 2, 3, 4)])
def test_batch_norm_equals_onnxruntime(onnx_check, rng, shape, const):
    inputs = [f32(rng, *shape), f32(rng, 3), f32(rng, 3), f32(rng, 3), np.abs(f32(rng, 3))]
    onnx_check("BatchNormalization", inputs, {"epsilon": 1e-3}, const=const)
    onnx_check("BatchNormalization", inputs, const=const, opset=8)


def test_batch_norm_in_training_is_refused(onnx_check, rng):
    inputs = [f32(rng, 2, 3, 4, 4), f32(rng, 3), f32(rng, 3), f32(rng, 3), np.abs(f32(rng, 3))]
    with pytest.raises(Error, match="training_mode=1"):
        onnx_check("BatchNormalization", inputs, {"training_mode": 1}, outputs=3, want=[])


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 7), (1, 3, 2, 3, 4)])
def test_instance_norm_equals_onnxruntime(onnx_check, rng, shape):
    onnx_check("InstanceNormalization", [f32(rng, *shape), f32(rng, 3), f32(rng, 3)], {"epsilon": 1e-2}, tolerance=1e-4)


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("const", [(), (1, 2)])
def test_group_norm_equals_onnxruntime(onnx_check, rng, opset, const):
    many = 6 if opset >= 21 else 3
    inputs = [f32(rng, 2, 6, 4, 5), f32(rng, many), f32(rng, many)]
    onnx_check("GroupNormalization", inputs, {"num_groups": 3}, opset=opset, const=const, tolerance=1e-4)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 7), -1), ((2, 3, 4, 5), 2), ((2, 3, 4), 0), ((3, 5), 1)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_layer_norm_equals_onnxruntime(onnx_check, rng, shape, axis, outputs):
    tail = shape[axis:]
    inputs = [f32(rng, *shape), f32(rng, *tail), f32(rng, *tail)]
    onnx_check("LayerNormalization", inputs, {"axis": axis, "epsilon": 1e-3}, outputs=outputs, tolerance=1e-4)
    onnx_check("LayerNormalization", inputs[:2], {"axis": axis}, outputs=outputs, tolerance=1e-4, const=(1,))


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 7), -1), ((2, 3, 4, 5), 2)])
def test_rms_norm_equals_its_definition(onnx_check, rng, shape, axis):
    x, scale = f32(rng, *shape), f32(rng, *shape[axis:])
    axes = tuple(range(axis % len(shape), len(shape)))
    want = x / np.sqrt(np.square(x).mean(axes, keepdims=True) + np.float32(1e-3)) * scale
    onnx_check("RMSNormalization", [x, scale], {"axis": axis, "epsilon": 1e-3}, opset=23, want=[want])


def test_skip_layer_norm_equals_onnxruntime(onnx_check, rng):
    inputs = [f32(rng, 2, 3, 8), f32(rng, 2, 3, 8), f32(rng, 8), f32(rng, 8), f32(rng, 8)]
    attrs = {"epsilon": 1e-5}
    onnx_check("SkipLayerNormalization", inputs, attrs, domain="com.microsoft", tolerance=1e-4)
    names = ("y", "", "", "sum")
    onnx_check("SkipLayerNormalization", inputs, attrs, domain="com.microsoft", outputs=names, tolerance=1e-4)
    onnx_check(
        "SkipSimplifiedLayerNormalization", inputs[:3], attrs, domain="com.microsoft", outputs=names, tolerance=1e-4
    )


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_lp_normalization_equals_onnxruntime(onnx_check, rng, p, axis):
    x = f32(rng, 3, 4, 5)
    x[0], x[:, 1], x[..., 2] = 0, 0, 0
    onnx_check("LpNormalization", [x], {"p": p, "axis": axis})


@pytest.mark.parametrize("size", [1, 3, 4, 5, 9])
def test_lrn_equals_onnxruntime(onnx_check, rng, size):
    if size % 2:
        onnx_check("LRN", [f32(rng, 2, 7, 4, 5)], {"size": size, "alpha": 0.02, "beta": 0.5, "bias": 2.0})
    else:
        x = f32(rng, 1, 6, 2, 2)
        padded = np.pad(np.square(x), [(0, 0), (1, 2), (0, 0), (0, 0)])
        sums = sum(padded[:, k : k + 6] for k in range(4))
        onnx_check("LRN", [x], {"size": 4, "alpha": 0.4, "beta": 0.75}, want=[x / (1 + np.float32(0.1) * sums) ** 0.75])


@pytest.mark.parametrize("axes", [None, [0, 1, 2, 3], [1]])
def test_mean_variance_normalization_equals_onnxruntime(onnx_check, rng, axes):
    attrs = {} if axes is None else {"axes": axes}
    onnx_check("MeanVarianceNormalization", [f32(rng, 3, 4, 5, 6)], attrs, tolerance=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 7)])
def test_tflite_l2_normalization_equals_litert(tflite_check, rng, shape):
    x = f32(rng, *shape)
    x[0] = 0
    tflite_check("L2_NORMALIZATION", [x], ("L2NormOptions", {}))


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
def test_tflite_local_response_normalization_equals_litert(tflite_check, rng, radius):
    options = {"radius": radius, "bias": 1.5, "alpha": 0.3, "beta": 0.6}
    tflite_check("LOCAL_RESPONSE_NORMALIZATION", [f32(rng, 2, 3, 4, 7)], ("LocalResponseNormalizationOptions", options))


@pytest.mark.parametrize("level", [0.0, 1e3, 1e5])
@pytest.mark.parametrize("groups", [1, 4, 8])
def test_groups_far_from_zero_are_standardized_as_exactly_as_float32_holds_them(groups, level):
    rng = np.random.default_rng(groups)
    x = (level + rng.normal(0, 1, (2, 9, 7, 8))).astype(np.float32)
    scale, offset = (rng.normal(1, 0.3, 8).astype(np.float32) for _ in range(2))
    parts = x.astype(np.float64).reshape(2, -1, groups, 8 // groups)
    mean, var = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
    want = ((parts - mean) / np.sqrt(var + 1e-5)).reshape(x.shape) * scale + offset
    got = group_norm(x, scale, offset, groups=groups, epsilon=1e-5)
    np.testing.assert_allclose(got, want, atol=2e-6)
    if groups == 8:
        np.testing.assert_array_equal(instance_norm(x, scale, offset, epsilon=1e-5), got)


def test_features_are_scaled_as_scikit_learn_does(tmp_path):
    from onnx import helper, save

    attrs = {"offset": [1.0, -2.0, 0.5], "scale": [0.5, 2.0, 4.0]}
    nodes = [helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", **attrs)]
    ends = [helper.make_tensor_value_info("x", 1, [2, 3])], [helper.make_tensor_value_info("y", 1, [2, 3])]
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    path, target = str(tmp_path / "m.onnx"), str(tmp_path / "m.ms")
    save(helper.make_model(helper.make_graph(nodes, "g", *ends), opset_imports=sets, ir_version=8), path)
    bitlite.convert(path, target)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    want = (x - np.float32(attrs["offset"])) * np.float32(attrs["scale"])
    for file in (path, target):
        np.testing.assert_allclose(next(iter(bitlite.load(file).run({"x": x}).values())), want, rtol=1e-6)
