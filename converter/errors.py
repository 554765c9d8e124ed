"""The one family of errors: whatever a user can cause is a `bitlite.Error` with one clear line."""

from __future__ import annotations

import re

from .text import printable


class Error(Exception):
    """Base of every error that bitlite raises on purpose.

    Args:
        message: one line: which file or node, which value, what is allowed.
        hint: what to try (a flag, a value); appended to the line.
        file, node: put in front of the message when given and not there yet.
    """

    exit_code = 255

    def __init__(self, message: str, *, hint: str = "", file: str = "", node: str = "") -> None:
        self.hint, self.file, self.node = hint, file, node
        where = ": ".join(part for part in (file, node) if part and not _names(message, part))
        line = f"{where}: {message}" if where else message
        super().__init__(printable(f"{line}; try {hint}" if hint else line))


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
