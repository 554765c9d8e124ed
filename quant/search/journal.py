"""A search on disk: what was measured and tried, from which another run of the same search goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from ...converter.errors import DataError
from ...converter.formats.outputs import write_atomic
from ..weights.bit_budget import Width, Widths


class Journal:
    """A file beside the output, written after each step.

    key: what the search is of; a file of another is begun anew. Raises DataError where the file is no journal.
    """

    def __init__(self, path: str, key: str, *, resume: bool) -> None:
        self.path, self._content = path, {"key": key, "steps": {}}
        self.resumed = 0
        if resume and os.path.exists(path):
            content = _read(path)
            if content["key"] == key:
                self._content = content
                self.resumed = len(content["steps"])

    def known(self, step: str) -> Any:
        """What a step gave, as JSON has it; None where it was not taken."""
        return self._content["steps"].get(step)

    def keep(self, step: str, result: Any) -> None:
        self._content["steps"][step] = result
        with write_atomic(self.path) as file:
            file.write(json.dumps(self._content).encode())

    def widths(self, measure: Callable[[], Widths]) -> Widths:
        """What `measure` gives, or has given before."""
        known = self.known("widths")
        if known is None:
            measured = measure()
            self.keep("widths", {n: {str(b): [w.bytes, w.error] for b, w in ws.items()} for n, ws in measured.items()})
            return measured
        return {name: {int(b): Width(*cost) for b, cost in costs.items()} for name, costs in known.items()}

    def end(self) -> None:
        """The search has come to its end: the journal goes."""
        if os.path.exists(self.path):
            os.remove(self.path)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read())
        if isinstance(content["key"], str) and isinstance(content["steps"], dict):
            return content
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: is no journal of a search: {error}", hint="removing it") from error
    raise DataError(f"{path}: is no journal of a search", hint="removing it")
