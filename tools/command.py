"""What every command does around its work: help before anything heavy, one line per error, expected exit codes."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO, cast

from ..converter.errors import TRACE, Error, InternalError
from ..converter.text import printable
from .interrupts import became
from .progress import end_bars


def run_command(work: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """Runs `work(arguments)` and returns the exit status. Errors become one line on stderr."""
    gc.set_threshold(100_000, 20, 20)  # a graph is many objects and few cycles: rare walks over all of them suffice
    if argv is None:
        atexit.register(gc.freeze)  # a process that ends need not look for cycles in all that it has left
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names of any script must not end a run on an ASCII terminal
    try:
        with contextlib.redirect_stdout(cast(TextIO, _Shown(sys.stdout))):
            return work(sys.argv[1:] if argv is None else argv)
    except Error as error:
        from .options.convert import flag_of

        return _failed(error.line(flag_of), error.exit_code)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); its end must not raise again while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        return _failed("out of memory", 255)
    except InternalError as error:
        return _failed(str(error), 255)
    except Exception as error:
        if became(error):
            return _failed("interrupted", 130)
        return _failed(str(InternalError.of(error)), 255)


def _failed(line: str, code: int) -> int:
    end_bars()
    if os.environ.get(TRACE) == "1":
        import traceback

        traceback.print_exc()
    print("ERROR: " + printable(" ".join(line.split("\n"))), file=sys.stderr)
    return code


class _Shown:
    """A stream that shows what names of a model hold, and does nothing of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
