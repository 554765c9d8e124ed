"""Tensors without elements, of which data decide: every kernel gives what the numpy reference gives."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.errors import DataError, GraphError
from bitlite.converter.examples import example
from bitlite.converter.execute import execute
from bitlite.converter.ir import Graph
from bitlite.converter.ops import OPS
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session

CASES = [
    pytest.param(name, case, id=f"{name}-{k}")
    for name, row in sorted(OPS.items())
    for k, case in enumerate(row.cases)
    if row.kernel
]


def emptied(graph: Graph, feeds: dict[str, np.ndarray], axis: int) -> dict[str, np.ndarray] | None:
    """Feeds whose first, and all of its shape, have no element along the axis; the graph's shapes become open."""
    first = next(iter(feeds.values()), None)
    if first is None or axis >= first.ndim:
        return None
    for t in [*graph.inputs, *(t for node in graph.nodes for t in node.outputs)]:
        if t.shape is not None:
            t.shape = (None,) * len(t.shape)
    return {name: a.take([], axis) if a.shape == first.shape else a for name, a in feeds.items()}


def reference(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    values = {t: feeds[t.name] for t in graph.inputs}
    for node in graph.nodes:
        results = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        values.update(zip(node.outputs, results, strict=True))
    return [t.data if t.is_const else values[t] for t in graph.outputs]


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@pytest.mark.parametrize(("name", "case"), CASES)
def test_every_kernel_takes_inputs_without_elements(name, case):
    for axis in range(5):
        graph, feeds = example(name, case)
        empty = emptied(graph, feeds, axis) if graph.nodes else None
        if empty is None:
            return
        try:
            want = reference(graph, empty)
        except (GraphError, ValueError, IndexError, ZeroDivisionError):
            want = None
        for threads, isa in [(1, ""), (2, ""), (1, "scalar")]:
            try:
                got = Session(graph, threads, isa).run(empty)
            except DataError:
                continue  # what does not fit is refused in words
            for t, value in zip(graph.outputs, want or [], strict=want is not None):
                assert got[t.name].shape == value.shape
                np.testing.assert_allclose(got[t.name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_of_what_was_selected_runs_when_nothing_was(kernel, threads):
    graph = Graph()
    builder = Builder(graph)
    x = builder.input("x", np.dtype(np.float32), (3, 6, 6, 4))
    mask = builder.input("mask", np.dtype(np.float32), (3,))
    rows = builder.emit("Reshape", [builder.emit("NonZero", [mask])[0], builder.constant(np.int64([-1]), "flat")])[0]
    picked = builder.emit("Gather", [x, rows], {"axis": 0})[0]
    w = builder.constant(np.ones((8, kernel, kernel, 4), np.float32), "w")
    attrs = {"stride": (1, 1), "dilation": (1, 1), "pad": (kernel // 2,) * 4, "group": 1}
    graph.outputs = builder.emit("Conv", [picked, w], attrs)
    session = Session(graph, threads)
    name = session.outputs[0].name
    ones = np.ones((3, 6, 6, 4), np.float32)
    assert session.run({"x": ones, "mask": np.zeros(3, np.float32)})[name].shape == (0, 6, 6, 8)
    y = session.run({"x": ones, "mask": np.float32([0, 1, 0])})[name]
    assert y.shape == (1, 6, 6, 8) and y[0, 3, 3, 0] == 4 * kernel**2
