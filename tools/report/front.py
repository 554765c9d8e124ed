"""The front of a search as SVG: bytes to the right, what is kept or lost upward, the time of a run as a colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ...converter.text import one_line
from ...quant.search.goal import COSINE, DECIBEL, shown
from ...quant.search.trials import Trial

_STYLE = """
svg { background: #fff; } text { font: 13px system-ui, sans-serif; fill: #14202e; } .grid { stroke: #dfe4ea; }
.line { fill: none; stroke: #4a7fc1; stroke-width: 1.5; } .other { fill: none; stroke: #8593a6; }
.front { stroke: #14202e; }
@media (prefers-color-scheme: dark) {
svg { background: #14181d; } text { fill: #e6ebf0; } .grid { stroke: #333b45; } .front { stroke: #e6ebf0; }
}
"""
_WIDE, _HIGH, _LEFT, _RIGHT, _TOP, _LOW = 760, 460, 92, 24, 44, 62
_MOST = 120.0  # dB, for outputs that are exact
_TICKS = 6


def svg(trials: Sequence[Trial], front: Sequence[Trial], *, title: str) -> str:
    """The picture of all trials, those of the front numbered, the smallest first. There is one at least."""
    unit = trials[0].loss.unit
    xs, ys = [t.bytes for t in trials], [_height(t) for t in trials]
    across, upward = _Axis.around(xs), _Axis.around(ys)
    shares = [t.share for t in front if t.share is not None]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" width="{_WIDE}" height="{_HIGH}"'
        f' role="img"><title>{escape(one_line(title))}</title><style>{_STYLE}</style>',
        f'<text x="{_LEFT}" y="24" font-weight="bold">{escape(one_line(title))}</text>',
    ]
    for value in across.ticks():
        x = _x(across, value)
        parts.append(f'<path class="grid" d="M{x:.1f},{_TOP}V{_HIGH - _LOW}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HIGH - _LOW + 18}" text-anchor="middle">{value / 1000:,.6g} kB</text>')
    for value in upward.ticks():
        y = _y(upward, value)
        parts.append(f'<path class="grid" d="M{_LEFT},{y:.1f}H{_WIDE - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(shown(value, unit))}</text>')
    at = {id(t): (_x(across, t.bytes), _y(upward, _height(t))) for t in trials}
    parts.append('<path class="line" d="M' + " ".join("{:.1f},{:.1f}".format(*at[id(t)]) for t in front) + '"/>')
    chosen = {id(t) for t in front}
    for trial in trials:
        if id(trial) not in chosen:
            x, y = at[id(trial)]
            parts.append(f'<circle class="other" cx="{x:.1f}" cy="{y:.1f}" r="4">{_told(trial)}</circle>')
    for number, trial in enumerate(front, 1):
        x, y = at[id(trial)]
        fill = _colour(trial.share, shares)
        parts.append(f'<circle class="front" cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}">{_told(trial)}</circle>')
        parts.append(f'<text x="{x:.1f}" y="{y - 10:.1f}" text-anchor="middle">{number}</text>')
    if shares:
        ends = " to ".join(f"{share:.2f}" for share in (min(shares), max(shares)))
        legend = f"one run: {ends} of float's time, the darker the slower"
        parts.append(f'<text x="{_LEFT}" y="{_HIGH - 12}">{legend}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """From low to high, ticks at round numbers."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def around(cls, values: Sequence[float]) -> _Axis:
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        return cls(low - room, high + room)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        rough = (self.high - self.low) / _TICKS
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough)
        return [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _x(axis: _Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (_WIDE - _LEFT - _RIGHT)


def _y(axis: _Axis, value: float) -> float:
    return _HIGH - _LOW - axis.share(value) * (_HIGH - _LOW - _TOP)


def _height(trial: Trial) -> float:
    value = trial.loss.value
    return min(value, _MOST) if trial.loss.unit == DECIBEL else max(value, -1.0) if trial.loss.unit == COSINE else value


def _told(trial: Trial) -> str:
    time = "" if trial.share is None else f", {trial.share:.2f} of float's time"
    return f"<title>{escape(f'{trial.bytes:,} bytes, {trial.loss.text()}{time}; {trial.form.text()}')}</title>"


def _colour(time: float | None, every: Sequence[float]) -> str:
    """From light to dark as a run takes longer."""
    if time is None or max(every) <= min(every):
        return "#4a7fc1"
    dark = (time - min(every)) / (max(every) - min(every))
    return "#" + "".join(f"{round(a + dark * (b - a)):02x}" for a, b in zip((207, 227, 255), (24, 58, 106)))
