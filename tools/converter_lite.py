"""The command `converter_lite`, with the flags of MindSpore Lite's own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .command import run_command
from .options.flags import asked


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or what the kind of error says (168 for wrong arguments, as scripts expect)."""
    return run_command(_work, argv)


def _work(argv: Sequence[str]) -> int:
    from .options.convert import USAGE, help_text

    wish = asked(argv)
    if wish == "version":
        from ..converter.version import __version__

        print(f"converter_lite (bitlite) {__version__}")
        return 0
    if wish:
        print(USAGE + "\n--help lists every flag." if wish == "usage" else help_text(everything=wish == "help=all"))
        return 0
    from .options.read import options_of_args

    options = options_of_args(argv)
    if options.check not in ("", "false"):
        from .check import check_model

        return check_model(options)
    if options.cascade:
        from .cascade import cascade
        from .tables import print_report

        shared = {name: getattr(options, name) for name in options.origins if name != "cascade"}
        for report in cascade(options.cascade, shared):
            if not options.quiet:
                print_report(report)
        print("CONVERTER RESULT SUCCESS:0")
        return 0
    from .convert import run

    if options.quant_type:
        from ..quant.parallel import share_heap

        share_heap()
    report = run(options)
    from .tables import print_report, print_warnings

    if not options.quiet:
        print_report(report)
    print_warnings(report)
    for line in report.runs:
        print(line)
    print("CONVERTER RESULT SUCCESS:0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
