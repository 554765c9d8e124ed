"""Worker processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from ...converter.errors import Error
from .tasks import Opener, State, Work, run_task

_STARTING = threading.Lock()


class Processes:
    """Executors of one process each, started anew when theirs ends: a process that is killed costs its tasks only.

    A task without a lane waits until a process is free, for nobody knows beforehand which tasks take long.
    """

    def __init__(self, count: int) -> None:
        self._executors = [_executor() for _ in range(count)]
        self._waiting = ThreadPoolExecutor(count, "bitlite-task")
        self._free = SimpleQueue[int]()
        for place in range(count):
            self._free.put(place)
        self._folder = tempfile.TemporaryDirectory(prefix="bitlite-")
        self._kept = 0

    @property
    def slots(self) -> int:
        return len(self._executors)

    lanes = slots

    def submit(self, work: Work, state: State, shard: tuple[Any, ...], *, lane: int | None = None) -> Future[Any]:
        """To the process of the lane, or else the next one that is free."""
        task = run_task, work, state.opener, state.key, state.kept, shard
        return self._waiting.submit(self._take, task) if lane is None else self._begin(lane % self.slots, task)

    def _take(self, task: tuple[Any, ...]) -> Any:
        place = self._free.get()
        try:
            return self._begin(place, task).result()
        finally:
            self._free.put(place)

    def _begin(self, place: int, task: tuple[Any, ...]) -> Future[Any]:
        with _main_left_alone():
            try:
                return self._executors[place].submit(*task)
            except BrokenExecutor:
                self._executors[place] = _executor()
                return self._executors[place].submit(*task)

    def keep(self, key: str, opener: Opener, data: bytes) -> bytes | str:
        """A file that processes map: its pages are in memory once for all of them."""
        if not data:
            return data
        self._kept += 1
        path = os.path.join(self._folder.name, str(self._kept))
        with open(path, "wb") as file:
            file.write(data)
        return path

    def explain(self, error: BaseException) -> Error | None:
        return None

    def renew(self) -> None:
        """Nothing: `submit` does."""

    def close(self) -> None:
        self._waiting.shutdown(wait=False, cancel_futures=True)
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)
        for executor in (*self._executors, self._waiting):
            executor.shutdown(wait=True)
        self._folder.cleanup()


def _executor() -> ProcessPoolExecutor:
    # Not forked: threads of this process may hold locks.
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin)


@contextmanager
def _main_left_alone() -> Iterator[None]:
    """Starts processes that do not run the user's script again: no task is defined there, and a script without a guard
    would convert once more in each."""
    with _STARTING:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = script


def _begin() -> None:
    """Leaves interrupts to the process that started this one, and ends with it, however that ends."""
    from ..parallel import share_heap

    share_heap()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
