"""Bias correction: the mean of each layer's output, per channel, back to what it is in float.

sequential: layer by layer on the already quantized prefix: the difference that it sees holds what all layers before
have done, so errors do not add up. lockstep: each layer by itself, on its float input quantized (MindSpore Lite's way).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from ...converter.ir import Node, Tensor
from ...converter.numeric.qparams import INT32_MAX, QuantParam, fake_quantize, quantize_f32
from .prefix_part import PrefixPart, isa_of
from .prefix_runner import QuantizedPrefixRunner
from .quantized_graph import Layer

ChannelSums = tuple[np.ndarray, np.ndarray | None, int]

_LIMIT = 0.6 * INT32_MAX  # the real tool's: the rest is left to the sum of products


def correct(runner: QuantizedPrefixRunner, node: Node, rounds: int = 2) -> np.ndarray:
    """Corrects the layer's bias on the runner's integer inputs. Returns the shift, float64[channels]."""
    layer = runner.layers[node]
    want = runner.means.of(node.outputs[0])
    total = np.zeros_like(want)
    for _ in range(rounds):
        have, live = _layer_mean(runner, node)
        total += add_to_bias(layer, (want - have) / np.maximum(live, 0.25))
    return total


def correct_lockstep(runner: QuantizedPrefixRunner, node: Node) -> None:
    """Corrects the layer's bias on its float inputs quantized: MindSpore Lite's way, for convolutions there."""
    layer, quantized_of = runner.layers[node], runner.quantized.quantized_of
    reals = {quantized_of[t]: t for t in node.inputs if t in quantized_of}
    inputs = [(i, t) for i, t in enumerate(layer.node.inputs) if t is not None and not t.is_const]
    reals |= {t: node.required(i) for i, t in inputs if t.dtype.kind == "f"}
    # A last layer reads its codes through a cast; one whose weight alone is in codes reads reals.
    stored = node in runner.quantized.stored
    fed = {
        t.name: (x.name, None if stored and t.dtype.kind == "f" else quantized_of[x].qparams)
        for t, x in reals.items()
        if not x.is_const
    }
    have, _ = _layer_mean(runner, node, fed)
    add_to_bias(layer, runner.means.of(node.outputs[0]) - have)


def channel_sums(
    part: PrefixPart, name: str, fed: Mapping[str, tuple[str, QuantParam | None]] | None = None
) -> Callable[[int], ChannelSums]:
    """An operation: of what the layer gives, per channel the sum and, of codes, how many are at an end; and the rows.

    fed: input → what it is fed from: a tensor of the float graph, in codes of these parameters; None: all as the
    integer graph has it.
    """
    from ... import _native

    node = part.node("codes", name)
    run = part.single(node, isa_of(node))

    def value(t: Tensor, sample: int) -> np.ndarray:
        if fed is None:
            return part.get("codes", t.name, sample)
        x, quant = fed[t.name]
        real = part.get("real", x, sample)
        if quant is None:
            return real
        return fake_quantize(real, quant) if t.dtype.kind == "f" else quantize_f32(real, quant, t.dtype)

    def look(sample: int) -> ChannelSums:
        a = run(partial(value, sample=sample))[0]
        channels = a.shape[-1]
        rows = a.size // channels
        if a.dtype.kind == "f":
            return _native.observe_channels(a, channels)[2], None, rows
        if a.dtype.itemsize > 1:
            values = a.reshape(rows, channels)
            least, most = values.min(axis=0), values.max(axis=0)
            return values.sum(axis=0, dtype=np.int64), ((values == least) & (least < most)).sum(axis=0), rows
        return *_native.observe_codes(a, channels), rows

    return look


def add_sums(before: list[ChannelSums], found: ChannelSums) -> None:
    """Adds up the sums of codes, which are integers; those of reals stay by sample."""
    if before and found[1] is not None:
        total, ends, rows = before.pop()
        found = total + found[0], ends + found[1], rows + found[2]
    before.append(found)


def _layer_mean(
    runner: QuantizedPrefixRunner, node: Node, fed: Mapping[str, tuple[str, QuantParam | None]] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Real mean per channel of the layer's output, and the share of elements that are not at an end of the codes (where
    a shift is felt)."""
    layer = runner.layers[node].node
    t = layer.outputs[0]
    total = ends = rows = 0
    runner.changed(node)
    for part, least, count in runner.each(channel_sums, layer.name, fed, fold=add_sums):
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
