"""What quantization costs each layer: measured while the quantized prefix reaches it, written as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...converter.errors import OutputError
from ...converter.formats.outputs import write_atomic
from ...converter.ir import Node, Tensor
from ...converter.numeric.qparams import dequantize, fake_quantize
from ...converter.text import csv_text
from ..calibrate.observe import float_isa
from .emit import Layer
from .prefix_runner import QuantizedPrefixRunner, Single, isa_of

SAMPLES = 8


def measure(runner: QuantizedPrefixRunner, node: Node, method: Callable[[Tensor], str]) -> dict[str, Any]:
    """One row for a layer that is about to run on its quantized inputs.

    Keys: layer, op, bits; of its output low, high, scale, zero_point, method, clip_rate (share of float values beyond
    the codes); sqnr_weights, sqnr_activations, sqnr_both (dB: this layer alone, on float inputs), sqnr (dB) and cosine
    of its output behind the quantized prefix.
    """
    layer, x, y = runner.quantized.weighted_layers[node], node.required(0), node.outputs[0]
    count = min(runner.count, SAMPLES)
    weight = dequantize(layer.weight.value, layer.weight.qparams)
    light = _with_weight(node, layer, weight)
    plain = Single([node], runner.threads, isa=float_isa())
    rounded = Single([light], runner.threads, isa=float_isa())
    codes = Single([layer.node], runner.threads, runner.rounding, isa_of(layer.node))
    quant = runner.quantized.quantized_of[x].qparams
    only_w, only_x, both, real = (_Sum() for _ in range(4))
    clipped = total = 0
    out = runner.quantized.quantized_of.get(y)
    for k in range(count):
        want = runner.real.get(y, k)
        a = runner.real.get(x, k)
        q = fake_quantize(a, quant)
        rest = {t: runner.real.get(t, k) for t in plain.inputs if t is not x}
        only_w.add(want, rounded(lambda t: rest.get(t, a))[0])  # noqa: B023
        only_x.add(want, plain(lambda t: rest.get(t, q))[0])  # noqa: B023
        both.add(want, rounded(lambda t: rest.get(t, q))[0])  # noqa: B023
        got = codes(lambda t: runner.codes.get(t, k))[0]  # noqa: B023
        if out is not None and out.quant is not None:
            low, high = _bounds(out)
            clipped += int(((want < low) | (want > high)).sum())
            total += want.size
            got = dequantize(got, out.quant)
        real.add(want, got)
    row: dict[str, Any] = {"layer": node.name, "op": node.op, "bits": layer.weight.qparams.bits}
    if out is not None and out.quant is not None:
        low, high = _bounds(out)
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


def _with_weight(node: Node, layer: Layer, weight: np.ndarray) -> Node:
    """The float node with the quantized weight's real values."""
    w = Tensor(f"{layer.weight.name}/real", weight.dtype, weight.shape, weight)
    at = layer.node.inputs.index(layer.weight)
    return Node(node.op, node.name, [w if i == at else t for i, t in enumerate(node.inputs)], node.outputs, node.attrs)


def _bounds(t: Tensor) -> tuple[float, float]:
    scale, zero = float(t.qparams.scale[0]), int(t.qparams.zero_point[0])
    return (-128 - zero) * scale, (127 - zero) * scale


class _Sum:
    def __init__(self) -> None:
        self.signal = self.noise = self.other = self.product = 0.0

    def add(self, want: np.ndarray, got: np.ndarray) -> None:
        want, got = want.astype(np.float64), got.astype(np.float64)
        self.signal += float(np.square(want).sum())
        self.other += float(np.square(got).sum())
        self.noise += float(np.square(want - got).sum())
        self.product += float((want * got).sum())

    def sqnr(self) -> float | None:
        """None when nothing is lost, or nothing was there."""
        if self.noise <= 0 or self.signal <= 0:
            return None
        return round(10 * math.log10(self.signal / self.noise), 2)

    def cosine(self) -> float:
        norm = math.sqrt(self.signal * self.other)
        return round(self.product / norm, 6) if norm else 1.0
