"""Bias correction: the mean of each layer's output, per channel, back to what it is in float.

sequential: layer by layer on the already quantized prefix: the difference that it sees holds what all layers before
have done, so errors do not add up. lockstep: each layer by itself, on its float input quantized (MindSpore Lite's way).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..converter.ir import Node, Tensor
from ..converter.numeric.qparams import INT32_MAX, QuantParam
from .emit import Layer
from .walk import Single, Walk, isa_of

_LIMIT = 0.6 * INT32_MAX  # the real tool's: the rest is left to the sum of products


def correct(walk: Walk, node: Node, rounds: int = 2) -> np.ndarray:
    """Corrects the layer's bias on the walk's integer inputs. Returns the shift, float64[channels]."""
    layer = walk.made.layers[node]
    want = mean_of([walk.real.get(node.outputs[0], k) for k in range(walk.count)])
    total = np.zeros_like(want)
    for _ in range(rounds):
        run = Single([layer.node], walk.threads, walk.rounding, isa_of(layer.node))
        found = [run(partial(walk.codes.get, sample=k))[0] for k in range(walk.count)]
        have, live = _integer_mean(found, layer.node.outputs[0])
        shift = (want - have) / np.maximum(live, 0.25)
        total += add_to_bias(layer, shift)
    return total


def mean_of(arrays: list[np.ndarray]) -> np.ndarray:
    """Mean per channel (last axis), float64, of float32 arrays."""
    from .. import _native

    total, count = np.zeros(arrays[0].shape[-1]), 0
    for a in arrays:
        total += _native.observe_channels(a, a.shape[-1])[2]
        count += a.size // a.shape[-1]
    return total / count


def _integer_mean(arrays: list[np.ndarray], t: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Real mean per channel, and the share of elements that are not at an end of the codes (where a shift is felt)."""
    channels = arrays[0].shape[-1]
    if t.dtype.kind == "f":
        return mean_of(arrays), np.ones(channels)
    assert t.quant is not None
    total, live, count = np.zeros(channels), np.zeros(channels), 0
    for a in arrays:
        rows = a.reshape(-1, channels)
        total += rows.sum(axis=0, dtype=np.int64)
        low, high = rows.min(axis=0), rows.max(axis=0)
        live += ((rows != low) | (low == high)).sum(axis=0)
        count += len(rows)
    return (total / count - float(t.quant.zero_point[0])) * float(t.quant.scale[0]), live / count


def add_to_bias(layer: Layer, shift: np.ndarray) -> np.ndarray:
    """Adds a real shift per channel to the layer's bias, in place. Returns what was added."""
    bias = layer.bias
    assert bias.data is not None
    if layer.last:
        bias.data = (bias.data + shift).astype(np.float32)
        return shift
    assert isinstance(bias.quant, QuantParam)
    step = np.rint(shift / bias.quant.scale)
    new = bias.data + step
    step = np.where(np.abs(new) <= _LIMIT, step, 0.0)
    bias.data = (bias.data + step).astype(np.int32)
    return step * bias.quant.scale
