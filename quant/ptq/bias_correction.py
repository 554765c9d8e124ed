"""Bias correction: the mean of each layer's output, per channel, back to what it is in float.

sequential: layer by layer on the already quantized prefix: the difference that it sees holds what all layers before
have done, so errors do not add up. lockstep: each layer by itself, on its float input quantized (MindSpore Lite's way).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ...converter.ir import Node, Tensor
from ...converter.numeric.qparams import INT32_MAX, fake_quantize, quantize_f32
from .emit import Layer
from .prefix_runner import QuantizedPrefixRunner, isa_of

_LIMIT = 0.6 * INT32_MAX  # the real tool's: the rest is left to the sum of products


def correct(runner: QuantizedPrefixRunner, node: Node, rounds: int = 2) -> np.ndarray:
    """Corrects the layer's bias on the runner's integer inputs. Returns the shift, float64[channels]."""
    layer = runner.layers[node]
    want = runner.means.of(node.outputs[0])
    total = np.zeros_like(want)
    for _ in range(rounds):
        run = runner.single([layer.node], isa_of(layer.node))
        have, live = _layer_mean(runner, lambda k, run=run: run(partial(runner.codes.get, sample=k))[0], run.outputs[0])
        total += add_to_bias(layer, (want - have) / np.maximum(live, 0.25))
    return total


def correct_lockstep(runner: QuantizedPrefixRunner, node: Node) -> None:
    """Corrects the layer's bias on its float inputs quantized: MindSpore Lite's way, for convolutions there."""
    layer = runner.layers[node]
    source = {runner.quantized.quantized_of[t]: t for t in node.inputs if t in runner.quantized.quantized_of}
    run = runner.single([layer.node], isa_of(layer.node))
    reals = {t: node.required(i) for i, t in enumerate(layer.node.inputs) if t is not None and t.dtype.kind == "f"}

    def fed(t: Tensor, sample: int) -> np.ndarray:
        if t in source:
            return quantize_f32(runner.real.get(source[t], sample), t.qparams, t.dtype)
        x = reals[t]
        if node in runner.quantized.stored:
            return runner.real.get(x, sample)
        # A last layer reads its codes through a cast.
        q = runner.quantized.quantized_of[x].qparams
        return fake_quantize(runner.real.get(x, sample), q)

    want = runner.means.of(node.outputs[0])
    have, _ = _layer_mean(runner, lambda k: run(partial(fed, sample=k))[0], run.outputs[0])
    add_to_bias(layer, want - have)


def _layer_mean(
    runner: QuantizedPrefixRunner, value: Callable[[int], np.ndarray], t: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Real mean per channel of what `value` gives for each sample, and the share of elements that are not at an end of
    the codes (where a shift is felt)."""
    from ... import _native

    def look(k: int) -> tuple[np.ndarray, np.ndarray | None, int]:
        a = value(k)
        channels = a.shape[-1]
        rows = a.size // channels
        if a.dtype.kind == "f":
            return _native.observe_channels(a, channels)[2], None, rows
        return *_native.observe_codes(a, channels), rows

    total = ends = rows = 0
    for part, least, count in runner.each(look):
        total, rows = total + part, rows + count
        ends = ends if least is None else ends + least
    mean, live = np.asarray(total) / rows, (rows - np.asarray(ends)) / rows
    if t.dtype.kind == "f":
        return mean, np.broadcast_to(live, mean.shape)
    return (mean - float(t.qparams.zero_point[0])) * float(t.qparams.scale[0]), live


def add_to_bias(layer: Layer, shift: np.ndarray) -> np.ndarray:
    """Adds a real shift per channel to the layer's bias, in place. Returns what was added."""
    bias = layer.bias
    if layer.bias.dtype.kind == "f":
        bias.data = (bias.value + shift).astype(np.float32)
        return shift
    scale = bias.qparams.scale
    step = np.rint(shift / scale)
    new = bias.value + step
    step = np.where(np.abs(new) <= _LIMIT, step, 0.0)
    bias.data = (bias.value + step).astype(np.int32)
    return step * scale
