"""How long work is told of while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Progress = Callable[[Iterable[Any], str], Iterable[Any]]
"""Wraps an iteration, with a label."""


def no_progress(items: Iterable[Any], label: str) -> Iterable[Any]:
    return items
