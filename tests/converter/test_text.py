"""Names that act on a terminal, a page or a spreadsheet are only shown."""

from __future__ import annotations

import csv
import io

import pytest
from bitlite.converter.errors import ModelError
from bitlite.converter.text import csv_text, one_line, printable


@pytest.mark.parametrize(
    ("character", "shown"),
    [("\x1b", r"\x1b"), ("\a", r"\x07"), ("\x9b", r"\x9b"), ("\x7f", r"\x7f"), ("\r", r"\r"), ("\u202e", r"\u202e"),
     ("\u2067", r"\u2067"), ("\u2028", r"\u2028"), ("\ud800", r"\ud800")],
)  # fmt: skip
def test_what_acts_on_a_terminal_becomes_an_escape(character, shown):
    assert printable(f"a{character}b") == f"a{shown}b"
    assert str(ModelError("is odd", node=f"a{character}b")) == f"a{shown}b: is odd"


def test_text_of_any_script_stays():
    text = "conv/Größe 層 שלום\tx\n"
    assert printable(text) == text
    assert one_line(text) == "conv/Größe 層 שלום\\tx\\n"


def test_no_cell_of_a_table_is_a_formula():
    rows = [{"layer": name, "bits": -1} for name in ("=1+1", "+a", "-a", "@a", "\tx", "conv", "\x1b[31m", 'a,"b')]
    cells = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    assert [c[0] for c in cells[1:]] == ["'=1+1", "'+a", "'-a", "'@a", "'\tx", "conv", r"\x1b[31m", 'a,"b']
    assert {c[1] for c in cells[1:]} == {"-1"}
