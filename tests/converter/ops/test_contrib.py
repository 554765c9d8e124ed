"""Operators of com.microsoft, one by one, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import UnsupportedError

MS = {"domain": "com.microsoft", "opset": 17}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def floats(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


@pytest.mark.parametrize("mask", ["none", "counts", "keys", "rows"])
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_equals_onnxruntime(onnx_check, rng, mask, causal):
    b, s, heads, depth = 2, 5, 3, 4
    x, w, bias = floats(rng, b, s, 6), floats(rng, 6, 3 * heads * depth), floats(rng, 3 * heads * depth)
    masks = {
        "none": None,
        "counts": np.int32([5, 3]),
        "keys": np.int32([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]),
        "rows": rng.integers(0, 2, (b, s, s)).astype(np.int32) | np.eye(s, dtype=np.int32),
    }
    inputs = [x, w, bias, masks[mask]]
    onnx_check("Attention", inputs, {"num_heads": heads, "unidirectional": causal}, const=(1, 2), **MS)


def test_attention_with_parts_of_other_sizes_scale_and_bias(onnx_check, rng):
    x, w, bias = floats(rng, 1, 4, 6), floats(rng, 6, 8 + 8 + 4), floats(rng, 20)
    attrs = {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 4], "scale": 0.3}
    onnx_check("Attention", [x, w, bias, None, None, floats(rng, 1, 2, 4, 4)], attrs, const=(1, 2), **MS)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_quantized_attention_equals_onnxruntime(onnx_check, rng, kind):
    x = rng.integers(0, 255, (2, 4, 6)).astype(np.uint8)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    w = rng.integers(low, high, (6, 24)).astype(kind)
    inputs = [x, w, floats(rng, 24), np.float32(0.02), np.float32(0.01), np.int32([[1, 1, 1, 0], [1, 1, 0, 0]])]
    inputs += [np.uint8(120), np.asarray(3, kind)]
    onnx_check("QAttention", inputs, {"num_heads": 2}, const=(1, 2, 3, 4, 6, 7), tolerance=1e-4, **MS)


@pytest.mark.parametrize("form", ["plain", "bias", "mask", "added", "heads"])
def test_multi_head_attention_equals_onnxruntime(onnx_check, rng, form):
    b, s, t, heads, depth = 2, 3, 5, 2, 4
    q, k, v = floats(rng, b, s, 8), floats(rng, b, t, 8), floats(rng, b, t, 8)
    inputs = [q, k, v]
    if form == "heads":
        inputs = [q, floats(rng, b, heads, t, depth), floats(rng, b, heads, t, depth)]
    if form == "bias":
        inputs.append(floats(rng, 24))
    if form == "mask":
        inputs += [None, np.int32([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])]
    if form == "added":
        inputs += [None, None, floats(rng, b, heads, s, t)]
    onnx_check("MultiHeadAttention", inputs, {"num_heads": heads}, const=(3,) if form == "bias" else (), **MS)


@pytest.mark.parametrize("with_mask", [False, True])
def test_embeddings_equal_onnxruntime(onnx_check, rng, with_mask):
    ids, segments = rng.integers(0, 9, (2, 4)).astype(np.int32), rng.integers(0, 2, (2, 4)).astype(np.int32)
    tables = [floats(rng, 9, 6), floats(rng, 5, 6), floats(rng, 2, 6)]
    inputs = [ids, segments, *tables, floats(rng, 6), floats(rng, 6)]
    if with_mask:
        inputs.append(np.int32([[1, 1, 1, 0], [1, 1, 0, 0]]))
    onnx_check("EmbedLayerNormalization", inputs, const=(2, 3, 4, 5, 6), outputs=2, tolerance=1e-4, **MS)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("form", ["flat", "heads", "start", "partial"])
def test_rotary_embedding_equals_onnxruntime(onnx_check, rng, interleaved, form):
    b, n, s, d = 2, 3, 4, 8
    x = floats(rng, b, n, s, d) if form == "heads" else floats(rng, b, s, n * d)
    at = np.int64([2]) if form == "start" else rng.integers(0, 10, (b, s)).astype(np.int64)
    half = 2 if form == "partial" else d // 2
    attrs = {"interleaved": interleaved} | ({"rotary_embedding_dim": 4, "num_heads": n} if form == "partial" else {})
    inputs = [x, at, floats(rng, 10, half), floats(rng, 10, half)]
    onnx_check("RotaryEmbedding", inputs, attrs, const=(2, 3), **MS)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("columns", [False, True])
def test_a_product_quantized_while_running_equals_onnxruntime(onnx_check, rng, kind, columns):
    info = np.iinfo(kind)
    w = rng.integers(info.min, info.max, (7, 5)).astype(kind)
    scale = rng.uniform(0.01, 0.1, 5).astype(np.float32) if columns else np.float32(0.03)
    zero = rng.integers(info.min, info.max, 5).astype(kind) if columns else np.asarray(4, kind)
    inputs = [floats(rng, 2, 3, 7), w, scale, zero, floats(rng, 5)]
    onnx_check("DynamicQuantizeMatMul", inputs, const=(1, 2, 3, 4), tolerance=1e-4, **MS)


@pytest.mark.parametrize("zero", [False, True])
def test_gather_of_blocks_equals_onnxruntime(onnx_check, rng, zero):
    data = rng.integers(0, 256, (6, 32)).astype(np.uint8)
    inputs = [data, np.int64([[0, 5], [2, 2]]), rng.uniform(0.01, 0.1, (6, 4)).astype(np.float32)]
    if zero:
        inputs.append(rng.integers(0, 256, (6, 2)).astype(np.uint8))
    attrs = {"block_size": 16, "quantize_axis": 1, "gather_axis": 0, "bits": 4}
    onnx_check("GatherBlockQuantized", inputs, attrs, const=(0, 2, 3) if zero else (0, 2), **MS)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_channels_last_max_pool_equals_onnxruntime(onnx_check, rng, kind):
    x = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, (1, 6, 7, 3)).astype(kind)
    onnx_check("NhwcMaxPool", [x], {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}, **MS)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint16])
def test_casts_of_its_own_domain_equal_onnxruntime(onnx_check, rng, kind):
    zero = np.asarray(7, kind)
    x = floats(rng, 4, 5, scale=3)
    onnx_check("QuantizeLinear", [x, np.float32(0.05), zero], const=(1, 2), **MS)
    codes = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, (4, 5)).astype(kind)
    onnx_check("DequantizeLinear", [codes, np.float32(0.05), zero], const=(1, 2), **MS)


@pytest.mark.parametrize("simplified", [False, True])
def test_skip_normalization_keeps_its_epsilon(onnx_check, rng, simplified):
    x, skip, gamma = (floats(rng, *s, scale=1e-3) for s in ((2, 3, 8), (2, 3, 8), (8,)))
    name = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    onnx_check(name, [x, skip, gamma], const=(2,), tolerance=1e-4, **MS)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "what"),
    [
        ("Attention", [(1, 2, 6), (6, 12), (12,), None, (2, 1, 2, 3, 2)], {"num_heads": 2}, "a past state"),
        ("MultiHeadAttention", [(1, 2, 2, 3, 4)], {"num_heads": 2}, "packed into one tensor"),
        ("RotaryEmbedding", [(1, 2, 8), (1,), (4, 4), (4, 4)], {"scale": 2.0}, "scale"),
    ],
)
def test_forms_that_are_not_read_are_refused_by_name(tmp_path, op, inputs, attrs, what):
    import onnx
    from bitlite.converter.formats.onnx import read
    from conftest import onnx_model

    arrays = [None if s is None else np.zeros(s, np.int64 if s == (1,) else np.float32) for s in inputs]
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model(op, arrays, attrs, **MS), path)
    with pytest.raises(UnsupportedError, match=what) as caught:
        read(str(path))
    assert "node" in str(caught.value)
