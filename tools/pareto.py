"""The folder of a front: a file for each form on it, a table of all forms that were tried, a picture."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..converter.formats.outputs import make_folder, write_atomic
from ..converter.ir import Graph
from ..converter.text import csv_text
from ..quant.search.front import front_of
from ..quant.search.trials import Form, Trial
from .report.front import svg

MARK = "Written by bitlite"
TABLE, PICTURE = "pareto.csv", "pareto.svg"
_README = f"""{MARK}: forms of a model that no other beats in size, time or loss and equals in the rest.

* `{TABLE}`: every form that was tried; those on the front have a number and a file.
* `{PICTURE}`: the same as a picture.
"""


class WriteForm(Protocol):
    """Writes a graph as a file, which is kept at `path` where there is one; returns its bytes."""

    def __call__(self, graph: Graph, path: str = "") -> int: ...


class ParetoFolder:
    """A folder of our own, which fills as forms are made.

    name: of the model's files, with the ending. resume: what is there stays. Raises OutputError.
    """

    def __init__(self, folder: str, name: str, write: WriteForm, *, resume: bool) -> None:
        make_folder(folder)
        self.folder, self.write = folder, write
        self.stem, self.ending = os.path.splitext(name)
        with write_atomic(os.path.join(folder, "README.md")) as file:
            file.write(_README.encode())
        if not resume:
            self._clear(set())

    def keep(self, trial: Trial, graph: Graph) -> None:
        """Writes the form's file."""
        with tempfile.TemporaryDirectory(prefix="bitlite-") as folder:
            path = os.path.join(folder, "m" + self.ending)
            self.write(graph, path)
            with write_atomic(self.path_of(trial)) as file:
                file.write(Path(path).read_bytes())

    def finish(self, trials: list[Trial], title: str, make: Callable[[Form], Graph], *, whole: bool) -> list[Trial]:
        """Writes table and picture, and what of the front has no file; of other forms files go. Returns the front.

        whole: the search is at its end. Where it is not, all files stay for the run that goes on from it.
        """
        front = front_of(trials)
        for trial in front:
            if not os.path.exists(self.path_of(trial)):
                self.keep(trial, make(trial.form))
        if whole:
            self._clear({self.path_of(trial) for trial in front})
        rows = [self._row(trial, front) for trial in sorted(trials, key=lambda t: (t.bytes, t.loss.cost))]
        for name, text in ((TABLE, csv_text(rows)), (PICTURE, svg(trials, front, title=title))):
            with write_atomic(os.path.join(self.folder, name)) as file:
                file.write(text.encode())
        return front

    def path_of(self, trial: Trial) -> str:
        form = hashlib.blake2b(trial.form.key.encode(), digest_size=3).hexdigest()
        return os.path.join(self.folder, f"{self.stem}-{trial.bytes}-{form}{self.ending}")

    def _row(self, trial: Trial, front: list[Trial]) -> dict[str, object]:
        on_front = trial in front
        return {
            "front": front.index(trial) + 1 if on_front else "",
            "file": os.path.basename(self.path_of(trial)) if on_front else "",
            "bytes": trial.bytes,
            "milliseconds": "" if trial.seconds is None else round(1e3 * trial.seconds, 4),
            "share_of_time": "" if trial.share is None else round(trial.share, 4),
            "loss": trial.loss.value,
            "unit": trial.loss.unit,
            "sqnr": trial.loss.sqnr,
            "form": trial.form.text(),
        }

    def _clear(self, kept: set[str]) -> None:
        ours = re.compile(re.escape(self.stem) + r"-\d+-[0-9a-f]{6}" + re.escape(self.ending))
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            if ours.fullmatch(name) and path not in kept:
                os.remove(path)
