"""Runs passes in order: verifies the graph after each, keeps the record of what was done and what was refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import GraphError, OutputError, Setting, UsageError
from ..ir import Graph, dump
from ..schema.verify import verify
from .order import ALL
from .record import Change, Pass, Record, Refusal

# Each round enables the next (a cancelled transpose brings a Mul next to its Conv); real models settle in two or three.
_ROUNDS = 8


def run_passes(
    graph: Graph,
    passes: Sequence[Pass],
    skip: Sequence[str] = (),
    dump_dir: str | Path | None = None,
    verify: bool = True,
    rounds: int = _ROUNDS,
) -> list[Record]:
    """Rewrites `graph` in place by the passes in order, round after round until none changes anything.

    Args:
        skip: names of passes to leave out.
        dump_dir: a folder for NN_<pass>.txt, the graph's text after each pass that changed it (00_before.txt at first).
        verify: check the graph after each pass that changed it.
        rounds: the most; 1 where no pass enables one before it.

    Returns:
        Every change in order, then the refusals that still hold at the end.

    Raises:
        UsageError: `skip` names no pass. GraphError: a pass broke the graph; names pass and node.
    """
    check_skip(skip)
    active = [p for p in passes if p.__name__ not in set(skip)]
    writer = _Dump(dump_dir)
    writer.write(graph, "before")
    changes: list[Record] = []
    refusals: dict[str, list[Record]] = {}
    settled: dict[Pass, int] = {}
    edits = 0
    for _ in range(rounds):
        before = edits
        for function in active:
            if settled.get(function) == edits:
                continue
            records = _run(graph, function, verify)
            new = [r for r in records if isinstance(r, Change)]
            refusals[function.__name__] = [r for r in records if isinstance(r, Refusal)]
            if new:
                edits += 1
                changes += new
                writer.write(graph, function.__name__)
            settled[function] = -1 if new else edits
        if edits == before:
            break
    remaining = dict.fromkeys(r for group in refusals.values() for r in group)
    return [*changes, *remaining]


def check_skip(skip: Sequence[str]) -> None:
    """Raises UsageError when a name is no pass's, naming the nearest one."""
    import difflib

    known = [p.__name__ for p in ALL]
    for name in skip:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.0)
            raise UsageError(f"there is no pass {name!r}", hint=f"{near[0]!r} (passes: {', '.join(known)})")


def _run(graph: Graph, function: Pass, check: bool) -> list[Record]:
    """One pass over the graph and its checks."""
    name = function.__name__
    records: list[Record] = []
    try:
        records.extend(function(graph))
        if any(isinstance(r, Change) for r in records):
            graph.prune()
            if check:
                verify(graph)
    except GraphError as error:
        last = next((r.node for r in reversed(records)), "")
        raise GraphError(
            f"pass {name} broke the graph{f' after node {last!r}' if last else ''}: {error}",
            hint=Setting("skip_pass", name),
        ) from error
    return records


class _Dump:
    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.count = 0

    def write(self, graph: Graph, name: str) -> None:
        if self.folder is None:
            return
        path = self.folder / f"{self.count:02d}_{name}.txt"
        self.count += 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(dump(graph), encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written: {error.strerror}", hint=Setting("dump_ir", "<another folder>")
            ) from error
