"""The rewrites of the IR, one a file, and the order they run in.

A pass is `def name(graph) -> Iterator[Change | Refusal]`; the first line of its docstring is the pattern. The order
lives here alone.
"""

from .fold_constants import fold_constants
from .remove_dead_code import remove_dead_code
from .remove_identities import remove_identities
from .runner import Change, Pass, Record, Refusal, run_passes

NONE: tuple[Pass, ...] = (remove_dead_code,)
"""Nothing but what every writer needs."""

GENERAL: tuple[Pass, ...] = (
    remove_dead_code,
    fold_constants,
    remove_identities,
)
"""What makes every model smaller and faster, whatever it is written to."""

ALL: tuple[Pass, ...] = GENERAL

__all__ = ["ALL", "GENERAL", "NONE", "Change", "Pass", "Record", "Refusal", "run_passes"]
