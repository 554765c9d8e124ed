"""Which nodes take a model's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..converter.text import one_line
from ..native.session import Session
from .tables import cut, width


@dataclass(frozen=True)
class Profile:
    """Milliseconds per node over `loops` runs: (name, operator, total, calls), in order of execution."""

    nodes: list[tuple[str, str, float, int]]
    loops: int

    @property
    def total(self) -> float:
        return sum(row[2] for row in self.nodes)

    def by_type(self) -> list[tuple[str, float, int]]:
        """(operator, milliseconds, calls), the costliest first."""
        sums: dict[str, tuple[float, int]] = {}
        for _, op, spent, calls in self.nodes:
            before = sums.get(op, (0.0, 0))
            sums[op] = before[0] + spent, before[1] + calls
        return sorted(((op, spent, calls) for op, (spent, calls) in sums.items()), key=lambda row: -row[1])

    def lines(self, wall: float) -> list[str]:
        """The real tool's two tables and its last line; `wall` is a run's mean without profiling."""
        nodes = sorted(self.nodes, key=lambda row: -row[2])
        return [
            *_table(
                "opName",
                [(name.partition(";")[0], spent, calls) for name, _, spent, calls in nodes],
                self.total,
                self.loops,
            ),
            *_table("opType", self.by_type(), self.total, self.loops),
            f"total time :     {wall:.5f} ms,  kernel cost : {self.total / self.loops:.5f} ms",
        ]

    def as_dict(self) -> dict[str, list[dict[str, str | float | int]]]:
        rows = [{"name": n, "op": o, "ms": spent / self.loops, "calls": c} for n, o, spent, c in self.nodes]
        return {"nodes": rows, "types": [{"op": o, "ms": s / self.loops, "calls": c} for o, s, c in self.by_type()]}


def profile(session: Session, feed: Mapping[str, np.ndarray], loops: int) -> Profile:
    """Runs `loops` times with a clock around each node."""
    sums: dict[tuple[str, str], list[float]] = {}
    for _ in range(loops):
        for name, op, ns in session.profile(feed):
            cell = sums.setdefault((name, op), [0.0, 0])
            cell[0] += ns / 1e6
            cell[1] += 1
    return Profile([(name, op, cell[0], int(cell[1])) for (name, op), cell in sums.items()], loops)


def _table(head: str, rows: list[tuple[str, float, int]], total: float, loops: int) -> list[str]:
    cells = [(head, "avg(ms)", "percent", "calledTimess", "opTotalTime")]
    cells += [
        (name, f"{spent / loops:.5f}", f"{spent / total if total else 0:.6f}", str(calls), f"{spent:.5f}")
        for name, spent, calls in rows
    ]
    figures = sum(max(len(row[i]) for row in cells) + 2 for i in range(1, 5))
    room = max(width() - figures, len(head))
    cells = [(cut(one_line(name), room, middle=True), *row) for name, *row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    rule = "-" * (sum(widths) + 8)
    return [rule, *("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells), rule]
