"""Commands as processes: Ctrl-C while they are still being imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "demo" / "digits.onnx"
INTERRUPTED = """if True:
    import os, signal, sys

    class Interrupts:
        def find_spec(self, name, path=None, target=None):
            if name == {module!r}:
                os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, {answer})
    sys.meta_path.insert(0, Interrupts())
    from bitlite.tools.start import {command}
    sys.exit({command}())
"""


def interrupted(module, *argv, command="converter_lite", answer="signal.default_int_handler"):
    code = INTERRUPTED.format(module=module, command=command, answer=answer)
    return subprocess.run([sys.executable, "-c", code, *map(str, argv)], capture_output=True, text=True)


@pytest.mark.parametrize(
    "module", ["bitlite.tools.converter_lite", "bitlite.converter.errors", "bitlite.tools.convert", "numpy"]
)
def test_an_interrupted_import_ends_in_one_line_and_leaves_nothing(tmp_path, module):
    done = interrupted(module, f"--modelFile={DEMO}", f"--outputFile={tmp_path / 'm'}")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ERROR: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["benchmark", "calibration_use_pb"])
def test_so_does_that_of_the_other_commands(command):
    done = interrupted("bitlite.tools.command", command=command)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ERROR: interrupted\n")


def test_what_ignores_interrupts_goes_on(tmp_path):
    argv = f"--modelFile={DEMO}", f"--outputFile={tmp_path / 'm'}"
    done = interrupted("bitlite.tools.converter_lite", *argv, answer="signal.SIG_IGN")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.ms").exists()


def test_an_interrupt_that_c_code_turned_into_another_error_is_one(tmp_path):
    """As numpy does, which imports datetime from C."""
    raising = "try: os.kill(os.getpid(), signal.SIGINT)\n                except BaseException: raise ImportError"
    code = INTERRUPTED.replace("os.kill(os.getpid(), signal.SIGINT)", raising)
    code = code.format(module="numpy", command="converter_lite", answer="signal.default_int_handler")
    argv = f"--modelFile={DEMO}", f"--outputFile={tmp_path / 'm'}"
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ERROR: interrupted\n")
