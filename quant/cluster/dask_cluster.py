"""A Dask cluster: one that runs somewhere, or workers on this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import CancelledError, Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ...converter.errors import ClusterError, Error, UsageError
from .tasks import State, Work, describe_worker, run_opened, run_task

_COUNTED = 1.0  # seconds for which the number of workers holds
_REACHED = 2.0  # seconds in which a worker that can be reached without the scheduler answers
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


class DaskCluster:
    """Executors of a `distributed.Client`: one for any worker, one for each worker that prefers it.

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
        try:
            self._client = _client(options, self._ends)
            self._check_workers()
        except BaseException:
            self._ends.close()
            raise
        self._any = self._executor()
        self._lanes = self._places()
        self._slots, self._counted = max(1, len(self._lanes)), time.monotonic()
        self._by_worker: dict[str, Executor] = {}
        self._direct: dict[str, bool] = {}

    @property
    def slots(self) -> int:
        if time.monotonic() - self._counted > _COUNTED:
            self._slots, self._counted = max(1, len(self._places())), time.monotonic()
        return self._slots

    def submit(self, work: Work, state: State, shard: tuple[Any, ...], *, lane: int | None = None) -> Future[Any]:
        if lane is None:
            return self._any.submit(run_task, work, state.opener, state.key, state.kept, shard)
        call = self._call(self._lanes[lane % len(self._lanes)], work, state, shard)
        return asyncio.run_coroutine_threadsafe(call, self._client.loop.asyncio_loop)

    async def _call(self, worker: str, work: Work, state: State, shard: tuple[Any, ...]) -> tuple[bool, Any]:
        answer = await self._called(worker, work, state.key, shard)
        if isinstance(answer, tuple):
            return answer
        if isinstance(answer, BaseException) and not isinstance(answer, OSError):
            raise answer
        if worker not in self._by_worker:
            self._by_worker[worker] = self._executor(worker)
        task = run_task, work, state.opener, state.key, state.kept, shard
        return await asyncio.wrap_future(self._by_worker[worker].submit(*task))

    async def _called(self, worker: str, *call: Any) -> Any:
        """What `_run_opened` gives there, or the exception that it or the way there ended in."""
        if worker not in self._direct:
            self._direct[worker] = await self._reachable(worker)
        if self._direct[worker]:
            from distributed.core import clean_exception
            from distributed.protocol.pickle import dumps

            try:
                answer = await self._client.rpc(worker).run(function=dumps(_run_opened), args=dumps(call), wait=True)
            except OSError:
                self._direct[worker] = False
            else:
                return answer["result"] if answer["status"] == "OK" else clean_exception(**answer)[1]
        return (await self._client.run(_run_opened, *call, workers=[worker], on_error="return"))[worker]

    async def _reachable(self, worker: str) -> bool:
        try:
            await asyncio.wait_for(self._client.rpc(worker).identity(), _REACHED)
        except (OSError, asyncio.TimeoutError):
            return False
        return True

    def keep(self, data: bytes) -> Any:
        """A Dask future: the scheduler has the bytes, whatever worker ends, and workers pass them on."""
        import dask.config

        with dask.config.set({_SPEC_BYTES: max(2 * len(data), 10_000_000)}):
            return self._client.submit(bytes, data, pure=False)

    def renew(self) -> None:
        places = self._places()
        for lane, worker in enumerate(self._lanes):
            if places and worker not in places:
                self._lanes[lane] = min(places, key=self._lanes.count)

    def close(self) -> None:
        self._any.shutdown(wait=False)
        for executor in self._by_worker.values():
            executor.shutdown(wait=False)
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

    def _places(self) -> list[str]:
        """A worker for each thread that there is."""
        return [worker for worker, count in sorted(self._client.nthreads().items()) for _ in range(count)]

    def _executor(self, worker: str = "") -> Executor:
        where = {"workers": [worker], "allow_other_workers": True} if worker else {}
        return self._client.get_executor(pure=False, retries=2, **where)

    def _check_workers(self) -> None:
        address, seconds = self._options.address, self._options.timeout
        try:
            self._client.wait_for_workers(1, timeout=seconds)
        except TimeoutError:
            raise ClusterError(
                f"the cluster at {address}: no worker within {seconds:g} s", hint=f"dask worker {address}"
            ) from None
        mine = describe_worker()
        for worker, theirs in self._client.run(describe_worker, on_error="return").items():
            if not isinstance(theirs, dict):
                raise ClusterError(f"worker {worker}: {theirs}", hint="the same bitlite there: pip install bitlite")
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
