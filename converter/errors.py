"""The one family of errors: whatever a user can cause is a `bitlite.Error` with one clear line."""

from __future__ import annotations

import re
from collections.abc import Callable
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
        parts = self.hint if isinstance(self.hint, tuple) else (self.hint,)
        hint = "".join(part if isinstance(part, str) else spell(part) for part in parts)
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


class ModelError(Error):
    """The model file is not what it says: wrong type, truncated, inconsistent."""


class UnsupportedError(Error):
    """The model is well formed, but an operator, type or form in it is not read, run or written."""


class DataError(Error):
    """Calibration or input data do not fit the model: path, count, size, shape, dtype, NaN."""


class OutputError(Error):
    """The output cannot be written: permissions, missing folder, full disk."""


class GraphError(Error):
    """The IR is inconsistent: a bug in a reader or a pass, named."""
