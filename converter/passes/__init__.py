"""The rewrites of the IR, one a file; `order.py` alone says in which order they run.

A pass is `def name(graph) -> Iterator[Change | Refusal]`; the first line of its docstring is the pattern.
"""

from .order import ALL, GENERAL, NONE, for_target
from .record import Change, Pass, Record, Refusal
from .runner import check_skip, run_passes

__all__ = [
    "ALL",
    "GENERAL",
    "NONE",
    "Change",
    "Pass",
    "Record",
    "Refusal",
    "check_skip",
    "for_target",
    "run_passes",
]
