"""Integer references that the families share: what the kernels on codes compute, bit for bit (profile rne_f32).

Accumulators are exact: products of 8-bit codes are summed in float64, where every partial sum is an integer below 2^53,
and then, where codes of 8 bits come of them, wrap to int32 as the kernels' do; those of 16 bits do not. So any order of
summation, and BLAS, gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import numpy as np

from ...ir import Node, Tensor, is_quantized
from ...numeric.dynamic import dynamic_codes
from ...numeric.qparams import QuantParam, activation_range, along, foldable, requantize_rne_f32
from .acts import apply_act


def is_byte(tensor: Tensor | None) -> TypeGuard[Tensor]:
    """A quantized int8 or uint8 tensor."""
    return is_quantized(tensor) and tensor.dtype.itemsize == 1


def per_tensor(tensor: Tensor | None) -> TypeGuard[Tensor]:
    """A quantized byte tensor with one scale and no correction."""
    return is_byte(tensor) and len(tensor.qparams.scale) == 1


def one_scale(tensor: Tensor | None) -> TypeGuard[Tensor]:
    """Codes of 8 or 16 bits with one scale and no correction."""
    return is_quantized(tensor) and tensor.dtype.itemsize <= 2 and len(tensor.qparams.scale) == 1


def centred(q: np.ndarray, quant: QuantParam) -> np.ndarray:
    """q - zero_point as float64 integers."""
    return q.astype(np.float64) - along(quant.zero_point, quant.axis, q.ndim)


def wrapped(acc: np.ndarray) -> np.ndarray:
    """Exact integers in float64 → int32, modulo 2^32."""
    return acc.astype(np.int64).astype(np.int32)


def accumulated(acc: np.ndarray, x: Tensor) -> np.ndarray:
    """Exact sums of codes of x as kernels have them: of 8 bits modulo 2^32."""
    return wrapped(acc) if x.dtype.itemsize == 1 else acc


def weighted_sum(
    node: Node, arrays: Sequence[Any], sums: Callable[[np.ndarray, np.ndarray], np.ndarray], axis: int
) -> np.ndarray | None:
    """Convolutions and matrix products: clamp(rne(float32(Σ (x-zx)(w-zw) + b) · m) + zy), m = float32(sx·sw/sy).

    Args:
        sums: the exact products' sums from centred float64 x and w, output channels last.
        axis: the axis of w (not negative) that is the output's last one; scales along another axis are not taken.
    Returns: the stored output, or None where the node is not an int8 one.
    """
    x, w, y, bias = node.inputs[0], node.inputs[1], node.outputs[0], node.input(2)
    act = node.attrs.get("act", "none")
    if is_dynamic(node, axis):
        return _dynamic_sum(node, arrays, sums)
    if not (one_scale(x) and one_scale(y) and x.dtype.itemsize == y.dtype.itemsize and foldable(act)):
        return None
    if not is_quantized(w) or w.dtype.itemsize > x.dtype.itemsize:
        return None
    qx, qw, qy = x.qparams, w.qparams, y.qparams
    if (len(qw.scale) > 1 and qw.axis != axis) or qw.var_corr is not None or qw.mean_corr is not None:
        return None
    if bias is not None and bias.dtype not in (np.int32, np.int64):
        return None
    acc = sums(centred(arrays[0], qx), centred(arrays[1], qw))
    if bias is not None:
        acc = acc + arrays[2]
    qmin, qmax = activation_range(act, qy, y.dtype)
    multiplier = qx.scale * qw.scale / qy.scale
    return requantize_rne_f32(accumulated(acc, x), multiplier, int(qy.zero_point[0]), qmin, qmax, y.dtype)


def is_dynamic(node: Node, axis: int) -> bool:
    """Whether the layer quantizes its float32 input as it comes: it is asked to, and has a constant int8 weight.

    Args:
        axis: of w, where scales per output channel lie.
    """
    x, w, bias = node.inputs[0], node.inputs[1], node.input(2)
    if not node.attrs.get("dynamic", False) or x is None or w is None or w.quant is None or not w.is_const:
        return False
    q = w.quant
    plain = q.var_corr is None and q.mean_corr is None and (len(q.scale) == 1 or q.axis == axis)
    kinds = x.dtype == np.float32 == node.outputs[0].dtype and w.dtype == np.int8
    return plain and kinds and (bias is None or bias.dtype == np.float32)


def _dynamic_sum(node: Node, arrays: Sequence[Any], sums: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """float32(Σ (x-zx)(w-zw)) · (sx · float32(sw)) + b, every operation rounded to float32; x on its own range."""
    weight = node.required(1).qparams
    codes, scale, zero = dynamic_codes(np.asarray(arrays[0], np.float32))
    acc = sums(codes.astype(np.float64) - zero, centred(arrays[1], weight))
    y = acc.astype(np.float32) * (scale * weight.scale.astype(np.float32))
    bias = arrays[2] if len(arrays) > 2 else None
    y = y if bias is None else y + bias
    return apply_act(y, node.attrs.get("act", "none"))


def rescaled(node: Node, codes: np.ndarray) -> np.ndarray | None:
    """Codes of input 0 as codes of the output: a copy when parameters are equal, else a requantization; act clamps."""
    x, y = node.inputs[0], node.outputs[0]
    act = node.attrs.get("act", "none")
    if not (one_scale(x) and one_scale(y) and foldable(act)):
        return None
    qx, qy = x.qparams, y.qparams
    qmin, qmax = activation_range(act, qy, y.dtype)
    if qx == qy and x.dtype == y.dtype:
        return np.clip(codes, qmin, qmax).astype(y.dtype)
    acc = np.asarray(codes.astype(np.int32) - qx.zero_point[0])
    return requantize_rne_f32(acc, qx.scale / qy.scale, int(qy.zero_point[0]), qmin, qmax, y.dtype)


def averaged(node: Node, sums: np.ndarray, count: Any) -> np.ndarray | None:
    """Means: clamp(rne(float32(Σ (x - zx)) · float32(sx/(sy·n))) + zy) from exact sums and the elements counted."""
    x, y = node.inputs[0], node.outputs[0]
    act = node.attrs.get("act", "none")
    if not (one_scale(x) and one_scale(y) and foldable(act)):
        return None
    qx, qy = x.qparams, y.qparams
    qmin, qmax = activation_range(act, qy, y.dtype)
    multiplier = qx.scale / (qy.scale * np.asarray(count, np.float64))
    return requantize_rne_f32(accumulated(sums, x), multiplier, int(qy.zero_point[0]), qmin, qmax, y.dtype)


def same_codes(reference: Callable[..., Any]) -> Callable[[Node, Sequence[Any]], Any]:
    """The `integer` cell of rows that only move or choose elements (Reshape, Transpose, MaxPool …)."""

    def integer(node: Node, arrays: Sequence[Any]) -> Any:
        if not is_quantized(node.inputs[0]) or len(node.outputs) != 1 or node.outputs[0].dtype.kind not in "iu":
            return None
        attrs = {k: v for k, v in node.attrs.items() if k != "act"} | ({"act": "none"} if "act" in node.attrs else {})
        x, y = node.required(0), node.outputs[0]
        same = x.dtype == y.dtype and (y.quant is None or x.quant == y.quant)
        if same and node.attrs.get("act", "none") == "none":
            return reference(*arrays, **attrs)
        return rescaled(node, reference(*arrays, **attrs)) if one_scale(x) and one_scale(y) else None

    return integer
