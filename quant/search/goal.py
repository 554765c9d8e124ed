"""What a search is asked for: how much may be lost, and the bytes and the time that a model may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

POINTS, PERCENT, DECIBEL, COSINE, ERROR = "points", "%", "dB", "cos", "error"
BOUNDS = {POINTS: (0, math.inf), PERCENT: (0, 100), DECIBEL: (0, 120), COSINE: (0, 1)}
"""Least and greatest value of the units that a user may give."""


@dataclass(frozen=True)
class MaxDrop:
    """The most that may be lost.

    unit: POINTS of top-1 by labels, or of the user's metric in its own unit; PERCENT of samples whose best class is
    another than in float; DECIBEL, the least SQNR of the worst output; COSINE, the least mean cosine of the worst
    output; ERROR, the mean relative error of the outputs.
    """

    value: float
    unit: str = POINTS

    def allows(self, value: float) -> bool:
        return value >= self.value if self.unit in (DECIBEL, COSINE) else value <= self.value

    def text(self) -> str:
        bound = "at least" if self.unit in (DECIBEL, COSINE) else "at most"
        return f"{bound} {shown(self.value, self.unit)}"


@dataclass(frozen=True)
class MaxTime:
    """Of one run: milliseconds, or a share of the float model's time."""

    value: float
    milliseconds: bool = False

    def __repr__(self) -> str:
        """As Python's keyword takes it."""
        return f"'{self.value:g}ms'" if self.milliseconds else f"{self.value:g}"

    def text(self) -> str:
        return f"{self.value:g} ms a run" if self.milliseconds else f"{self.value:g} of float's time"


@dataclass(frozen=True)
class Goal:
    """max_drop: None where as little as possible is to be lost. size: bytes of the file."""

    max_drop: MaxDrop | None = None
    size: int | None = None
    time: MaxTime | None = None

    @property
    def nothing(self) -> bool:
        """Whether nothing is asked for: what the quantization gives by itself is then as good as any."""
        return self == Goal()

    def text(self) -> str:
        size = [] if self.size is None else [f"at most {self.size:,} bytes"]
        return ", ".join([part.text() for part in (self.max_drop, self.time) if part is not None] + size)


def shown(value: float, unit: str) -> str:
    """A value of a unit as a user reads it."""
    if unit == COSINE:
        return f"cosine {value:.4f}"
    if unit == ERROR:
        return f"relative error {value:.3g}"
    return f"{value:.1f} dB" if unit == DECIBEL else f"{value:.3g}{'' if unit == PERCENT else ' '}{unit}"
