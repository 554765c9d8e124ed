"""Work on many samples by several threads, with results in the order of the samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
_KEPT = 64 << 20  # bytes that the heap keeps of what was freed
_MAPPED = 32 << 20  # bytes of an array that gets pages of its own; glibc takes no more


def share_heap() -> None:
    """Has all threads of the process allocate from one heap, where there is glibc: by default each new thread gets one
    of its own, and what it frees the others cannot use. The heap keeps a part of what was freed: activations come and
    go by the megabyte, and fresh pages take as long as computing them. For commands, before they start threads."""
    import ctypes

    with suppress(OSError, TypeError, AttributeError):  # what another C library gives
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


class Workers:
    """Threads for calls that release the GIL; a context that ends them."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._over = False  # what is still being computed then is wanted by nobody
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self._over = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, one: Callable[[S], T], items: Iterable[S], batch: int = 1) -> Iterator[T]:
        """Yields one(item) of each item, in order, computed `batch` items at a time.

        Only a batch more than there are threads is ahead of the reader, so memory does not grow with the items. What
        `one` raises is raised in its place.
        """
        if self._pool is None:
            yield from map(one, items)
            return
        source = iter(items)
        ahead: deque[Future[list[T]]] = deque()
        while part := list(islice(source, batch)):
            ahead.append(self._pool.submit(lambda part=part: [one(item) for item in part if not self._over]))
            if len(ahead) > self.threads:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
