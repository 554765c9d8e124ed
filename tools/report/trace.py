"""A quantized graph beside its float one, tensor by tensor on a few samples: where error arises and how it adds up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...converter.ir import Graph, Tensor
from ...converter.numeric.qparams import dequantize, quantize_f32
from ...quant.calibrate.observe import Runner, Sample
from .nodes import Row

POINTS = 128  # of a tensor's values of the first sample
CHANNELS = 256
_AT_ONCE = 96 << 20  # bytes of the values that one run of a graph hands out


def add_trace(rows: Sequence[Row], real: Graph, quantized: Graph, samples: Sequence[Sample], threads: int = 1) -> None:
    """Puts on each row, by the name of its output, what that tensor of `quantized` has of the one of `real`.

    sqnr (dB, null where nothing is lost) and cosine over the samples, all before it quantized, too; channels: the least
    and greatest float value of each (of neighbours together beyond 256); values: float and quantized ones of the first
    sample, spread evenly. Rows whose output the float graph lacks, or has in another shape, get nothing.

    Args:
        rows: of `quantized`. samples: name → array, as `real` takes them, which `quantized` takes in the same form.
    """
    theirs = {t.name: t for n in real.nodes for t in n.outputs if t.dtype.kind == "f"}
    pairs = [
        (row, theirs[t.name], t)
        for row, t in zip(rows, (n.outputs[0] for n in quantized.nodes))
        if t.name in theirs and (t.dtype.kind == "f" or t.quant is not None)
    ]
    for part in _parts(pairs):
        _trace_part(part, real, quantized, samples, threads)


def _parts(pairs: Sequence[tuple[Row, Tensor, Tensor]]) -> Iterator[list[tuple[Row, Tensor, Tensor]]]:
    held, part = 0, list[tuple[Row, Tensor, Tensor]]()
    for pair in pairs:
        size = pair[1].nbytes + pair[2].nbytes
        if part and held + size > _AT_ONCE:
            yield part
            held, part = 0, []
        held += size
        part.append(pair)
    if part:
        yield part


def _trace_part(
    part: Sequence[tuple[Row, Tensor, Tensor]], real: Graph, quantized: Graph, samples: Sequence[Sample], threads: int
) -> None:
    floats = Runner(real, [a for _, a, _ in part], threads)
    codes = Runner(quantized, [b for _, _, b in part], threads)
    totals = [_Sums() for _ in part]
    for sample in samples:
        wanted = floats(sample, lambda values: [np.array(values[a.name]) for _, a, _ in part])
        fed = {t.name: _fed(t, sample[s.name]) for t, s in zip(quantized.inputs, real.inputs)}
        codes(fed, lambda values: [s.add(w, _real(b, values)) for s, w, (_, _, b) in zip(totals, wanted, part)])  # noqa: B023
    for (row, _, _), sums in zip(part, totals):
        row.update(sums.row())


def _fed(t: Tensor, a: np.ndarray) -> np.ndarray:
    return a if t.quant is None or t.dtype.kind == "f" else quantize_f32(a, t.quant, t.dtype)


def _real(t: Tensor, values: Mapping[str, np.ndarray]) -> np.ndarray:
    a = values[t.name]
    return a if t.quant is None or t.dtype.kind == "f" else dequantize(a, t.quant)


class _Sums:
    """What is summed up of one tensor."""

    def __init__(self) -> None:
        self.signal = self.noise = self.other = self.product = 0.0
        self.low: np.ndarray | None = None
        self.high: np.ndarray | None = None
        self.values: list[list[float]] = []
        self.fits = True

    def add(self, want: np.ndarray, actual: np.ndarray) -> None:
        if want.shape != actual.shape or not want.size:
            self.fits = False
            return
        want, actual = want.astype(np.float64), actual.astype(np.float64)
        self.signal += float(np.square(want).sum())
        self.other += float(np.square(actual).sum())
        self.noise += float(np.square(want - actual).sum())
        self.product += float((want * actual).sum())
        flat = want.reshape(-1, want.shape[-1]) if want.ndim else want.reshape(1, 1)
        low, high = flat.min(axis=0), flat.max(axis=0)
        self.low = low if self.low is None else np.minimum(self.low, low)
        self.high = high if self.high is None else np.maximum(self.high, high)
        if not self.values:
            at = np.unique(np.linspace(0, want.size - 1, POINTS).astype(np.int64))
            self.values = [_rounded(want.reshape(-1)[at]), _rounded(actual.reshape(-1)[at])]

    def row(self) -> dict[str, Any]:
        if not self.fits or self.low is None or self.high is None or not math.isfinite(self.noise):
            return {}
        norm = math.sqrt(self.signal * self.other)
        lost = self.noise > 0 and self.signal > 0
        return {
            "sqnr": round(10 * math.log10(self.signal / self.noise), 2) if lost else None,
            "cosine": round(self.product / norm, 6) if norm else float(self.noise == 0),
            "channels": [_rounded(_joined(self.low, np.minimum)), _rounded(_joined(self.high, np.maximum))],
            "values": self.values,
        }


def _joined(a: np.ndarray, join: np.ufunc) -> np.ndarray:
    step = -(-len(a) // CHANNELS)
    return join.reduceat(a, np.arange(0, len(a), step))


def _rounded(a: np.ndarray) -> list[float]:
    return [float(f"{v:.4g}") for v in a]
