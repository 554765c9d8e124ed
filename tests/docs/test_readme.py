"""What README.md shows works: its Python runs, its commands succeed, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from bitlite.tools import benchmark, converter_lite

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = {"converter_lite": converter_lite.main, "benchmark": benchmark.main}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_runs_from_top_to_bottom(folder, capsys):
    names: dict = {}
    for block in blocks("python"):
        exec(block, names)
    assert "bit_num=17" in capsys.readouterr().out


def test_the_commands_succeed_in_order(folder, capsys):
    lines = [line for block in blocks("sh") for line in block.splitlines() if line]
    assert len(lines) >= 6
    for line in lines:
        command, *flags = shlex.split(line)
        assert COMMANDS[command](flags) == 0, line + capsys.readouterr().err


@pytest.mark.parametrize(
    "page", ["README.md", *(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md"))]
)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/calibration.md"])
def test_files_that_are_named_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|cc|h|def|cfg))`", text))
    known = {p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*") if not {".venv", "build", ".git"} & set(p.parts)}
    lost = [name for name in names if not any(f"/{path}".endswith(f"/{name}") for path in known)]
    assert not lost
