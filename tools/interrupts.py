"""Ctrl-C of a command: what it is answered with, and what has become of it."""

from __future__ import annotations

import os
import signal
from types import FrameType

_seen = False


def end_at_once(signum: int, frame: FrameType | None) -> None:
    """Ends the process in a line, with the status that it has later, too. For when nothing is begun yet that would have
    to be taken back."""
    os.write(2, b"ERROR: interrupted\n")
    os._exit(130)


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, and `became` knows of it."""
    global _seen
    _seen = True
    signal.default_int_handler(signum, frame)


def became(error: Exception) -> bool:
    """Whether an error is what Python or an extension module has made of Ctrl-C: while a class was made, or where C
    code imports."""
    return _seen and isinstance(error, (ImportError, RuntimeError, SystemError))
