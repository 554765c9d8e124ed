"""Writes docs/options.md from the tables of flags and keys: `python -m bitlite.tools.option_docs docs/options.md`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_HEAD = """\
# Flags, keywords and config keys

Written by `python -m bitlite.tools.option_docs docs/options.md` from the tables in `tools/options/convert.py`,
`tools/options/config.py`, `tools/options/horizon.py`,
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


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page to the file named, or prints it."""
    names = sys.argv[1:] if argv is None else argv
    if names:
        with open(names[0], "w", encoding="utf-8") as stream:
            stream.write(page())
    else:
        print(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
