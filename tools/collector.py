"""Python's search for cycles of unreachable objects, paused where it is in vain."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_search_for_cycles() -> Iterator[None]:
    """While a graph is read, rewritten or written its objects stay, and looking through all of them again and again
    takes a third of a large graph's conversion. What nothing refers to is freed all the same."""
    pauses = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if pauses:
            gc.enable()
