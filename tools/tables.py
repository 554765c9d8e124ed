"""Results as tables on the terminal; plain text when it is not one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .convert_report import Report


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """Prints rows under their columns; those named in `right` are aligned right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = None if sys.stdout.isatty() else 160
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=width, soft_wrap=False).print(table)


def print_report(report: Report) -> None:
    """The layers of a conversion (bits, bytes before → after, why a weight stays float), then the files."""
    rows = [
        (
            r["layer"],
            r["op"],
            "×".join(map(str, r["shape"])),
            "float" if r["why"] else r["bits"],
            r["bytes_before"],
            r["bytes_after"],
            r["why"] or r["form"],
        )
        for r in report.rows()
    ]
    if rows:
        columns = ("layer", "operator", "weight", "bits", "bytes before", "after", "stored / why not")
        print_table("Weights", columns, rows, right=("bits", "bytes before", "after"))
    for note in report.notes:
        print(f"note: {note}")
    for path, size in report.files.items():
        share = size / report.source_bytes if report.source_bytes else 0
        print(f"{path}: {size} bytes, {share:.1%} of {report.source} ({report.source_bytes}); {report.seconds:.2f} s")
