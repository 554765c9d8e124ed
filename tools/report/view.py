"""What a report knows of the graph that runs: its nodes with times and losses, memory, and the CPU they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...converter.errors import DataError
from ...converter.ir import Graph
from ...native.session import Port, Session
from ...quant.calibrate.observe import Sample
from ..bench_inputs import random_feed, shape_of, typed_feed
from ..cost import THOROUGHLY, RunTime
from ..timing import measure_for
from .cpu import Cpu, forecast, measure_cpu
from .nodes import Row, by_steps, fixed, memory, node_rows
from .trace import add_trace

SAMPLES = 4
_LOOPS_PROFILED = 11
View = dict[str, Any]


def graph_view(graph: Graph) -> View:
    """nodes and memory of a graph as it stands."""
    graph = fixed(graph)
    return {"nodes": node_rows(graph), "memory": memory(graph)}


def run_view(session: Session, feed: Mapping[str, np.ndarray], loops: int, numbers: Sequence[float]) -> View:
    """`graph_view` with milliseconds per step, and what the CPU could do: the one given by numbers, else this one."""
    view = graph_view(session.graph)
    by_steps(view["nodes"], step_times(session, feed, min(loops, _LOOPS_PROFILED)))
    return view | _bounded(view["nodes"], session.threads, numbers)


def step_times(session: Session, feed: Mapping[str, np.ndarray], loops: int) -> list[tuple[str, float]]:
    """(name, milliseconds) of each step that runs, in order: the median of some runs, which one that the machine
    interrupts does not move."""
    spent: dict[str, list[float]] = {}
    for _ in range(loops):
        once: dict[str, float] = {}
        for name, _, ns in session.profile(feed):
            once[name] = once.get(name, 0.0) + ns / 1e6
        for name, ms in once.items():
            spent.setdefault(name, []).append(ms)
    return [(name, float(np.median(runs))) for name, runs in spent.items()]


def conversion_view(
    real: Graph | None,
    quantized: Graph,
    samples: Sequence[Sample],
    threads: int,
    seed: int,
    times: RunTime | None = None,
) -> View:
    """A quantized graph beside the float one that it stands for; without one, alone.

    Beyond `run_view`: trace, how many samples, and of what, the losses on the rows are of; without samples it is seeded
    random input. time_ms of `quantized` and other_time_ms of `real`, where `times` does not say them. A graph that
    cannot run on that has neither.
    """
    graphs = [fixed(quantized)] if real is None else [fixed(quantized), fixed(real)]
    view = graph_view(graphs[0])
    rows = view["nodes"]
    try:
        fed = list(samples) or [seeded_sample(graphs[-1], seed), seeded_sample(graphs[-1], seed + 1)]
        if real is not None:
            add_trace(rows, graphs[1], graphs[0], fed, threads)
            view["trace"] = {"samples": len(fed), "of": "calibration data" if samples else "seeded random input"}
        threads = times.threads if times is not None else threads
        pairs = [(_plain(g, threads), typed_feed(dict(fed[0]), list(map(Port.of, g.inputs)))) for g in graphs]
        if times is None:
            named = zip(("time_ms", "other_time_ms"), measure_for(pairs, THOROUGHLY))
            view |= {name: timing.as_dict() for name, timing in named} | {"threads": threads}
        loops = len(times.after.runs) if times is not None else view["time_ms"]["runs"]
        by_steps(rows, step_times(*pairs[0], loops=min(_LOOPS_PROFILED, loops)))
    except DataError as error:
        view["trace"] = {"samples": 0, "of": f"none: {error.message}"}
    return view | _bounded(rows, threads, ())


def seeded_sample(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Random values of each input, and the first value of each state. Raises DataError where sizes are open."""
    ports = [Port.of(t) for t in graph.inputs]
    for port in ports:
        shape_of(port)
    return random_feed(ports, seed) | graph.first_states


def _plain(graph: Graph, threads: int) -> Session:
    """A session whose states are inputs like others."""
    return Session(Graph(graph.name, graph.nodes, graph.inputs, graph.outputs, graph.meta), threads)


def _bounded(rows: Sequence[Row], threads: int, numbers: Sequence[float]) -> View:
    cpu = Cpu.given(numbers) if numbers else measure_cpu(threads)
    return {"forecast_ms": forecast(rows, cpu), "cpu": cpu.as_dict()}
