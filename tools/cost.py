"""What a quantization cost: the time of one run before and after; without data, the outputs on random inputs, too."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from ..converter.errors import Error
from ..converter.ir import Graph
from ..native.session import Session
from ..quant.ptq.fidelity import Fidelity, compared
from .bench_inputs import Feed, feed_for, real_outputs
from .read_back import Original

_ROUNDS = 2, 50  # at least, at most
_SECONDS = 0.03


@dataclass(frozen=True)
class RunTime:
    """Seconds of one run in bitlite, the least of a few, on `threads` threads."""

    before: float
    after: float
    threads: int

    def text(self) -> str:
        before, after = (_duration(s) for s in (self.before, self.after))
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"one run: {after}, {self.after / self.before:.2f} of float's {before} (bitlite, {threads})"

    def as_dict(self) -> dict[str, Any]:
        """JSON's form, in milliseconds."""
        return {"before_ms": 1e3 * self.before, "after_ms": 1e3 * self.after, "threads": self.threads}


def measure(before: Graph, original: Original) -> tuple[RunTime, Fidelity | None] | str:
    """Runs a float graph on what its quantized form was run on.

    Args:
        before: in float. original: the quantized graph, with a calibration sample where there is one.
    Returns:
        The times, and what the outputs on a random input have in common (None where there is a sample, or no output
        is float); or why there are none.
    """
    run = original.run()
    if run is None or original.session is None:
        return original.why
    try:
        before = before.copy()
        before.states = ()
        session = Session(before, original.threads)
        feed = feed_for(run.feed, run.inputs_as, session.inputs)
        outputs = real_outputs(session.run(feed), session.outputs)
        before_seconds, after_seconds = _least((session, feed), (original.session, run.feed))
    except Error as error:
        return error.message
    time_of_run = RunTime(before_seconds, after_seconds, original.threads)
    if original.sample is not None:
        return time_of_run, None
    quantized = real_outputs(run.outputs, run.outputs_as)
    names = [port.name for port in session.outputs if port.dtype.kind == "f"]
    rows = tuple(compared(name, [outputs[name]], [quantized[name]]) for name in names)
    return time_of_run, Fidelity(rows, 1, held_back=True, random=True) if rows else None


def _least(*runs: tuple[Session, Feed]) -> list[float]:
    """The least seconds of each, in turns, so that a machine that changes its speed changes all."""
    least, start, rounds = [math.inf] * len(runs), time.perf_counter(), 0
    while rounds < _ROUNDS[0] or (rounds < _ROUNDS[1] and time.perf_counter() - start < _SECONDS):
        for k, (session, feed) in enumerate(runs):
            begin = time.perf_counter()
            session.run(feed)
            least[k] = min(least[k], time.perf_counter() - begin)
        rounds += 1
    return least


def _duration(seconds: float) -> str:
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e6 * seconds:.3g} µs"
