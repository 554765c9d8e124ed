"""One model under several settings: conversions on one thread each, by workers of a pool or one after the other."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..quant.cluster.pool import WorkerPool
from .convert import convert
from .convert_report import Report

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Converted:
    """What a conversion told, and the files it wrote: ending → contents."""

    report: Report
    files: dict[str, bytes]


def convert_each(
    model_file: str | os.PathLike[str], choices: Sequence[Settings], pool: WorkerPool | None = None
) -> Iterator[Converted]:
    """Yields what the model becomes under each of the settings, in their order, whoever works on them.

    Args:
        model_file: as a worker reads it, too; so are the paths among the settings.
        choices: keywords of `convert` each; what is no path travels with them. `threads` is 1 whatever they say.
    Raises:
        Error: as `convert`, of the first of the settings that it refuses.
    """
    tasks = ((dict(settings) | {"threads": 1, "quiet": True},) for settings in choices)
    model = os.path.abspath(model_file)
    if pool is None:
        yield from (_convert(model, *task) for task in tasks)
        return
    yield from pool.each(_convert, pool.state(_path, json.dumps(model).encode()), tasks, ahead=len(choices))


def _path(data: memoryview) -> str:
    return json.loads(bytes(data))


def _convert(model: str, settings: Settings) -> Converted:
    with tempfile.TemporaryDirectory(prefix="bitlite-") as folder:
        target = os.path.join(folder, "m")
        report = convert(model, target, **settings)
        files = {path.removeprefix(target): Path(path).read_bytes() for path in report.files}
    report.files = {ending: len(data) for ending, data in files.items()}
    return Converted(report, files)
