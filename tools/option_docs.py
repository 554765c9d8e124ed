"""Writes docs/options.md, and the keywords of `bitlite.convert`, from the tables of flags and keys:

python -m bitlite.tools.option_docs docs/options.md tools/options/keywords.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

_HEAD = """\
# Flags, keywords and config keys

Written by `python -m bitlite.tools.option_docs docs/options.md tools/options/keywords.py` from the tables in
`tools/options/*_rows.py`, `tools/options/config.py`, `tools/options/horizon.py`,
`tools/options/sophgo.py` and `tools/options/benchmark.py`. Do not edit.

* A flag is written `--bitNum=4` or `--bitNum 4`; a switch may stand alone (`--fp16`) or be denied (`--no-gainGate`).
* The Python keyword is the flag in snake_case: `bitlite.convert("m.onnx", "m.ms", bit_num=4)`. The same checks apply.
* A config file sets what the flags leave open. Where both differ, the flag is taken, with a note; lists are joined.
* What is not known is an error that names the nearest known flag or key. Nothing is ignored.
"""
_CONFIG = """\
## The config file

Two forms are understood and told apart by themselves: the flat `key=value` file of MindSpore Lite r1.x, and the
`[section]` file of 2.x. Lines that start with `#` or `;` are comments.
"""
_YAML = """\
## Horizon's yaml

A file that ends in .yaml or .yml is read as Horizon's; [from_horizon.md](from_horizon.md) says how.
"""

_KEYWORDS = """\
\"\"\"The keywords of `bitlite.convert`, for editors and type checkers.

Written by `python -m bitlite.tools.option_docs tools/options/keywords.py` from the tables in `*_rows.py`. Do not edit.
\"\"\"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class ConvertKeywords(TypedDict, total=False):
    \"\"\"What each does, its range and default: docs/options.md.\"\"\"

"""

_GIVEN_AS = {"dict[": "Mapping[", "Selector": "str", "MaxDrop | None": "float | str", "MaxTime | None": "float | str"}


def page() -> str:
    """Returns the whole page."""
    from .options import benchmark as bench_options
    from .options import config, horizon, sophgo
    from .options.convert import REFUSED, ConvertOptions
    from .options.flags import markdown

    return "\n".join(
        [
            _HEAD,
            "## converter_lite\n",
            markdown(ConvertOptions, config.keys_of(), REFUSED),
            _CONFIG,
            config.markdown(),
            _YAML,
            horizon.markdown(),
            "## calibration_use_pb\n",
            markdown(sophgo.SophgoOptions),
            "## benchmark\n",
            markdown(bench_options.BenchOptions, refused=bench_options.REFUSED),
        ]
    )


def keywords() -> str:
    """Returns the module that gives editors and type checkers the keywords of `bitlite.convert`."""
    from dataclasses import fields

    from .options.convert import ConvertOptions
    from .options.types import Choice

    lines = []
    for f in fields(ConvertOptions):
        row = f.metadata.get("row")
        if row is None or f.name in ("model_file", "output_file"):
            continue
        kind = re.sub(r"tuple\[(\w+), \.\.\.\]", r"Sequence[\1]", str(f.type))
        for held, given in _GIVEN_AS.items():
            kind = kind.replace(held, given)
        if isinstance(row.type, Choice):
            kind = f"Literal[{', '.join(f'{word!r}' for word in row.type.words)}] | {kind}"
            kind += " | bool" if "true" in row.type.words else ""
        if kind.startswith(("Sequence", "Mapping", "tuple")):
            kind += " | str"
        lines.append(f"    {f.name}: {kind}".replace("'", '"'))
    return _KEYWORDS + "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page, or the module where a name ends in .py, to the files named; prints the page without."""
    names = sys.argv[1:] if argv is None else argv
    for name in names:
        with open(name, "w", encoding="utf-8") as stream:
            stream.write(keywords() if name.endswith(".py") else page())
    if not names:
        print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
