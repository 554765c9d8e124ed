"""`python -m bitlite`: the commands under one name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from bitlite.__main__ import main


def test_the_module_runs_the_commands(tmp_path, capsys):
    assert main(["convert", "--version"]) == 0
    assert capsys.readouterr().out.startswith("converter_lite (bitlite)")
    assert main(["benchmark", "--modelFile=none"]) != 0
    assert "none: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_without_a_command_it_says_what_there_is(argv, capsys):
    assert main(argv) == 0
    assert "python -m bitlite convert" in capsys.readouterr().out


def test_what_is_no_command_is_one_line():
    done = subprocess.run([sys.executable, "-m", "bitlite", "\x1bconvertt"], capture_output=True, text=True)
    assert done.returncode == 168
    assert done.stderr == "ERROR: '\\\\x1bconvertt' is not a command; try convert or benchmark\n"
