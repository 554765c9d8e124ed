"""What quantization costs each layer: measured while the quantized prefix reaches it, written as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...converter.errors import OutputError
from ...converter.formats.outputs import write_atomic
from ...converter.ir import Node, Tensor
from ...converter.numeric.qparams import QuantParam, dequantize, fake_quantize
from ...converter.text import csv_text
from ..calibrate.observe import float_isa
from .prefix_part import PrefixPart, isa_of
from .prefix_runner import QuantizedPrefixRunner

SAMPLES = 8


def measure(runner: QuantizedPrefixRunner, node: Node, method: Callable[[Tensor], str]) -> dict[str, Any]:
    """One row for a layer that is about to run on its quantized inputs.

    Keys: layer, op, bits; of its output low, high, scale, zero_point, method, clip_rate (share of float values beyond
    the codes); sqnr_weights, sqnr_activations, sqnr_both (dB: this layer alone, on float inputs), sqnr (dB) and cosine
    of its output behind the quantized prefix.
    """
    layer, x, y = runner.quantized.weighted_layers[node], node.required(0), node.outputs[0]
    out = runner.quantized.quantized_of.get(y)
    quant = runner.quantized.quantized_of[x].qparams
    sums, clipped, total = [_Sum() for _ in range(4)], 0, 0
    count = min(runner.count, SAMPLES)
    names = node.name, layer.node.name, layer.weight.name, x.name, y.name
    runner.changed(node)
    codes = None if out is None else out.quant
    for parts, beyond, size in runner.each(layer_losses, names, quant, codes, count=count):
        clipped, total = clipped + beyond, total + size
        for whole, part in zip(sums, parts):
            whole.take(part)
    only_w, only_x, both, real = sums
    row: dict[str, Any] = {"layer": node.name, "op": node.op, "bits": layer.weight.qparams.bits}
    if out is not None and out.quant is not None:
        low, high = _bounds(out.quant)
        row |= {
            "low": low,
            "high": high,
            "scale": float(out.quant.scale[0]),
            "zero_point": int(out.quant.zero_point[0]),
        }
        row |= {"method": method(y), "clip_rate": clipped / max(total, 1)}
    else:
        row |= {"low": None, "high": None, "scale": None, "zero_point": None, "method": "float", "clip_rate": 0.0}
    for name, part in (("sqnr_weights", only_w), ("sqnr_activations", only_x), ("sqnr_both", both), ("sqnr", real)):
        row[name] = part.sqnr()
    return row | {"cosine": real.cosine()}


def layer_losses(
    part: PrefixPart, names: tuple[str, str, str, str, str], quant: QuantParam, out: QuantParam | None
) -> Callable[[int], tuple[list[_Sum], int, int]]:
    """An operation: what the layer's output loses by its weight, its input, both, and behind the quantized prefix; the
    float values beyond the output's codes, and how many there are.

    names: of the float node and the integer one, its weight, and the float node's input and output. quant, out: of the
    codes of input and output.
    """
    node, twin = part.node("real", names[0]), part.node("codes", names[1])
    held, x, y = part.tensor("codes", names[2]), names[3], names[4]
    light = _with_weight(node, twin, held, dequantize(held.value, held.qparams))
    plain, rounded = (part.single(n, float_isa()) for n in (node, light))
    codes = part.single(twin, isa_of(twin))

    def losses(k: int) -> tuple[list[_Sum], int, int]:
        want, a = part.get("real", y, k), part.get("real", x, k)
        rest = {t.name: part.get("real", t.name, k) for t in plain.inputs if t.name != x}
        q = fake_quantize(a, quant)
        got = codes(lambda t: part.get("codes", t.name, k))[0]
        runs = [(rounded, a), (plain, q), (rounded, q)]
        found = [run(lambda t, first=first: rest.get(t.name, first))[0] for run, first in runs]
        beyond = 0
        if out is not None:
            low, high = _bounds(out)
            beyond, got = int(((want < low) | (want > high)).sum()), dequantize(got, out)
        return [_Sum.of(want, other) for other in (*found, got)], beyond, 0 if out is None else want.size

    return losses


def save_tables(folder: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes layers.csv and layers.json into `folder`. Raises OutputError."""
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    for name, content in (("layers.csv", csv_text(rows)), ("layers.json", json.dumps(list(rows), indent=1) + "\n")):
        with write_atomic(target / name) as file:
            file.write(content.encode())


def _with_weight(node: Node, twin: Node, held: Tensor, weight: np.ndarray) -> Node:
    """The float node with the quantized weight's real values."""
    w = Tensor(f"{held.name}/real", weight.dtype, weight.shape, weight)
    at = twin.inputs.index(held)
    return Node(node.op, node.name, [w if i == at else t for i, t in enumerate(node.inputs)], node.outputs, node.attrs)


def _bounds(quant: QuantParam) -> tuple[float, float]:
    scale, zero = float(quant.scale[0]), int(quant.zero_point[0])
    return (-128 - zero) * scale, (127 - zero) * scale


@dataclass
class _Sum:
    """Sums of squares of the values wanted, of others and of their difference, and of products of the two."""

    signal: float = 0.0
    other: float = 0.0
    noise: float = 0.0
    product: float = 0.0

    @classmethod
    def of(cls, want: np.ndarray, got: np.ndarray) -> _Sum:
        want, got = want.astype(np.float64), got.astype(np.float64)
        sums = np.square(want).sum(), np.square(got).sum(), np.square(want - got).sum(), (want * got).sum()
        return cls(*map(float, sums))

    def take(self, part: _Sum) -> None:
        self.signal, self.other = self.signal + part.signal, self.other + part.other
        self.noise, self.product = self.noise + part.noise, self.product + part.product

    def sqnr(self) -> float | None:
        """None when nothing is lost, or nothing was there."""
        if self.noise <= 0 or self.signal <= 0:
            return None
        return round(10 * math.log10(self.signal / self.noise), 2)

    def cosine(self) -> float:
        norm = math.sqrt(self.signal * self.other)
        return round(self.product / norm, 6) if norm else 1.0
