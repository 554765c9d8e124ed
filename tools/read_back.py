"""Reads what was written with bitlite's own readers, and compares it with what it was written from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..converter.errors import Error, OutputError
from ..converter.formats import read_model
from ..converter.formats.files import let_go
from ..converter.ir import Graph, Tensor, is_quantized
from ..converter.passes import GENERAL, run_passes
from ..native.session import Port, Session
from .accuracy import sqnr
from .bench_inputs import Feed, feed_for, outputs_like, random_feed, real, typed_feed
from .last_bits import rounding_bounds
from .stored_weights import check_weights
from .timing import Timing, measure_for

LARGEST = 128 << 20
"""Bytes of constants, as a run holds them, beyond which a conversion runs no graph to check it."""
_FLOAT_TOLERANCE = 1e-3  # of the range; files keep scales in float32, and operators may be stored in parts
_FLOAT = 4  # bytes
_INT8_SQNR = 20.0  # dB: the last bits of an int8 network may differ, where a scale was rounded


class Run(NamedTuple):
    """One run: what was fed and what came of it, by name, and the ports that say how."""

    feed: Feed
    outputs: Feed
    inputs_as: Sequence[Port]
    outputs_as: Sequence[Port]


class Original:
    """What files are written from; run once for all of them, on a calibration sample where there is one.

    sample: input name → array as the graph takes it, real values for an input in codes.

    Attributes:
        keeps: its program stays for runs to come, as `session`. seconds: of runs whose times are taken while its
        program is there, as `timing`. why: why it is not run, "" where it is.
    """

    keeps, seconds = True, 0.0

    def __init__(self, graph: Graph, threads: int = 1, sample: Feed | None = None) -> None:
        self.graph, self.threads, self.sample = _stepwise(graph.copy()), threads, sample
        self.session: Session | None = None
        self.timing: Timing | None = None
        self._run: Run | None = None
        self._bounds: Feed | None = None
        self.why = why_too_large(graph)

    def run(self) -> Run | None:
        """Its run; None where it cannot be run."""
        if self._run is None and not self.why:
            try:
                session = Session(self.graph.copy(), self.threads)
                known = [p for p in session.inputs if p.name in (self.sample or {})]
                rest = [p for p in session.inputs if p not in known]
                feed = typed_feed(self.sample or {}, known) | random_feed(rest, 1)
                self._run = Run(feed, session.run(feed), session.inputs, session.outputs)
                if self.seconds:
                    (self.timing,) = measure_for([(session, feed)], self.seconds, warm_up=0)
                if self.keeps:
                    self.session = session
            except Error as error:
                self.why = f"on random values: {error}" if self.sample is None else str(error)
        return self._run

    def bounds(self) -> Feed:
        """What the last bits move each output by, nothing where it cannot be run; see `last_bits`."""
        run = self.run()
        if self._bounds is None:
            self._bounds = {} if run is None else rounding_bounds(self.graph, run.feed, run.outputs, self.threads)
        return self._bounds


def why_too_large(graph: Graph) -> str:
    """Why a check does not run the graph, "" where it does."""
    widened = {
        t
        for node in graph.nodes
        if not node.attrs.get("dynamic") and not any(is_quantized(y) for y in node.outputs)
        for t in node.inputs
        if t is not None and t.quant is not None
    }  # codes that a float operator computes on as floats
    size = sum(t.data.size * _FLOAT if t in widened else t.data.nbytes for t in graph.constants() if t.data is not None)
    return f"{size >> 20} MB of constants, a run is tried up to {LARGEST >> 20}" if size > LARGEST else ""


def check_written(path: str, original: Original) -> str:
    """Raises OutputError when the file does not hold what it was written from; it names the first node that differs.

    Returns a note on what was left out, "" when everything was checked.
    """
    run = original.run()
    let_go()  # one program and the file that it is made of are in memory at a time
    try:
        graph = _read(path)
    except Error as error:
        raise OutputError(f"{path}: what was written cannot be read back: {error.message}", hint=error.hint) from error
    for mine, theirs, what in (
        (original.graph.inputs, graph.inputs, "input"),
        (original.graph.outputs, graph.outputs, "output"),
    ):
        _check_ports(path, mine, theirs, what)
    if run is None:
        compared, total = check_weights(path, original.graph, graph)
        return (
            f"{path}: read back, not run ({original.why}): {compared / max(total, 1):.0%} of the"
            " bytes of its constants compared"
        )
    feed, expected, inputs, outputs = run
    try:
        shapes = {p.name: v.shape for p, v in zip(inputs, feed.values()) if p.shape is not None and None in p.shape}
        session = _session_of_fed_sizes(path, original, feed, inputs) if shapes else Session(graph, original.threads)
        results = _in_layout_of(session.run(feed_as(feed, inputs, session.inputs)), session.outputs, outputs)
    except Error as error:
        raise OutputError(f"{path}: what was written does not run: {error.message}", hint=error.hint) from error
    least_sqnr = _INT8_SQNR if any(is_quantized(t) for node in graph.nodes for t in node.outputs) else None
    for name, value in expected.items():
        theirs = results[name]
        if not _equal_but_rounding(value, theirs, least_sqnr) and not _within(value, theirs, original.bounds()[name]):
            where = _first_difference(path, original, feed, least_sqnr)
            raise OutputError(f"{path}: output {name!r} is not what was written{where}")
    return ""


def _read(path: str, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Graph:
    graph = _stepwise(read_model(path, shapes))
    run_passes(graph, GENERAL)
    return graph


def _stepwise(graph: Graph) -> Graph:
    """One run on states that are given: a file may hold them as inputs and outputs, or as variables of its own."""
    graph.states = ()
    return graph


def feed_as(feed: Feed, given: Sequence[Port], wanted: Sequence[Port]) -> Feed:
    """The values in the other file's layout; codes as they are, whatever is known of them there."""
    return feed_for(feed, [_plain(p) for p in given], [_plain(p) for p in wanted])


def _in_layout_of(outputs: Feed, given: Sequence[Port], wanted: Sequence[Port]) -> Feed:
    return outputs_like(outputs, [_plain(p) for p in given], [_plain(p) for p in wanted])


def _plain(port: Port) -> Port:
    return dataclasses.replace(port, quant=None)


def _session_of_fed_sizes(path: str, original: Original, feed: Feed, inputs: Sequence[Port]) -> Session:
    """The file with the sizes that were fed."""
    session = Session(_read(path), original.threads)
    fed = feed_as(feed, inputs, session.inputs)
    return Session(_read(path, {name: value.shape for name, value in fed.items()}), original.threads)


_SINGLE = {"float16": "float32"}


def _check_ports(path: str, mine: Sequence[Tensor], theirs: Sequence[Tensor], what: str) -> None:
    # A .ms has float32 where its source has float16.
    if [_SINGLE.get(t.dtype.name, t.dtype.name) for t in mine] != [
        _SINGLE.get(t.dtype.name, t.dtype.name) for t in theirs
    ]:
        shown = [", ".join(f"{t.name} {t.dtype}" for t in side) for side in (mine, theirs)]
        raise OutputError(f"{path}: read back, it has the {what}s {shown[1]} and not {shown[0]}")


def _equal_but_rounding(a: np.ndarray, b: np.ndarray, least_sqnr: float | None) -> bool:
    if a.size != b.size:
        return False
    if a.dtype.kind not in "fiu":
        return bool(np.array_equal(a.ravel(), b.ravel()))
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    finite = np.isfinite(x)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True) or not np.isfinite(y[finite]).all():
        return False
    error, largest = np.abs(x[finite] - y[finite]).max(initial=0.0), np.abs(x[finite]).max(initial=0.0)
    if error <= _FLOAT_TOLERANCE * largest or not error:
        return True
    return least_sqnr is not None and sqnr(x[finite], y[finite]) >= least_sqnr


def _within(a: np.ndarray, b: np.ndarray, most: np.ndarray) -> bool:
    """Whether no value differs by more than `most`."""
    if a.size != b.size or a.dtype.kind not in "fiu":
        return False
    with np.errstate(invalid="ignore"):
        return bool((np.abs(np.subtract(a.ravel(), b.ravel(), dtype=np.float64)) <= most).all())


def _first_difference(path: str, original: Original, feed: Feed, least_sqnr: float | None) -> str:
    """Which node is the first whose result differs, by the tensors that both graphs have under one name."""
    try:
        graph = _read(path)
        mine = original.graph.copy()
        names = {t.name for node in graph.nodes for t in node.outputs}
        common = [t for node in mine.nodes for t in node.outputs if t.name in names]
        by_name = {t.name: t for node in graph.nodes for t in node.outputs}
        mine.outputs, graph.outputs = common, [by_name[t.name] for t in common]
        first, second = Session(mine, original.threads), Session(graph, original.threads)
        a = first.run(feed)
        b = second.run(feed_as(feed, first.inputs, second.inputs))
        allowed = rounding_bounds(mine, feed, a, original.threads)
    except Error:
        return ""
    makers = {t.name: node for node in original.graph.nodes for t in node.outputs}
    for t in common:
        left, right = _reals(a[t.name], t, b[t.name], by_name[t.name])
        step = t.quant.scale.max() if is_quantized(t) and left.dtype.kind == "f" and t.quant is not None else 0.0
        most = allowed[t.name] * (step or 1.0) + step
        if not any(
            _equal_but_rounding(left, x, least_sqnr) or _within(left, x, most)
            for x in _channel_orders(right, left.shape)
        ):
            node = makers[t.name]
            return f": {node.name} ({node.op}) is the first node that differs"
    return ""


def _reals(a: np.ndarray, of_a: Tensor, b: np.ndarray, of_b: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Both as the reals that they stand for where both are known; a file may have other codes for the same values."""
    if not (is_quantized(of_a) or a.dtype.kind == "f") or not (is_quantized(of_b) or b.dtype.kind == "f"):
        return a, b
    return real(a, Port.of(of_a)), real(b, Port.of(of_b))


def _channel_orders(value: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The value as it is, and with its channels moved to either end: inside, a file keeps its own order of axes."""
    turned = [np.moveaxis(value, 1, -1), np.moveaxis(value, -1, 1)] if value.ndim > 2 else []
    return [x for x in [value, *turned] if x.shape == shape] or [value]
