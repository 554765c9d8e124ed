"""The one family of errors: whatever a user can cause is a `bitlite.Error` with one clear line."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .text import printable


@dataclass(frozen=True)
class Setting:
    """An option that a hint speaks of, by its Python keyword.

    `str` gives it as Python has it, `name='value'`; a command spells it as its flag (`tools/options/flags.py`).

    value: what to give it; None where that is the user's to know.
    """

    name: str
    value: object = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r}"


Hint = str | Setting | tuple[str | Setting, ...]


def spelled(hint: Hint, spell: Callable[[Setting], str] = str) -> str:
    """The hint as text, its settings as `spell` writes them."""
    parts = hint if isinstance(hint, tuple) else (hint,)
    return "".join(part if isinstance(part, str) else spell(part) for part in parts)


TRACE = "BITLITE_TRACE"
"""Set to 1, this environment variable makes the commands show the traceback of an error."""


class Error(Exception):
    """Base of every error that bitlite raises on purpose.

    Args:
        message: one line: which file or node, which value, what is allowed.
        hint: what to try: words, a `Setting`, or a tuple of both, read as one; appended to the line.
        file, node: put in front of the message when given and not there yet.
    """

    exit_code = 255

    def __init__(self, message: str, *, hint: Hint = "", file: str = "", node: str = "") -> None:
        self.hint, self.file, self.node = hint, file, node
        where = ": ".join(part for part in (file, node) if part and not _names(message, part))
        self.message = printable(f"{where}: {message}" if where else message)
        super().__init__(self.line())

    def line(self, spell: Callable[[Setting], str] = str) -> str:
        """Returns message and hint, whose settings `spell` writes."""
        hint = spelled(self.hint, spell)
        return f"{self.message}; try {printable(hint)}" if hint else self.message

    def reworded(self, message: str) -> Error:
        """Returns an error of the same kind and hint with another message."""
        return type(self)(message, hint=self.hint)


def _names(message: str, part: str) -> bool:
    """Whether the words of the message hold `part`; "dir" is not in "a directory"."""
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", message) is not None


class UsageError(Error):
    """A flag, key or argument is wrong, missing or contradicts another."""

    exit_code = 168  # RET_INPUT_PARAM_INVALID (-600) as scripts written for MindSpore Lite see it


class StrictError(Error):
    """A warning, where none is to pass; nothing is written."""

    exit_code = 3


class ModelError(Error):
    """The model file is not what it says: wrong type, truncated, inconsistent."""


class UnsupportedError(Error):
    """The model is well formed, but an operator, type or form in it is not read, run or written."""


class DataError(Error):
    """Calibration or input data do not fit the model: path, count, size, shape, dtype, NaN."""


class OutputError(Error):
    """The output cannot be written: permissions, missing folder, full disk."""


class ClusterError(Error):
    """Workers on this or other machines cannot be reached, are of another kind, or end: address, what is wanted."""


class InternalError(RuntimeError):
    """A bug in bitlite, which no input may cause; what was raised is its cause."""

    @classmethod
    def of(cls, error: Exception, file: str = "") -> InternalError:
        """The line that asks for a report of an exception that nothing in bitlite raises on purpose."""
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        with_file = f"the file {file}" if file else "the file"
        return cls(
            f"internal error: {what}; this is a bug in bitlite, please report it with {with_file};"
            f" {TRACE}=1 shows where"
        )


@contextlib.contextmanager
def bugs_named(file: str) -> Iterator[None]:
    """Raises what escapes from bitlite's own code as an InternalError; what the caller's code raises passes through."""
    try:
        yield
    except (Error, InternalError, MemoryError):
        raise
    except Exception as error:
        if _is_foreign(error):
            raise
        raise InternalError.of(error, file) from error


def _is_foreign(error: Exception) -> bool:
    """Whether code of the caller raised it, called back from here: data, functions that give them."""
    from traceback import walk_tb  # not on the way to a help page

    packages = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    ours = len(packages) - 1 - packages[::-1].index(__name__.partition(".")[0])
    return any(name not in _LIBRARIES and name not in sys.stdlib_module_names for name in packages[ours + 1 :])


_LIBRARIES = {
    "numpy",
    "scipy",
    "onnx",
    "google",
    "flatbuffers",
    "tflite",
    "PIL",
    "rich",
    "dask",
    "distributed",
    "fsspec",
}


class GraphError(Error):
    """The IR is inconsistent: a bug in a reader or a pass, named."""
