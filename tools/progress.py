"""Progress on the terminal: a bar with the time left on stderr, nothing at all when that is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

from ..converter.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
_live: list[Progress] = []


def track(items: Iterable[T], label: str, total: int | None = None, quiet: bool = False) -> Iterator[T]:
    """Yields the items and moves a bar for each.

    Args:
        items: what to iterate.
        label: what is being done, in front of the bar.
        total: number of items when `items` has no length; without it the bar only counts.
        quiet: never show anything.
    """
    if quiet or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if total is None and isinstance(items, Sized):
        total = len(items)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)
        _live.append(progress)
        try:
            for item in items:
                yield item
                progress.advance(task)
        finally:
            _live.remove(progress)


def say(line: str, *, quiet: bool = False) -> None:
    """Shows a line of progress that stays, above the bars; on a terminal only."""
    if quiet or not sys.stderr.isatty():
        return
    print(printable(line), file=sys.stderr)


def end_bars() -> None:
    """Takes every bar off the terminal: after an exception its generator lives on, and would draw it again."""
    for progress in _live:
        progress.stop()
