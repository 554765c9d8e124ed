"""What a pass is, and what it says of what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..ir import Graph


@dataclass(frozen=True, slots=True)
class Change:
    """What a pass did. `node` names the node that remains (or went), `what` says it in one clause.

    grows: the file becomes larger by it, which its user should be told. note: what else a user should know, a line.
    """

    pass_name: str
    node: str
    what: str
    grows: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a pass recognised and left alone, with the reason."""

    pass_name: str
    node: str
    reason: str


Record = Change | Refusal
Pass = Callable[[Graph], Iterator[Record]]
