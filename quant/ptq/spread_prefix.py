"""The values of a walk's samples, shared out among the workers of a pool.

Each worker keeps the part of some samples from call to call. One that has none, as it took the place of a worker that
ended, says so, and is sent the samples and all commands so far: these are what a part is made of, so whoever makes it,
it is the same.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...converter.errors import ClusterError
from ...converter.ir import Graph, Node, Tensor
from ...converter.ir.pack import pack_all, unpack_all
from ..calibrate.data import Shard, read_shard
from ..calibrate.spread import Chosen
from ..cluster.pool import WorkerPool
from .prefix_part import Command, Fold, Operation, PrefixPart, folded

_LEAST = 4  # samples of a part
_TRIES = 8  # calls of which each finds a part's worker gone
_WALKS = 2  # of which a worker keeps parts

Graphs = dict[str, Graph]


class SpreadPrefix:
    """Parts in workers, as many as there are lanes."""

    def __init__(self, graphs: Mapping[str, Graph], samples: Chosen, pool: WorkerPool, budget: int) -> None:
        total = len(samples)
        size = max(_LEAST, -(-total // pool.lanes))
        self._pool, self._rows = pool, [range(at, min(at + size, total)) for at in range(0, total, size)]
        self._shards = list(samples.shards(self._rows))
        self._budget = max(1 << 20, budget // len(self._rows))
        self._state = pool.state(_open, pack_all(list(graphs.values())))
        self._walk = uuid.uuid4().hex
        self._log: list[Command] = []
        self._done = [0] * len(self._rows)
        self._sent: dict[Tensor, np.ndarray | None] = {t: t.data for t in graphs["codes"].constants()}

    def do(self, *command: Any) -> None:
        """For the next call that wants an answer to take along."""
        self._log.append(command)

    def changed(self, node: Node) -> None:
        """Tells of those constants of the node that are not what the workers have."""
        for t in node.inputs:
            if t is not None and t.data is not None and self._sent.get(t) is not t.data:
                self._sent[t] = t.data
                self.do("put", t.name, t.data, t.quant)

    def each(self, operation: Operation, arguments: tuple[Any, ...], count: int, fold: Fold | None) -> Iterator[Any]:
        waiting = [k for k, rows in enumerate(self._rows) if rows.start < count]
        found: dict[int, list[Any]] = {}
        for _ in range(_TRIES):
            tasks = [self._task(k, operation, arguments, count, fold) for k in waiting]
            for k, answer in zip(waiting, self._pool.each(_work, self._state, tasks, lanes=waiting)):
                if isinstance(answer, int):
                    self._done[k] = answer
                else:
                    found[k], self._done[k] = answer, len(self._log)
            waiting = [k for k in waiting if k not in found]
            if not waiting:
                return (value for k in sorted(found) for value in found[k])
            self._pool.renew()
        raise ClusterError(f"workers end faster than they run {len(self._rows[waiting[0]])} samples up to a layer")

    def _task(
        self, k: int, operation: Operation, arguments: tuple[Any, ...], count: int, fold: Fold | None
    ) -> tuple[Any, ...]:
        done, rows = self._done[k], self._rows[k]
        shard = self._shards[k] if not done else None
        part = f"{self._walk}/{k}"
        return (
            part,
            shard,
            self._budget,
            done,
            self._log[done:],
            operation,
            arguments,
            min(count - rows.start, len(rows)),
            fold,
        )


_parts: OrderedDict[str, OrderedDict[str, tuple[PrefixPart, int]]] = OrderedDict()
_lock = threading.Lock()


def _open(data: memoryview) -> list[Graph]:
    return unpack_all(data)


def _work(
    graphs: list[Graph],
    name: str,
    shard: Shard | None,
    budget: int,
    start: int,
    commands: list[Command],
    operation: Operation,
    arguments: tuple[Any, ...],
    count: int,
    fold: Fold | None,
) -> list[Any] | int:
    """What an operation finds on a part's first samples, after the commands from number `start` on; how many of them
    the part here has seen, where that is not enough to go on."""
    part, done = _taken(name)
    end = start + len(commands)
    if part is None and shard is not None:
        own = [graph.copy() for graph in graphs]
        part, done = PrefixPart(dict(zip(("codes", "real"), own[::-1])), read_shard(shard), 1, budget), 0
    if part is None or not start <= done <= end:
        return 0
    for command in commands[done - start :]:
        getattr(part, command[0])(*command[1:])
    found = part.each(operation(part, *arguments), count)
    found = list(found) if fold is None else folded(found, fold)
    _keep(name, part, end)
    return found


def _taken(name: str) -> tuple[PrefixPart | None, int]:
    """The part and the commands that it has seen: no other's until `_keep`, and gone after a failure."""
    walk = name.partition("/")[0]
    with _lock:
        return _parts.get(walk, OrderedDict()).pop(name, (None, 0))


def _keep(name: str, part: PrefixPart, done: int) -> None:
    walk = name.partition("/")[0]
    with _lock:
        _parts.setdefault(walk, OrderedDict())[name] = part, done
        _parts.move_to_end(walk)
        while len(_parts) > _WALKS:
            _parts.popitem(last=False)
