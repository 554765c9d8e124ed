"""How long a model takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..native.session import Session

_ROUNDS = 2, 50  # at least, at most


@dataclass(frozen=True)
class Timing:
    """Milliseconds of timed runs."""

    runs: tuple[float, ...]

    @property
    def low(self) -> float:
        return min(self.runs)

    @property
    def high(self) -> float:
        return max(self.runs)

    @property
    def mean(self) -> float:
        return sum(self.runs) / len(self.runs)

    @property
    def median(self) -> float:
        return float(np.median(self.runs))

    def line(self, model: str, threads: int) -> str:
        """The line that the real tool prints."""
        return (
            f"Model = {model}, NumThreads = {threads}, MinRunTime = {self.low:f} ms, MaxRuntime = {self.high:f} ms, "
            f"AvgRunTime = {self.mean:f} ms"
        )

    def as_dict(self) -> dict[str, float | int]:
        return {"runs": len(self.runs), "min": self.low, "max": self.high, "mean": self.mean, "median": self.median}


def measure(sessions: Sequence[tuple[Session, Mapping[str, np.ndarray]]], warm_up: int, loops: int) -> list[Timing]:
    """Times sessions on one feed each, taking turns, so that a busy machine is busy for all of them."""
    for session, feed in sessions:
        for _ in range(warm_up):
            session.run(feed)
    spent: list[list[float]] = [[] for _ in sessions]
    for _ in range(loops):
        for (session, feed), column in zip(sessions, spent):
            start = time.perf_counter_ns()
            session.run(feed)
            column.append((time.perf_counter_ns() - start) / 1e6)
    return [Timing(tuple(column)) for column in spent]


def measure_for(
    sessions: Sequence[tuple[Session, Mapping[str, np.ndarray]]], seconds: float, warm_up: int = 1
) -> list[Timing]:
    """`measure` for about so many seconds, 2 to 50 runs of each."""
    spent: list[list[float]] = [[] for _ in sessions]
    measure(sessions, warm_up, 0)
    start = time.perf_counter()
    while len(spent[0]) < _ROUNDS[0] or (len(spent[0]) < _ROUNDS[1] and time.perf_counter() - start < seconds):
        for timing, column in zip(measure(sessions, 0, 1), spent):
            column += timing.runs
    return [Timing(tuple(column)) for column in spent]
