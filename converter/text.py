"""Words and names as text: those of strangers' models only shown, those of users near the known ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Control characters act on a terminal; bidirectional ones and separators of lines show one name as another.
_ACTING = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text with what acts rather than shows written as an escape: "\\x1b". Newlines and tabs stay."""
    if text.replace("\n", "").replace("\t", "").isprintable():  # nearly always, and no pattern is to be compiled
        return text
    return re.sub(_ACTING, lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """`printable` with newlines and tabs as escapes, too: a cell of a table."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as CSV; text that a spreadsheet would compute as a formula gets an apostrophe before it."""
    import csv  # not on the way to a help page
    import io

    out = io.StringIO(newline="")
    if rows:
        writer = csv.writer(out)
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return printable("'" + value if value.startswith(_FORMULA) else value)


def html_table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table for a notebook; nothing of its text acts as markup."""
    from html import escape

    def line(tag: str, cells: Sequence[Any]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(one_line(str(cell)))}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><caption>{escape(one_line(caption))}</caption>{line('th', columns)}{body}</table>"


def unquote(text: str) -> str:
    """Drops one pair of single quotes around `text`."""
    text = text.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == "'" else text


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns the known word nearest to `word`, or "" when none is near; letter case counts little."""
    import difflib

    by_fold = {name.lower(): name for name in known if name}
    if word.lower() in by_fold:
        return by_fold[word.lower()]
    matches = difflib.get_close_matches(word.lower(), by_fold, 1, 0.6)
    return by_fold[matches[0]] if matches else ""
