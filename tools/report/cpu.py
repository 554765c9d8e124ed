"""What a CPU can do at most, given by numbers or measured, and what a graph takes on it: a static forecast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .nodes import Row

_ROWS, _WIDE = 64, 1024
_COPIED = 32 << 20


@dataclass(frozen=True)
class Cpu:
    """int8, real: 10^9 multiplications with additions a second, on int8 and float32. memory: 10^9 bytes a second.
    overhead: microseconds a node takes whatever it computes. measured: on this machine, rather than given."""

    int8: float
    memory: float
    real: float
    overhead: float = 0.0
    measured: bool = False

    @classmethod
    def given(cls, numbers: Sequence[float]) -> Cpu:
        """int8 GMAC/s, GB/s and, where they are given, float GMAC/s (int8's quarter) and microseconds a node (0)."""
        int8, memory, *rest = numbers
        return cls(int8, memory, rest[0] if rest else int8 / 4, rest[1] if len(rest) > 1 else 0.0)

    def milliseconds(self, row: Row) -> float:
        """What a node of `node_rows` takes at least: its products, or its bytes."""
        peak = self.int8 if row["computes"] == "int8" else self.real
        return max(row["macs"] / peak, sum(row["bytes"].values()) / self.memory) / 1e6 + self.overhead / 1e3

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forecast(rows: Sequence[Row], cpu: Cpu) -> float:
    """Puts `forecast_ms` on each row. Returns their sum."""
    for row in rows:
        row["forecast_ms"] = round(cpu.milliseconds(row), 6)
    return sum(row["forecast_ms"] for row in rows)


def measure_cpu(threads: int) -> Cpu:
    """The best of a few products of matrices and of copies beyond the caches, each some milliseconds long."""
    work = _ROWS * _WIDE * _WIDE
    rates = [work / _least(_product(kind, threads)) / 1e9 for kind in (np.int8, np.float32)]
    source = np.zeros(_COPIED, np.uint8)
    target = np.ones_like(source)
    copied = 2 * _COPIED / _least(lambda: np.copyto(target, source)) / 1e9
    return Cpu(round(rates[0], 2), round(copied, 2), round(rates[1], 2), measured=True)


def _product(kind: type, threads: int) -> Any:
    from ...converter.ir import Graph
    from ...converter.numeric.qparams import QuantParam
    from ...converter.schema.builder import Builder
    from ...native.session import Session

    dtype = np.dtype(kind)
    quant = QuantParam(np.array([0.05]), np.array([0], np.int32)) if dtype.kind == "i" else None
    graph = Graph("product")
    build = Builder(graph)
    x = build.input("x", kind, (_ROWS, _WIDE))
    weight = build.constant(np.ones((_WIDE, _WIDE), dtype), "w")
    x.quant = weight.quant = quant
    graph.outputs = build.emit("FullyConnected", [x, weight], {"keep_dims": True}, name="fc")
    if quant is not None:
        graph.outputs[0].quant, graph.outputs[0].dtype = quant, dtype
    session, feed = Session(graph, threads), {"x": np.ones((_ROWS, _WIDE), dtype)}
    return lambda: session.run(feed)


def _least(work: Any, seconds: float = 0.03) -> float:
    """The least time of one run: of three, and of more as long as there are seconds left."""
    end, spent = time.perf_counter() + seconds, list[float]()
    while len(spent) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return max(min(spent), 1e-9)
