"""What a conversion did, shown as a table or a page, saved as JSON or CSV."""

from __future__ import annotations

import json

from ..converter.formats.outputs import write_atomic
from ..converter.text import csv_text, printable
from .outcome import Outcome


class Report(Outcome):
    """The result of `bitlite.convert`; see `Outcome` for what it holds."""

    def text(self) -> str:
        """The whole report as plain text: files, weights, what the passes did and refused, notes."""
        from ..converter.passes import Change
        from .tables import data_table, table_lines, weight_table

        lines = [str(self), ""]
        if self.data:
            lines += table_lines(*data_table(self.data), (), 10**6)
        rows = list(self.rows())
        if rows:
            columns, cells = weight_table(rows, narrow=False)
            lines += table_lines("", columns, cells, ("bits", "before", "after"), 10**6)
        for r in self.passes:
            lines.append(f"{r.pass_name}: {r.node}: {r.what if isinstance(r, Change) else f'left alone: {r.reason}'}")
        lines += self.runs
        return "\n".join(lines) + "\n"

    def save(self, path: str) -> None:
        """Writes the report: .json, .csv or .html by its ending, text otherwise. Raises OutputError."""
        if path.endswith(".json"):
            text = json.dumps(self.as_dict(), indent=1)
        elif path.endswith(".csv"):
            text = csv_text(list(self.rows()))
        elif path.endswith((".html", ".htm")):
            from .report_html import page

            text = printable(page(self))
        else:
            text = printable(self.text())
        with write_atomic(path, sources=(self.source,)) as file:
            file.write(text.encode())
