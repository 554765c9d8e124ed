"""Builds small graphs, runs them node by node, and checks that a pass keeps what they compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.ir import Graph, Node, Tensor
from bitlite.converter.passes import Change, Refusal, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify


class Net:
    """A graph under construction, with random constants from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = Graph("net")
        self.build = Builder(self.graph, fold_limit=0)
        self.rng = np.random.default_rng(seed)

    def input(self, *shape: int | None, name: str = "x", dtype: type = np.float32) -> Tensor:
        return self.build.input(name, dtype, shape)

    def const(self, *shape: int, name: str = "w", low: float = -1.0, high: float = 1.0) -> Tensor:
        return self.build.constant(self.rng.uniform(low, high, shape).astype(np.float32), name)

    def ints(self, *values: int, name: str = "k") -> Tensor:
        return self.build.constant(np.asarray(values, np.int64), name)

    def emit(self, op: str, *inputs: Tensor | None, name: str = "", **attrs: object) -> Tensor:
        return self.many(op, *inputs, name=name, **attrs)[0]

    def many(self, op: str, *inputs: Tensor | None, name: str = "", **attrs: object) -> list[Tensor]:
        return self.build.emit(op, inputs, attrs, name=name or op.lower())

    def conv(self, x: Tensor, out: int, k: int = 3, pad: int = 1, **attrs: object) -> Tensor:
        group = attrs.get("group", 1)
        w = self.const(out, k, k, x.shape[-1] // group, name="w")
        window = {"stride": [1, 1], "dilation": [1, 1], "pad": [pad] * 4}
        return self.emit("Conv", x, w, self.const(out, name="b"), **(window | attrs))

    def first(self, x: Tensor) -> Tensor:
        """N…C → NC…, as a reader of an NC… container puts it behind a spatial operator."""
        return self.emit("Transpose", x, perm=[0, x.rank - 1, *range(1, x.rank - 1)], name="to_first")

    def last(self, x: Tensor) -> Tensor:
        """NC… → N…C, in front of a spatial operator."""
        return self.emit("Transpose", x, perm=[0, *range(2, x.rank), 1], name="to_last")

    def done(self, *outputs: Tensor) -> Graph:
        self.graph.outputs = list(outputs)
        verify(self.graph)
        return self.graph


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture(scope="session")
def new_net() -> type[Net]:
    return Net


def run(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs, computed node by node by the references."""
    values = {t: feeds[t.name] for t in graph.inputs}
    for node in graph.nodes:
        arrays = [None if t is None else t.data if t.is_const else values[t] for t in node.inputs]
        for t, value in zip(node.outputs, execute(node, arrays)):
            assert t.shape is None or len(t.shape) == value.ndim, (node, t.shape, value.shape)
            assert t.shape is None or all(n in (None, m) for n, m in zip(t.shape, value.shape)), (node, t, value.shape)
            assert value.dtype == t.dtype, (node, t, value.dtype)
            values[t] = value
    return {t.name: t.data if t.is_const else values[t] for t in graph.outputs}


@pytest.fixture(scope="session")
def outputs_of() -> Callable[..., dict[str, np.ndarray]]:
    return run


def feeds_of(graph: Graph, seed: int, batch: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for t in graph.inputs:
        shape = [batch if n is None else n for n in t.shape]
        whole = t.dtype.kind in "iu"
        feeds[t.name] = (rng.integers(-100, 100, shape) if whole else rng.normal(size=shape)).astype(t.dtype)
    return feeds


class Outcome:
    """What a run of passes did to a graph."""

    def __init__(self, graph: Graph, records: list[Change | Refusal]) -> None:
        self.graph = graph
        self.changes = [r for r in records if isinstance(r, Change)]
        self.refusals = [r for r in records if isinstance(r, Refusal)]
        self.ops = [n.op for n in graph.nodes]

    def node(self, op: str) -> Node:
        (match,) = [n for n in self.graph.nodes if n.op == op]
        return match

    def reasons(self) -> str:
        return "; ".join(r.reason for r in self.refusals)


@pytest.fixture(scope="session")
def rewrite() -> Callable[..., Outcome]:
    """rewrite(graph, *passes): runs them, and checks names, types and that the outputs agree to 1e-5 of their range."""

    def check(graph: Graph, *passes: object, seeds: tuple[int, ...] = (1, 2), tolerance: float = 1e-5) -> Outcome:
        before = [run(graph, feeds_of(graph, seed)) for seed in seeds]
        names = [t.name for t in graph.inputs], [t.name for t in graph.outputs]
        records = run_passes(graph, passes)
        assert ([t.name for t in graph.inputs], [t.name for t in graph.outputs]) == names
        for seed, wanted in zip(seeds, before):
            actual = run(graph, feeds_of(graph, seed))
            for name, value in wanted.items():
                assert actual[name].shape == value.shape
                if value.dtype.kind == "f":
                    span = float(np.ptp(value)) if value.size else 0.0
                    assert np.abs(actual[name] - value).max(initial=0.0) <= tolerance * max(span, 1e-3), name
                else:
                    assert np.array_equal(actual[name], value)
        return Outcome(graph, records)

    return check
