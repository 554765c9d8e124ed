"""Writes docs/passes.md from the passes' docstrings: `python -m bitlite.tools.pass_docs docs/passes.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence

from ..converter.passes import ALL, GENERAL

_HEAD = """\
# Graph passes

Written by `python -m bitlite.tools.pass_docs docs/passes.md` from the passes' docstrings. Do not edit.

`--optimize=general` (the default) runs the first group in this order, again and again until none of them changes
anything; `--optimize=none` runs `remove_dead_code` alone. The second group prepares the graph for the container that is
written. `--skipPass=name` leaves a pass out, `--dumpIR=DIR` writes the graph before the first and after each one that
changed it, and the report says what each pass did, what it recognised and refused, and why.
"""


def page() -> str:
    """Returns the whole page."""
    general = [_entry(p) for p in GENERAL]
    others = [_entry(p) for p in ALL if p not in GENERAL]
    return "\n".join([_HEAD, "## General\n", *general, "## For a container\n", *others])


def _entry(function: object) -> str:
    first, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\n")
    name = getattr(function, "__name__", "")
    return f"### {name}\n\n**{first.rstrip('.')}**\n\n{rest.strip()}\n"


def main(args: Sequence[str]) -> int:
    """Writes the page to a file, or prints it when none is named."""
    if args:
        with open(args[0], "w", encoding="utf-8") as file:
            file.write(page())
    else:
        print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
