"""Statistics of samples that workers read and run, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ...converter.ir import Graph, Tensor
from ...converter.ir.pack import pack, unpack
from ..cluster.pool import Workforce
from .data import Shard, read_shard
from .observe import Aside, Observer, Runner, look, observe

_SHARDS = 4096  # of one pass, at most: each costs the one who merges them the same, however many samples it holds
_LEAST = 8  # samples of a shard: a result on its way costs about what a small network takes for a sample


class Sharded(Protocol):
    """Samples of which parts are handed to other processes; `data.Dataset` is one."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
    def shards(self, parts: Iterable[Sequence[int]]) -> Iterator[Shard]: ...


class Chooses(Sharded, Protocol):
    """Samples of which some are read without the others."""

    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]: ...


class Chosen:
    """Some of the samples, of numbers that rise."""

    def __init__(self, samples: Chooses, rows: Sequence[int]) -> None:
        self._samples, self._rows = samples, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self._samples.only(self._rows)

    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]:
        return self._samples.only([self._rows[k] for k in sorted(rows)])

    def shards(self, parts: Iterable[Sequence[int]]) -> Iterator[Shard]:
        return self._samples.shards([self._rows[k] for k in part] for part in parts)


def shard_rows(total: int, slots: int = 1) -> list[range]:
    """The numbers of samples in each shard: about as many in each, and as many shards for each of the slots."""
    count = max(1, min(_SHARDS, total // _LEAST))
    count -= count % slots if count > slots else 0
    return [range(total * k // count, total * (k + 1) // count) for k in range(count)]


def observe_all(
    graph: Graph,
    samples: Sharded,
    tensors: Sequence[Tensor],
    see: Observer,
    workers: Workforce,
    track: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items,
    asides: Sequence[Aside] = (),
) -> None:
    """Shows `see` each tensor's value of each sample, on threads or by the workers of a pool: the same, bit by bit.
    asides: of the same runs, where they are this process's.

    track: wraps an iteration over as many items as there are samples.

    Raises:
        DataError: a sample cannot be read, or makes a tensor NaN or infinite.
    """
    if workers.pool is None:
        observe(graph, track(samples), tensors, see, workers.threads, asides)
        return
    steps = iter(track(range(len(samples))))
    state = workers.pool.state(open_graph, pack(graph))
    rows, names = shard_rows(len(samples), workers.pool.slots), tuple(t.name for t in tensors)
    shards = ((shard, part.start, names, see.blank()) for part, shard in zip(rows, samples.shards(rows)))
    for part, seen in zip(rows, workers.pool.each(_observe, state, shards)):
        for t, found in zip(tensors, seen):
            for measured in found:
                see.take(t, measured)
        for _ in part:
            next(steps, None)
    next(steps, None)


class OpenGraph:
    """A graph in a worker, with what runs it for the tensors asked for last."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._runners: dict[tuple[str, ...], tuple[list[Tensor], Runner]] = {}

    def runner(self, names: tuple[str, ...]) -> tuple[list[Tensor], Runner]:
        """The tensors of these names, and what runs the graph for them."""
        if names not in self._runners:
            by_name = {t.name: t for t in self.graph.tensors()}
            tensors = [by_name[name] for name in names]
            self._runners = {names: (tensors, Runner(self.graph, tensors))}
        return self._runners[names]


def open_graph(data: memoryview) -> OpenGraph:
    return OpenGraph(unpack(data))


def _observe(opened: OpenGraph, shard: Shard, start: int, names: tuple[str, ...], see: Observer) -> list[list[Any]]:
    """Of each named tensor what the samples of a shard are found to be, folded."""
    tensors, run = opened.runner(names)
    seen = [list[Any]() for _ in tensors]
    for number, sample in enumerate(read_shard(shard), start):
        for before, measured in zip(seen, look(opened.graph, run, tensors, see, number, sample)[0]):
            see.fold(before, measured)
    return seen
