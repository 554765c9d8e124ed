"""Drops what reaches no output."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from .record import Change, Record


def remove_dead_code(graph: Graph) -> Iterator[Record]:
    """x → Op → (nobody) ⇒ nothing.

    The values that remain do not depend on it. Graph inputs stay, also when nothing reads them: they are the file's
    interface.
    """
    before = list(graph.nodes)
    graph.prune()
    kept = set(graph.nodes)
    for node in before:
        if node not in kept:
            yield Change("remove_dead_code", node.name, f"{node.op} reaches no output")
