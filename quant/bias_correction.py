"""Bias correction: the mean of each layer's output, per channel, back to what it is in float.

sequential: layer by layer on the already quantized prefix: the difference that it sees holds what all layers before
have done, so errors do not add up. lockstep: each layer by itself, on its float input quantized (MindSpore Lite's way).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..converter.ir import Node, Tensor
from ..converter.numeric.qparams import INT32_MAX, QuantParam, dequantize, quantize_f32
from .emit import Layer
from .walk import Single, Walk, isa_of

_LIMIT = 0.6 * INT32_MAX  # the real tool's: the rest is left to the sum of products


def correct(walk: Walk, node: Node, rounds: int = 2) -> np.ndarray:
    """Corrects the layer's bias on the walk's integer inputs. Returns the shift, float64[channels]."""
    layer = walk.made.layers[node]
    want = walk.means.of(node.outputs[0])
    total = np.zeros_like(want)
    for _ in range(rounds):
        run = Single([layer.node], walk.threads, walk.rounding, isa_of(layer.node))
        have, live = _layer_mean(
            lambda k, run=run: run(partial(walk.codes.get, sample=k))[0], walk.count, run.outputs[0]
        )
        total += add_to_bias(layer, (want - have) / np.maximum(live, 0.25))
    return total


def correct_lockstep(walk: Walk, node: Node) -> None:
    """Corrects the layer's bias on its float inputs quantized: MindSpore Lite's way, for convolutions there."""
    layer = walk.made.layers[node]
    source = {walk.made.twin[t]: t for t in node.inputs if t in walk.made.twin}
    run = Single([layer.node], walk.threads, walk.rounding, isa_of(layer.node))
    reals = {t: node.inputs[i] for i, t in enumerate(layer.node.inputs) if t is not None and t.dtype.kind == "f"}

    def fed(t: Tensor, sample: int) -> np.ndarray:
        if t in source:
            return quantize_f32(walk.real.get(source[t], sample), t.quant, t.dtype)  # pyright: ignore
        # A last layer reads its codes through a cast.
        x = reals[t]
        q = walk.made.twin[x].quant  # pyright: ignore[reportArgumentType]
        return dequantize(quantize_f32(walk.real.get(x, sample), q), q)  # pyright: ignore[reportArgumentType]

    want = walk.means.of(node.outputs[0])
    have, _ = _layer_mean(lambda k: run(partial(fed, sample=k))[0], walk.count, run.outputs[0])
    add_to_bias(layer, want - have)


def _real_mean(values: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    """Mean per channel (last axis), float64, of float32 arrays."""
    from .. import _native

    total: np.ndarray | float = 0.0
    rows = 0
    for k in range(count):
        a = values(k)
        total = total + _native.observe_channels(a, a.shape[-1])[2]
        rows += a.size // a.shape[-1]
    return np.asarray(total) / rows


def _layer_mean(values: Callable[[int], np.ndarray], count: int, t: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Real mean per channel, and the share of elements that are not at an end of the codes (where a shift is felt)."""
    if t.dtype.kind == "f":
        mean = _real_mean(values, count)
        return mean, np.ones(len(mean))
    assert t.quant is not None
    total: np.ndarray | int = 0
    live: np.ndarray | int = 0
    count_rows = 0
    for k in range(count):
        a = values(k)
        rows = a.reshape(-1, a.shape[-1])
        total = total + rows.sum(axis=0, dtype=np.int64)
        low, high = rows.min(axis=0), rows.max(axis=0)
        live = live + ((rows != low) | (low == high)).sum(axis=0)
        count_rows += len(rows)
    mean = (np.asarray(total) / count_rows - float(t.quant.zero_point[0])) * float(t.quant.scale[0])
    return mean, np.asarray(live) / count_rows


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
