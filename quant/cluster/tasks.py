"""What runs in a worker: a function on a state that was sent once, and the arguments of one shard."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...converter.errors import Error

_KEPT = 4  # states that a worker holds ready, those used last
_states: OrderedDict[str, Any] = OrderedDict()
_lock = threading.Lock()

Opener = Callable[[memoryview], Any]
Work = Callable[..., Any]


@dataclass(frozen=True)
class State:
    """Bytes that tasks share, as the backend keeps them; `opener` makes an object of them in each worker."""

    key: str
    opener: Opener
    kept: Any


def run_task(work: Work, opener: Opener, key: str, data: bytes | str, args: tuple[Any, ...]) -> tuple[bool, Any]:
    """(True, work(state, *args)), or (False, the Error that it raised), which no retry would mend.

    data: the bytes of the state, or the name of a file that holds them; `opener` makes the state of them, once.
    """
    return _done(work, _state(opener, key, data), args)


def open_state(opener: Opener, key: str, data: bytes | str) -> None:
    """Makes the state before a task asks for it."""
    _state(opener, key, data)


def run_opened(work: Work, key: str, args: tuple[Any, ...]) -> tuple[bool, Any] | None:
    """`run_task` on a state that is open in this process; None where it is not."""
    with _lock:
        if key not in _states:
            return None
        _states.move_to_end(key)
        state = _states[key]
    return _done(work, state, args)


def _done(work: Work, state: Any, args: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, work(state, *args)
    except Error as error:
        return False, error


def _state(opener: Opener, key: str, data: bytes | str) -> Any:
    with _lock:
        if key not in _states:
            _states[key] = opener(_mapped(data) if isinstance(data, str) else memoryview(data))
            while len(_states) > _KEPT:
                _states.popitem(last=False)
        _states.move_to_end(key)
        return _states[key]


def _mapped(path: str) -> memoryview:
    """The file's pages, which all processes of a machine share."""
    from ...converter.formats.files import map_file

    return memoryview(map_file(path))


def describe_worker() -> dict[str, str]:
    """What has to be the same in every process that takes part in one result."""
    import platform

    import numpy as np

    from ...converter.version import __version__
    from ..calibrate.observe import float_isa

    python = ".".join(platform.python_version_tuple()[:2])
    return {"bitlite": __version__, "python": python, "numpy": np.__version__, "float kernels": float_isa() or "other"}
