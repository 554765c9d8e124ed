"""A pool of workers in other processes: shards go out as tasks, results come back in the order of the shards.

What runs where, and whatever dies on the way, changes no result: a task is a pure function of a state (bytes, sent once
a worker) and its shard, and results are taken by the shard's place, never by who is first.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ...converter.errors import ClusterError, Error
from .tasks import Opener, State, Work

AHEAD = 2  # tasks in flight per slot: one runs, one waits
_TRIES = 4  # of a task whose process ended


class Backend(Protocol):
    """Where tasks run.

    slots: how many at once. lanes: how many parts that wait for each other work is best cut into. submit:
    `tasks.run_task` on a state and a shard; `lane` names a shard whose tasks had better run in one process. renew:
    looks for lanes' processes that have gone. keep: makes a state known to workers; returns what stands for its bytes
    in a State. explain: the line for a failure that is the backend's own, None for any other.
    """

    @property
    def slots(self) -> int: ...
    @property
    def lanes(self) -> int: ...
    def submit(self, work: Work, state: State, shard: tuple[Any, ...], *, lane: int | None = None) -> Future[Any]: ...
    def keep(self, key: str, opener: Opener, data: bytes) -> Any: ...
    def explain(self, error: BaseException) -> Error | None: ...
    def renew(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Workforce:
    """threads of this process; pool: workers in other processes, which then do what is said to be spread."""

    threads: int = 1
    pool: WorkerPool | None = None


class WorkerPool:
    """Runs tasks on a backend; a context that ends it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._states: dict[str, State] = {}

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._states.clear()
        self._backend.close()

    @property
    def slots(self) -> int:
        """Tasks that run at once."""
        with self._explained():
            return self._backend.slots

    @property
    def lanes(self) -> int:
        """Parts that work is best cut into whose tasks wait for each other."""
        with self._explained():
            return self._backend.lanes

    def state(self, opener: Opener, data: bytes) -> State:
        """The state that `opener`, a function of a module, makes of the bytes."""
        key = f"{opener.__module__}.{opener.__qualname__}:{hashlib.blake2b(data, digest_size=16).hexdigest()}"
        if key not in self._states:
            with self._explained():
                self._states[key] = State(key, opener, self._backend.keep(key, opener, data))
        return self._states[key]

    def renew(self) -> None:
        """Gives lanes whose process has gone another one."""
        with self._explained():
            self._backend.renew()

    def each(
        self,
        work: Work,
        state: State,
        shards: Iterable[tuple[Any, ...]],
        *,
        lanes: Sequence[int] | None = None,
        ahead: int = AHEAD,
    ) -> Iterator[Any]:
        """Yields work(state's object, *shard) of each shard, in order. Where a worker ends, its shards run elsewhere.

        Args:
            work: a function of a module. lanes: a number for each shard: those of one number had better run in
                one process. ahead: shards per slot that are ahead of the reader, at most: what waits for one that takes
                long, and how many results are held meanwhile.
        Raises:
            Error: what `work` raised. ClusterError: shards end one worker after the other.
        """
        source = enumerate(shards)
        flight: deque[tuple[int, tuple[Any, ...], Future[Any]]] = deque()

        def submit(number: int, shard: tuple[Any, ...]) -> Future[Any]:
            lane = None if lanes is None else lanes[number]
            with self._explained():
                return self._backend.submit(work, state, shard, lane=lane)

        try:
            while True:
                for number, shard in source:
                    flight.append((number, shard, submit(number, shard)))
                    if len(flight) >= ahead * self.slots:
                        break
                if not flight:
                    return
                number, shard, future = flight.popleft()
                done, result = self._outcome(future, lambda: submit(number, shard))  # noqa: B023
                if not done:
                    raise result
                yield result
        finally:
            for _, _, future in flight:
                future.cancel()

    def _outcome(self, future: Future[Any], again: Callable[[], Future[Any]]) -> tuple[bool, Any]:
        tries = 1
        while True:
            try:
                with self._explained():
                    return future.result()
            except BrokenExecutor as error:
                if tries == _TRIES:
                    raise ClusterError(
                        f"{_TRIES} worker processes ended on one task",
                        hint="fewer workers where memory is short",
                    ) from error
                tries, future = tries + 1, again()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raises a failure of the backend itself as the line for it."""
        try:
            yield
        except (Error, BrokenExecutor):
            raise
        except Exception as error:
            told = self._backend.explain(error)
            if told is None:
                raise
            raise told from error
