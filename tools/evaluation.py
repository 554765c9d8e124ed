"""Outputs of models on a directory of samples, run here or by the workers of a pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..converter.errors import UsageError
from ..converter.ir.pack import pack_all, unpack_all
from ..native.session import Session
from ..quant.calibrate.data import Dataset, Shard, read_shard
from ..quant.calibrate.spread import shard_rows
from ..quant.cluster.pool import WorkerPool
from .bench_inputs import Feed, as_declared, feed_for, outputs_like, real_outputs

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
        for sample in read_shard(shard):
            feed = as_declared(sample, ports)
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


def _open(data: memoryview) -> Models:
    return Models(*map(Session, unpack_all(data)))


def _open_packed(data: memoryview) -> Models:
    return Models(*(Session(graph, keep_packed=True) for graph in unpack_all(data)))


def _outputs(models: Models, shard: Shard) -> list[Outputs]:
    return list(models.outputs_of(shard))
