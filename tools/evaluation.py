"""Outputs of models on a directory of samples, run here or by the workers of a pool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..converter.errors import DataError, UsageError
from ..converter.ir.pack import pack_all, unpack_all
from ..native.session import Session
from ..quant.calibrate.data import Dataset, Shard, read_shard
from ..quant.calibrate.spread import shard_rows
from ..quant.cluster.pool import WorkerPool
from .bench_inputs import Feed, feed_for, outputs_like, real_outputs

Outputs = tuple[Feed, Feed]
"""Of one sample, as reals: those of the model, and those of the model to compare it with, {} without one."""


@dataclass(frozen=True)
class Models:
    """The model, and the one to compare it with."""

    model: Session
    other: Session | None = None

    def outputs_of(self, shard: Shard) -> Iterator[Outputs]:
        """Yields what the samples of a shard give, in order."""
        ports = self.model.inputs
        for feed in read_shard(shard):
            mine, theirs = real_outputs(self.model.run(feed), self.model.outputs), Feed()
            if self.other is not None:
                results = self.other.run(feed_for(feed, ports, self.other.inputs))
                theirs = outputs_like(results, self.other.outputs, self.model.outputs)
            yield mine, theirs


def run_samples(models: Models, samples: Dataset, pool: WorkerPool | None) -> Iterator[Outputs]:
    """Yields the outputs of each sample, in order; by a pool, each sample on one thread of a worker.

    Raises:
        DataError: a sample cannot be read or does not fit: its file. UsageError: a pool, and the model keeps states.
    """
    shards = samples.shards(shard_rows(len(samples)))
    if pool is None:
        for shard in shards:
            yield from models.outputs_of(shard)
        return
    graphs = [s.graph for s in (models.model, models.other) if s is not None]
    if any(graph.states for graph in graphs):
        raise UsageError(
            "a model that keeps states from run to run takes its samples one after the other, in one process"
        )
    state = pool.state(_open_packed if models.model.keep_packed else _open, pack_all(graphs))
    for outputs in pool.each(_outputs, state, ((shard,) for shard in shards)):
        yield from outputs


class Stack:
    """Arrays of samples one after the other along their first axis, in one array: as many small ones would take several
    times their bytes. samples: how many there will be."""

    def __init__(self, samples: int) -> None:
        self._samples, self._used, self._rows = samples, 0, np.empty(0)

    def add(self, name: str, a: np.ndarray) -> None:
        """Raises DataError where only the first sizes of samples are the same: name, of the output."""
        a = np.atleast_1d(a)
        end = self._used + len(a)
        if not self._used:
            self._rows = np.empty((len(a) * self._samples, *a.shape[1:]), a.dtype)
        elif a.shape[1:] != self._rows.shape[1:]:
            raise DataError(
                f"output {name!r}: sizes {list(a.shape)} after {list(self._rows.shape[1:])} of samples before",
                hint="samples of one size",
            )
        if end > len(self._rows):
            more = np.empty((2 * end - len(self._rows), *a.shape[1:]), a.dtype)
            self._rows = np.concatenate([self._rows, more])
        self._rows[self._used : end] = a
        self._used = end

    @property
    def rows(self) -> np.ndarray:
        return self._rows[: self._used]


def stacked(outputs: Iterable[Outputs], samples: int) -> Outputs:
    """The outputs of all samples: [samples, ...] each where a sample's are [1, ...]."""
    sides: tuple[dict[str, Stack], dict[str, Stack]] = {}, {}
    for both in outputs:
        for side, found in zip(sides, both):
            for name, a in found.items():
                side.setdefault(name, Stack(samples)).add(name, a)
    mine, theirs = ({name: stack.rows for name, stack in side.items()} for side in sides)
    return mine, theirs


def _open(data: memoryview) -> Models:
    return Models(*map(Session, unpack_all(data)))


def _open_packed(data: memoryview) -> Models:
    return Models(*(Session(graph, keep_packed=True) for graph in unpack_all(data)))


def _outputs(models: Models, shard: Shard) -> list[Outputs]:
    return list(models.outputs_of(shard))
