"""onnxruntime's fused attention (com.microsoft), read as the products and the softmax that it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Tensor
from ..schema.op import reads
from ..schema.reading import Reading

_LOWEST = float(np.finfo(np.float32).min)


def _ints(r: Reading, values: list[int]) -> Tensor:
    return r.constant(np.asarray(values, np.int64))


def _sizes(r: Reading, t: Tensor, *axes: int) -> list[int]:
    """Known sizes of some axes; refuses where one is not."""
    shape = t.shape
    if shape is None or any(shape[a] is None for a in axes):
        r.refuse(f"the shape {shape} of {t.name!r} is not known", hint=Setting("input_shape"))
    return [t.size(a) for a in axes]


def _split_heads(r: Reading, x: Tensor, heads: int) -> Tensor:
    """[B, S, heads · D] → [B, heads, S, D]."""
    (width,) = _sizes(r, x, 2)
    if heads < 1 or width % heads:
        r.refuse(f"{heads} heads do not divide {width}")
    x = r.emit("Reshape", x, _ints(r, [0, 0, heads, width // heads]), zero_copies=True)
    return r.emit("Transpose", x, perm=[0, 2, 1, 3])


def _attend(r: Reading, q: Tensor, k: Tensor, v: Tensor, scale: float, added: list[Tensor]) -> Tensor:
    """softmax(q · kᵀ · scale + masks) · v of [B, N, S, D] → [B, S, N · D]."""
    scores = r.emit("MatMul", q, k, transpose_b=True)
    scores = r.emit("Mul", scores, r.constant(np.float32(scale)))
    for mask in added:
        scores = r.emit("Add", scores, mask)
    y = r.emit("MatMul", r.emit("Softmax", scores, axis=-1), v)
    y = r.emit("Transpose", y, perm=[0, 2, 1, 3])
    heads, depth = _sizes(r, y, 2, 3)
    return r.emit("Reshape", y, _ints(r, [0, 0, heads * depth]), zero_copies=True)


def _scale(r: Reading, q: Tensor) -> float:
    return float(r.attr("scale", 0.0) or 0.0) or 1 / float(np.sqrt(_sizes(r, q, 3)[0]))


def _padding(r: Reading, mask: Tensor, batch: Any, keys: int) -> Tensor:
    """What a mask of keys adds to the scores: [B] counts them, [B, T] and [B, S, T] have 1 where one is seen."""
    low = r.constant(np.float32(r.attr("mask_filter_value", -10000.0)))
    rank = r.rank(mask)
    if rank == 1:
        if mask.shape != (batch,):
            r.refuse(f"a mask of shape {mask.shape} for a batch of {batch} is not read")
        counts = r.emit("ExpandDims", mask, axes=[1, 2, 3])
        seen = r.emit("Less", r.constant(np.arange(keys, dtype=mask.dtype).reshape(1, 1, 1, keys)), counts)
    elif rank in (2, 3):
        seen = r.emit("Greater", mask, r.constant(np.zeros((), mask.dtype)))
        seen = r.emit("ExpandDims", seen, axes=[1, 2] if rank == 2 else [1])
    else:
        r.refuse(f"a mask of shape {mask.shape} is not read")
    return r.emit("Where", seen, r.constant(np.float32(0)), low)


def _masks(r: Reading, q: Tensor, k: Tensor, mask: Tensor | None, bias: Tensor | None) -> list[Tensor]:
    added = [] if bias is None else [bias]
    if mask is not None:
        added.append(_padding(r, mask, None if q.shape is None else q.shape[0], _sizes(r, k, 2)[0]))
    if r.attr("unidirectional", 0):
        rows, columns = _sizes(r, q, 2)[0], _sizes(r, k, 2)[0]
        ahead = np.triu(np.full((rows, columns), _LOWEST, np.float32), columns - rows + 1)
        added.append(r.constant(ahead))
    return added


def _only(r: Reading, inputs: dict[int, str], attrs: dict[str, Any]) -> None:
    """Refuses inputs, second outputs and attributes that are not read."""
    for index, what in inputs.items():
        if r.optional(index) is not None:
            r.refuse(f"{what} is not read")
    for key, value in attrs.items():
        if (r.attr(key, value) or value) != value:
            r.refuse(f"{key}={r.attr(key)} is not read")
    if any(t.name for t in r.outputs[1:]):
        r.refuse("keys and values of this step are not read as outputs")


def _self_attention(r: Reading, joined: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """Attention of queries, keys and values that one product made, [B, S, q + k + v]."""
    (width,) = _sizes(r, joined, 2)
    sizes = [int(n) for n in r.attr("qkv_hidden_sizes", None) or [width // 3] * 3]
    if len(sizes) != 3 or sum(sizes) != width:
        r.refuse(f"parts of {sizes} in {width}")
    parts = r.emit_many("Split", [joined], axis=2, sizes=sizes)
    q, k, v = (_split_heads(r, t, int(r.attr("num_heads"))) for t in parts)
    return _attend(r, q, k, v, _scale(r, q), _masks(r, q, k, mask, bias))


@reads("onnx", "com.microsoft::Attention")
def read_attention(r: Reading) -> Tensor:
    """x [B,S,I], weight [I, q + k + v], bias, mask, past, attention bias."""
    _only(r, {4: "a past state", 6: "a past length"}, {"do_rotary": 0, "past_present_share_buffer": 0})
    joined = r.emit("MatMul", r.input(0), r.input(1))
    if r.optional(2) is not None:
        joined = r.emit("Add", joined, r.input(2))
    return _self_attention(r, joined, r.optional(3), r.optional(5))


@reads("onnx", "com.microsoft::QAttention")
def read_quantized_attention(r: Reading) -> Tensor:
    """x, weight (8 bits), bias float, x scale, weight scale, mask, x zero, weight zero, past."""
    _only(r, {8: "a past state"}, {"do_rotary": 0, "past_present_share_buffer": 0})
    product = r.emit("MatMulInteger", r.input(0), r.input(1), r.optional(6), r.optional(7))
    scale = r.emit("Mul", r.input(3), r.input(4))
    joined = r.emit("Add", r.emit("Mul", r.emit("Cast", product, dtype="float32"), scale), r.input(2))
    return _self_attention(r, joined, r.optional(5), None)


@reads("onnx", "com.microsoft::MultiHeadAttention")
def read_multi_head_attention(r: Reading) -> Tensor:
    """q [B,S,H], k and v [B,T,H] (or [B,N,T,D]), their joint bias, mask of keys, attention bias, past."""
    _only(r, {6: "a past key", 7: "a past value"}, {})
    if r.optional(1) is None or r.optional(2) is None:
        r.refuse("queries, keys and values packed into one tensor are not read")
    parts = [r.input(i) for i in range(3)]
    heads = int(r.attr("num_heads"))
    if r.optional(3) is not None:
        widths = [_sizes(r, t, 2)[0] if r.rank(t) == 3 else heads * _sizes(r, t, 3)[0] for t in parts]
        biases = r.emit_many("Split", [r.input(3)], axis=0, sizes=widths)
        if any(r.rank(t) != 3 for t in parts):
            r.refuse("a bias of keys that are split into heads is not read")
        parts = [r.emit("Add", t, b) for t, b in zip(parts, biases)]
    q, k, v = (_split_heads(r, t, heads) if r.rank(t) == 3 else t for t in parts)
    return _attend(r, q, k, v, _scale(r, q), _masks(r, q, k, r.optional(4), r.optional(5)))


@reads("onnx", "com.microsoft::EmbedLayerNormalization")
def read_embed_layer_norm(r: Reading) -> list[Tensor]:
    """ids [B,S], segments, three tables, gamma, beta, mask, positions → normalized sum, keys per sequence, sum."""
    ids, table = r.input(0), r.input(2)
    total = r.emit("Gather", table, ids)
    positions = r.optional(8)
    if positions is None:
        rows = _sizes(r, ids, 1)[0]
        positions = r.constant(np.arange(rows, dtype=np.int64))
    total = r.emit("Add", total, r.emit("Gather", r.input(3), positions))
    if r.optional(1) is not None:
        total = r.emit("Add", total, r.emit("Gather", r.input(4), r.input(1)))
    y = r.emit("LayerNorm", total, r.input(5), r.input(6), axis=-1, epsilon=float(r.attr("epsilon", 1e-12)))
    results = [y]
    if len(r.outputs) > 1:
        if r.optional(7) is None:
            results.append(r.constant(np.zeros(_sizes(r, ids, 0), np.int32)))
        else:
            results.append(r.emit("Reduce", r.input(7), mode="sum", axes=[1]))
    return [*results, total][: max(len(r.outputs), 1)]


@reads("onnx", "com.microsoft::RotaryEmbedding")
def read_rotary_embedding(r: Reading) -> Tensor:
    """x [B,S,H] or [B,N,S,D], positions [B,S] or their first [1], cosines and sines [most, D / 2]."""
    if r.attr("is_packed_batching", 0) or float(r.attr("scale", 1.0)) != 1.0:
        r.refuse("packed batches and a scale are not read")
    x, positions = r.input(0), r.input(1)
    flat, half = r.rank(x) == 3, _sizes(r, r.input(2), 1)[0]
    partial, heads = int(r.attr("rotary_embedding_dim", 0)), int(r.attr("num_heads", 0))
    width = _sizes(r, x, 2)[0] if flat else 0
    if flat:
        x = _split_heads(r, x, heads or width // (2 * half))
    depth, length = _sizes(r, x, 3)[0], _sizes(r, x, 2)[0]
    turned = partial or depth
    if turned != 2 * half:
        r.refuse(f"{half} cosines for {turned} turned channels")
    if positions.shape in ((), (1,)):
        start = r.emit("Reshape", positions, _ints(r, [1]))
        positions = r.emit("ExpandDims", r.emit("Add", start, r.constant(np.arange(length))), axes=[0])
    cos, sin = (r.emit("ExpandDims", r.emit("Gather", r.input(i), positions), axes=[1]) for i in (2, 3))
    rest = None
    if turned < depth:
        x, rest = r.emit_many("Split", [x], axis=3, sizes=[turned, depth - turned])
    if r.attr("interleaved", 0):
        pairs = r.emit("Reshape", x, _ints(r, [0, 0, 0, half, 2]), zero_copies=True)
        a, b = (r.emit("Squeeze", t, axes=[4]) for t in r.emit_many("Split", [pairs], axis=4, sizes=[1, 1]))
    else:
        a, b = r.emit_many("Split", [x], axis=3, sizes=[half, half])
    left = r.emit("Sub", r.emit("Mul", a, cos), r.emit("Mul", b, sin))
    right = r.emit("Add", r.emit("Mul", a, sin), r.emit("Mul", b, cos))
    if r.attr("interleaved", 0):
        y = r.emit("Concat", *(r.emit("ExpandDims", t, axes=[4]) for t in (left, right)), axis=4)
        y = r.emit("Reshape", y, _ints(r, [0, 0, 0, turned]), zero_copies=True)
    else:
        y = r.emit("Concat", left, right, axis=3)
    y = y if rest is None else r.emit("Concat", y, rest, axis=3)
    if not flat:
        return y
    y = r.emit("Transpose", y, perm=[0, 2, 1, 3])
    return r.emit("Reshape", y, _ints(r, [0, 0, width]), zero_copies=True)
