"""`python -m bitlite convert …` and `python -m bitlite benchmark …`: the commands, where no script is on PATH."""

from __future__ import annotations

import sys
from collections.abc import Sequence

COMMANDS = {"convert": "converter_lite", "benchmark": "benchmark"}
USAGE = """\
python -m bitlite convert --modelFile=m.onnx --outputFile=m [flags]   as converter_lite
python -m bitlite benchmark --modelFile=m.ms [flags]                  as benchmark
python -m bitlite convert --help                                      lists the flags of a command"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status of the command; 0 for the usage, 168 for what is no command."""
    name, *rest = [*(sys.argv[1:] if argv is None else argv), ""]
    if name in COMMANDS:
        from .tools.start import start

        return start(COMMANDS[name], rest[:-1])
    if name in ("", "-h", "--help"):
        print(USAGE)
        return 0
    from .converter.text import printable

    print(f"ERROR: {printable(name)!r} is not a command; try convert or benchmark", file=sys.stderr)
    return 168


if __name__ == "__main__":
    sys.exit(main())
