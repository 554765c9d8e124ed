"""What a quantization cost: the time of one run before and after; without data, the outputs on random inputs, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..converter.errors import Error
from ..converter.ir import Graph
from ..native.session import Session
from ..quant.ptq.fidelity import Fidelity, compared
from .bench_inputs import feed_for, real_outputs
from .read_back import Original
from .timing import Timing, measure_for

BRIEFLY, THOROUGHLY = 0.02, 0.8  # seconds of runs: for a line, and for the page of a report
_SURELY = 0.3  # seconds of runs before float is called faster
_SLOWER = 1.03  # of float's time: less is the machine's own noise


@dataclass(frozen=True)
class RunTime:
    """Runs in bitlite on `threads` threads, of the float graph and of the quantized one; the least of each counts."""

    before: Timing
    after: Timing
    threads: int

    @property
    def share(self) -> float:
        """The time of the quantized graph, as a share of float's."""
        return self.after.low / self.before.low

    @property
    def is_slower(self) -> bool:
        """Whether the quantized graph takes longer than the float one, by more than runs differ."""
        return self.share > _SLOWER

    def text(self) -> str:
        before, after = (_duration(timing.low / 1e3) for timing in (self.before, self.after))
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"one run: {after}, {self.share:.2f} of float's {before} (bitlite, {threads})"

    def as_dict(self) -> dict[str, Any]:
        """JSON's form, in milliseconds."""
        return {"time_ms": self.after.as_dict(), "other_time_ms": self.before.as_dict(), "threads": self.threads}


def how_timed(weights_only: bool, thorough: bool) -> tuple[bool, float]:
    """`keeps` and `seconds` of the original that `measure` gets. Integers take turns with float, so that a busy machine
    is busy for both. Weights in codes are floats in a program, which computes what float's does: one of the two after
    the other is in memory."""
    return (False, BRIEFLY / 2) if weights_only and not thorough else (True, 0.0)


def measure(before: Graph, original: Original, seconds: float = BRIEFLY) -> tuple[RunTime, Fidelity | None] | str:
    """Runs a float graph on what its quantized form was run on.

    Args:
        before: in float. original: the quantized graph, with a calibration sample where there is one; it keeps its
            program, which then takes turns, or has taken its own time. seconds: about how long to run both.
    Returns:
        The times, and what the outputs on a random input have in common (None where there is a sample, or no output
        is float); or why there are none.
    """
    run = original.run()
    if run is None:
        return original.why
    try:
        before = before.copy()
        before.states = ()
        session = Session(before, original.threads)
        feed = feed_for(run.feed, run.inputs_as, session.inputs)
        outputs = real_outputs(session.run(feed), session.outputs)
        if original.timing is not None:
            (before_time,), after_time = measure_for([(session, feed)], seconds / 2, warm_up=0), original.timing
        elif original.session is None:
            return "its program is gone"
        else:
            pair = (session, feed), (original.session, run.feed)
            before_time, after_time = measure_for(pair, seconds, warm_up=0)
            if RunTime(before_time, after_time, original.threads).is_slower and seconds < _SURELY:
                before_time, after_time = measure_for(pair, _SURELY, warm_up=0)
    except Error as error:
        return error.message
    time_of_run = RunTime(before_time, after_time, original.threads)
    if original.sample is not None:
        return time_of_run, None
    quantized = real_outputs(run.outputs, run.outputs_as)
    names = [port.name for port in session.outputs if port.dtype.kind == "f"]
    rows = tuple(compared(name, [outputs[name]], [quantized[name]]) for name in names)
    return time_of_run, Fidelity(rows, 1, held_back=True, random=True) if rows else None


def _duration(seconds: float) -> str:
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e6 * seconds:.3g} µs"
