"""The tutorials and the pages for when something is wrong run: their commands and their Python, from top to bottom, and
say what the pages show."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from bitlite.tools import benchmark, converter_lite

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted((DOCS / "tutorials").glob("*.md")), DOCS / "why_slow.md", DOCS / "why_wrong.md"]
COMMANDS = {"converter_lite": converter_lite.main, "benchmark": benchmark.main}
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def blocks(page):
    """Language, title and text of each fenced block."""
    return re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', page.read_text(encoding="utf-8"), re.M | re.S)


def run_line(line):
    name, *words = shlex.split(line)
    if name != "python":
        assert COMMANDS[name](words) == 0, line
        return
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


def like(shown, said):
    """Whether a line of a page is this line of output: the same words, numbers to a twentieth or their last digit."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", said).split():
        return False
    for a, b in zip(NUMBER.findall(shown), NUMBER.findall(said)):
        last = 10.0 ** -len(a.partition(".")[2])
        x, y = (float(text.replace(",", "")) for text in (a, b))
        if abs(x - y) > max(0.05 * abs(x), 1.01 * last if "." in a else 0):
            return False
    return True


def unsaid(shown, said):
    """The lines of a page's block that do not occur in the output, in that order; "…" stands for any lines."""
    rest, lost = iter(said.splitlines()), []
    for line in shown.splitlines():
        if line.strip() != "…" and not any(like(line, other) for other in rest):
            lost.append(line)
            rest = iter(())
    return lost


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("demo", "docs", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("COLUMNS", "160")  # as wide as the tables that the pages show
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_shows(page, folder, capsys):
    names: dict = {"__name__": page.stem}
    said = ""
    for language, title, text in blocks(page):
        if language == "text":
            assert not unsaid(text, said), said
        elif title:
            (folder / title).write_text(text, encoding="utf-8")
        else:
            if language == "sh":
                for line in text.splitlines():
                    run_line(line)
            else:
                assert language == "python", language
                exec(compile(text, page.name, "exec"), names)
            said = "".join(capsys.readouterr())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_results_of_commands_and_of_python(page):
    languages = [language for language, _, _ in blocks(page)]
    assert "sh" in languages and "text" in languages
    assert page.parent == DOCS or (languages.count("text") >= 3 and "python" in languages)


@pytest.mark.parametrize(
    ("shown", "lost"),
    [
        ("a 10.0 dB\n…\nb 3 of 4", []),
        ("a 10.1 dB", []),
        ("a 12.0 dB", ["a 12.0 dB"]),
        ("b 2 of 4", ["b 2 of 4"]),
        ("b 3 of 4\na 10.0 dB", ["a 10.0 dB"]),
        ("c", ["c"]),
    ],
)
def test_what_a_page_shows_must_be_said(shown, lost):
    assert unsaid(shown, "a  10.0 dB\nother\nb 3 of 4\n") == lost
