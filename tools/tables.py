"""Results as tables on the terminal; plain text when it is not one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..converter.text import one_line, printable
from .outcome import WARNING

if TYPE_CHECKING:
    from ..quant.calibrate.data_lint import LintReport
    from .outcome import Outcome

_PIPED_WIDTH = 160
_NARROW = 110
_LEAST = 8


def width() -> int:
    """Columns to fill: $COLUMNS, else the terminal's, else enough for long lines in a file."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given):
        return max(40, int(given))
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return _PIPED_WIDTH


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Prints rows under their columns, one line each. Those named in `right` hold numbers and are never cut, nor are
    those in `whole`.

    What does not fit is cut: the first column in its middle, where long names differ least, others at their end.
    """
    print("\n".join(table_lines(title, columns, rows, right, width(), whole)))


def table_lines(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    right: Sequence[str],
    limit: int,
    whole: Sequence[str] = (),
) -> list[str]:
    """The lines of `print_table`, none longer than `limit` unless what is never cut is."""
    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[k]) for row in cells)]) for k, name in enumerate(columns)]
    soft = [k for k, name in enumerate(columns) if name not in (*right, *whole)]
    while sum(widths) + 2 * (len(widths) - 1) > limit:
        widest = max(soft, key=lambda k: widths[k], default=-1)
        if widest < 0 or widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    lines = [title] if title else []
    rule = ["-" * w for w in widths]
    for row in (list(columns), rule, *cells):
        shown = (cut(cell, w, middle=k == 0) for k, (cell, w) in enumerate(zip(row, widths)))
        aligned = (c.rjust(w) if name in right else c.ljust(w) for c, w, name in zip(shown, widths, columns))
        lines.append("  ".join(aligned).rstrip())
    return [*lines, ""]


def cut(text: str, size: int, *, middle: bool) -> str:
    """The text in at most `size` columns, what is left out shown as "…"."""
    if len(text) <= size:
        return text
    if not middle:
        return text[: size - 1] + "…"
    tail = (size - 1) // 2
    return text[: size - 1 - tail] + "…" + text[len(text) - tail :]


def print_report(report: Outcome) -> None:
    """The layers of a conversion (bits, bytes before → after, why a weight stays float), then the files."""
    rows, narrow = list(report.rows()), width() < _NARROW
    if report.data:
        print_table(*data_table(report.data))
    if rows:
        columns, cells = weight_table(rows, narrow=narrow)
        print_table("", columns, cells, right=("bits", "before", "after"))
        for reason in dict.fromkeys(r["why"] for r in rows if narrow and ":" in r["why"]):
            print(f"{reason}")
    if report.quality:
        columns, cells = quality_table(report.quality)
        print_table("", columns, cells, right=columns[1:])
    if report.search is not None and len(report.search.trials) > 1:
        columns, cells = report.search.table()
        print_table(f"asked for: {report.search.goal.text()}", columns, cells, right=("bytes", "time"))
    for note in report.notes:
        if not note.startswith(WARNING):
            print(f"note: {note}")
    for path, size in report.files.items():
        share = f", {size / report.source_bytes:.1%} of {report.source}" if report.source_bytes else ""
        print(f"{path}: {size:,} bytes{share} ({report.source_bytes:,}); {report.seconds:.2f} s")
    for line in report.cost():
        print(line)
    if report.diagnosis:
        print()
        print_table(*diagnosis_table(report.diagnosis), right=("gain",), whole=("tried",))


def print_warnings(report: Outcome) -> None:
    """What must be seen of a conversion; see `warn`."""
    warn(report.warnings)


def warn(texts: Iterable[str]) -> None:
    """What must be seen, on stderr; in bold on a terminal."""
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    for text in texts:
        print(f"{bold}WARNING: {printable(text)}{plain}", file=sys.stderr)


def data_table(data: LintReport) -> tuple[str, Sequence[str], list[tuple[str, ...]]]:
    """Title, columns and cells of what calibration was fed."""
    from ..quant.calibrate.data_lint import COLUMNS

    return f"calibration data: {data.samples} samples", COLUMNS, data.cells()


def diagnosis_table(rows: Sequence[dict[str, Any]]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, columns and cells of `Outcome.diagnosis`."""
    cells = []
    for r in rows:
        more = f" and {len(r['layers']) - 1} more" if len(r["layers"]) > 1 else ""
        cells.append((r["layer"].partition(";")[0] + more, r["cause"], f"{r['gain']:+.1f} dB", r["cure"]))
    title = f"causes of what is lost, and what their cures gain, tried one by one from {rows[0]['before']:.1f} dB:"
    return title, ("layer", "cause", "gain", "tried"), cells


def quality_table(rows: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and cells of `Outcome.quality`: range, and SQNR in dB of weights, activations, both, and so far."""
    cells = [
        (
            r["layer"].partition(";")[0],
            f"{r['low']:.4g}..{r['high']:.4g}" if r["low"] is not None else "",
            *(
                "" if r[key] is None else f"{r[key]:.1f}"
                for key in ("sqnr_weights", "sqnr_activations", "sqnr_both", "sqnr")
            ),
        )
        for r in rows
    ]
    return ("layer", "range", "weights dB", "activations dB", "both dB", "so far dB"), cells


def weight_table(rows: Sequence[dict[str, Any]], *, narrow: bool) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and cells of `Outcome.rows`, with a line of sums; narrow leaves out operator, shape and long reasons."""
    shown = []
    for r in rows:
        why = r["why"].partition(":")[0] if narrow else r["why"]
        kind = () if narrow else (r["op"], "×".join(map(str, r["shape"])))
        bits = r["bits"] if not why else "float16" if r["bits"] == 16 else "float"
        layer = r["layer"].partition(";")[0]  # TFLite joins the names of what it fused
        shown.append((layer, *kind, bits, f"{r['bytes_before']:,}", f"{r['bytes_after']:,}", why or r["form"]))
    before, after = (sum(r[key] for r in rows) for key in ("bytes_before", "bytes_after"))
    many = sum(not r["why"] for r in rows)
    blank = () if narrow else ("", "")
    shown.append((f"{many} of {len(rows)} quantized", *blank, "", f"{before:,}", f"{after:,}", ""))
    kind = () if narrow else ("operator", "weight")
    return ("layer", *kind, "bits", "before", "after", "stored, or why not"), shown
