"""A Dask cluster: one that runs somewhere, or workers on this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from ...converter.errors import ClusterError, Error, UsageError
from .tasks import Opener, State, Work, describe_worker, open_state, run_opened, run_task

_COUNTED = 1.0  # seconds for which the number of workers holds
_REACHED = 2.0  # seconds in which a worker that can be reached without the scheduler answers
_OPENED = 10.0  # seconds that tasks wait for workers to open a state; a worker that has not then opens it with its task
_LOOKED = 0.5  # seconds after which a worker that has not answered is looked for
T = TypeVar("T")
_SPEC_BYTES = "distributed.admin.large-graph-warning-threshold"


@dataclass(frozen=True)
class DaskOptions:
    """What is handed to Dask. address: of a scheduler, or "local". workers: processes of a local cluster. tls: CA file,
    certificate and key. memory: a local worker's limit, in Dask's words. timeout: seconds until somebody answers."""

    address: str
    workers: int = 1
    tls: tuple[str, ...] = ()
    memory: str = ""
    timeout: float = 10


class _Kept:
    """The bytes of a state, which this process has to the end. opening: ends once the workers there have opened it.
    again: a Dask future of the same, for a worker that has not."""

    def __init__(self, data: bytes, opening: Future[None]) -> None:
        self.data, self._opening = data, opening
        self.again: Any = None

    async def opened(self) -> None:
        if not self._opening.done():
            await asyncio.wait([asyncio.wrap_future(self._opening)], timeout=_OPENED)


class DaskCluster:
    """Tasks of a `distributed.Client`.

    Dask gives a task to a worker that has what the task depends on, and others get theirs by and by, as a load is
    evened out. So tasks depend on nothing: all workers that are there open a state before its first task, and one that
    has not, as it came later, says so.

    A walk waits for all its lanes after each small step, and what Dask does to place, keep and fetch a task takes
    longer than most of these. So a lane's worker is called as `Client.run` does, where it has the state open, without
    the scheduler in between if it can be reached from here. Where it has not, or has gone, a task like any other does
    the same.

    Raises:
        UsageError: Dask is not installed, or an option is none of its.
        ClusterError: nobody answers at the address, or a worker is of another version or kind than this process.
    """

    def __init__(self, options: DaskOptions) -> None:
        self._options = options
        self._ends = ExitStack()
        self._cores: dict[str, int] = {}  # of machines
        try:
            self._client = _client(options, self._ends)
            self._check_workers()
        except BaseException:
            self._ends.close()
            raise
        self._lanes = self._places()
        self._slots, self._counted = self._threads(), time.monotonic()
        self._direct: dict[str, bool] = {}
        self._gone = set[str]()

    @property
    def slots(self) -> int:
        if time.monotonic() - self._counted > _COUNTED:
            self._slots, self._counted = self._threads(), time.monotonic()
        return self._slots

    @property
    def lanes(self) -> int:
        return max(1, len(self._lanes))

    def submit(self, work: Work, state: State, shard: tuple[Any, ...], *, lane: int | None = None) -> Future[Any]:
        if lane is None:
            return self._begin(self._run(work, state, shard))
        return self._begin(self._call(self._lanes[lane % len(self._lanes)], work, state, shard))

    def _begin(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(call, self._client.loop.asyncio_loop)

    async def _run(self, work: Work, state: State, shard: tuple[Any, ...]) -> tuple[bool, Any]:
        await state.kept.opened()
        answer = await self._task("", _run_or_tell, work, state.key, shard)
        return answer if isinstance(answer, tuple) else await self._open_and_run(answer, work, state, shard)

    async def _call(self, worker: str, work: Work, state: State, shard: tuple[Any, ...]) -> tuple[bool, Any]:
        await state.kept.opened()
        answer = await self._called(worker, work, state.key, shard)
        if isinstance(answer, tuple):
            return answer
        if isinstance(answer, BaseException) and not isinstance(answer, OSError):
            raise answer
        return await self._open_and_run(worker, work, state, shard)

    async def _open_and_run(self, worker: str, work: Work, state: State, shard: tuple[Any, ...]) -> tuple[bool, Any]:
        """On that worker, if it is there."""
        import dask.config

        data = state.kept.data
        if state.kept.again is None:
            with dask.config.set({_SPEC_BYTES: max(2 * len(data), 10_000_000)}):
                # Not scattered: the scheduler has the bytes, whatever worker ends.
                state.kept.again = self._client.submit(bytes, data, pure=False)
        return await self._task(worker, run_task, work, state.opener, state.key, state.kept.again, shard)

    async def _task(self, worker: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a task gives; on that worker, where one is named, if it is there."""
        where = {"workers": [worker], "allow_other_workers": True} if worker else {}
        return await self._client.submit(function, *arguments, pure=False, retries=2, **where)

    async def _called(self, worker: str, *call: Any) -> Any:
        """What `_run_opened` gives there, or the exception that it or the way there ended in.

        Who calls a worker that has ended is kept waiting for as long as Dask takes to connect, half a minute; the
        scheduler knows at once that it is no more.
        """
        if worker in self._gone:
            return OSError(f"{worker} has gone")
        answer = asyncio.ensure_future(self._answer(worker, *call))
        while not (await asyncio.wait([answer], timeout=_LOOKED))[0]:
            if worker not in await self._client.scheduler.ncores():
                answer.cancel()
                self._gone.add(worker)
                return OSError(f"{worker} has gone")
        return answer.result()

    async def _answer(self, worker: str, *call: Any) -> Any:
        if await self._reached(worker):
            from distributed.core import clean_exception
            from distributed.protocol.pickle import dumps

            try:
                answer = await self._client.rpc(worker).run(function=dumps(_run_opened), args=dumps(call), wait=True)
            except OSError:
                self._direct[worker] = False
            else:
                return answer["result"] if answer["status"] == "OK" else clean_exception(**answer)[1]
        return (await self._client.run(_run_opened, *call, workers=[worker], on_error="return"))[worker]

    async def _reached(self, worker: str) -> bool:
        """Whether the worker answers without the scheduler in between; looked at once."""
        if worker not in self._direct:
            self._direct[worker] = await self._reachable(worker)
        return self._direct[worker]

    async def _reachable(self, worker: str) -> bool:
        try:
            await asyncio.wait_for(self._client.rpc(worker).identity(), _REACHED)
        except (OSError, asyncio.TimeoutError):
            return False
        return True

    def keep(self, key: str, opener: Opener, data: bytes) -> _Kept:
        """What has the bytes here. Workers pass them on to each other, and open the state."""
        return _Kept(data, self._begin(self._open(list(self._client.nthreads()), key, opener, data)))

    async def _open(self, workers: list[str], key: str, opener: Opener, data: bytes) -> None:
        if not workers:
            return
        there = await self._client.scatter(
            data, broadcast=True, direct=await self._reached(workers[0]), hash=False, asynchronous=True
        )
        tasks = [self._task(worker, open_state, opener, key, there) for worker in workers]
        await asyncio.gather(*tasks, return_exceptions=True)

    def renew(self) -> None:
        places = self._places()
        for lane, worker in enumerate(self._lanes):
            if places and worker not in places:
                self._lanes[lane] = min(places, key=self._lanes.count)

    def close(self) -> None:
        self._ends.close()

    def explain(self, error: BaseException) -> Error | None:
        """What a failure of the cluster itself means; None for one of a task."""
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        address = self._options.address
        if isinstance(error, KilledWorker):
            return ClusterError(
                f"the cluster at {address}: one task ended {error.allowed_failures + 1} workers",
                hint="more memory for workers: the logs of the last one say why it ended",
            )
        if isinstance(error, (CancelledError, CommClosedError)) or self._client.status != "running":
            return ClusterError(f"the cluster at {address}: the scheduler has gone")
        return None

    def _threads(self) -> int:
        return max(1, sum(self._client.nthreads().values()))

    def _places(self) -> list[str]:
        """A worker for each thread that there is, as far as its machine has a core for it: first one of each worker."""
        threads, left = sorted(self._client.nthreads().items()), dict(self._cores)
        places = list[str]()
        for number in range(max((count for _, count in threads), default=0)):
            for worker, count in threads:
                machine = _machine(worker)
                if number < count and left.get(machine, 1):
                    places.append(worker)
                    left[machine] = left.get(machine, 2) - 1
        return places

    def _check_workers(self) -> None:
        address, seconds = self._options.address, self._options.timeout
        try:
            self._client.wait_for_workers(1, timeout=seconds)
        except TimeoutError:
            raise ClusterError(
                f"the cluster at {address}: no worker within {seconds:g} s", hint=f"dask worker {address}"
            ) from None
        mine = describe_worker()
        for worker, found in self._client.run(_look, on_error="return").items():
            if not isinstance(found, tuple):
                raise ClusterError(f"worker {worker}: {found}", hint="the same bitlite there: pip install bitlite")
            theirs, self._cores[_machine(worker)] = found
            for what, version in mine.items():
                if theirs.get(what) != version:
                    raise ClusterError(
                        f"worker {worker}: {what} {theirs.get(what)}, and {version} here: its results would differ",
                        hint="the same versions everywhere",
                    )


def _client(options: DaskOptions, ends: ExitStack) -> Any:
    try:
        from distributed import Client, LocalCluster
        from distributed.security import Security
    except ImportError:
        raise UsageError(f"{_cluster(options)}: Dask is not installed", hint="pip install 'bitlite[cluster]'") from None
    security = None
    if options.tls:
        authority, certificate, key = options.tls
        for path in options.tls:
            if not os.path.isfile(path):
                raise UsageError(f"{_cluster(options)}: {path}: no such file", hint="CA, certificate and key")
        security = Security(
            tls_ca_file=authority, tls_client_cert=certificate, tls_client_key=key, require_encryption=True
        )
    address: Any = options.address
    try:
        if address == "local":
            address = ends.enter_context(LocalCluster(**_local(options)))
        client = Client(address, security=security, timeout=options.timeout, set_as_default=False)
    except (OSError, TimeoutError) as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise ClusterError(
            f"{_cluster(options)}: no scheduler answers within {options.timeout:g} s: {reason}",
            hint="the address that `dask scheduler` prints",
        ) from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"{_cluster(options)}: {error}", hint="tcp://HOST:8786, tls://HOST:8786 or local") from None
    return ends.enter_context(client)


def _machine(worker: str) -> str:
    """Of a worker's address."""
    return worker.rpartition(":")[0]


def _look() -> tuple[dict[str, str], int]:
    """What a worker is, and the cores of its machine. It then has imported what tasks of a conversion are made of."""
    from ..calibrate import spread  # noqa: F401

    return describe_worker(), os.cpu_count() or 1


def _run_or_tell(work: Work, key: str, shard: tuple[Any, ...]) -> tuple[bool, Any] | str:
    """`run_opened`; the address of this worker where the state is not open."""
    from distributed import get_worker

    return run_opened(work, key, shard) or get_worker().address


async def _run_opened(work: Work, key: str, shard: tuple[Any, ...], dask_worker: Any) -> tuple[bool, Any] | None:
    """`run_opened` on a thread that the worker has for tasks."""
    threads = dask_worker.executors["default"]
    return await asyncio.get_running_loop().run_in_executor(threads, run_opened, work, key, shard)


def _local(options: DaskOptions) -> dict[str, Any]:
    """One thread a worker, reachable from this machine alone."""
    return {
        "n_workers": options.workers,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": options.memory or "auto",
        "silence_logs": logging.CRITICAL,
    }


def _cluster(options: DaskOptions) -> str:
    return f"cluster {options.address}"
