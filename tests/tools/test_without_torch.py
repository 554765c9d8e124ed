"""Where torch is not installed, training says so in one line and nothing else asks for it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else real(name, *rest)
import bitlite
try:
    from bitlite import qat
except bitlite.Error as error:
    print(error)
assert not any(name.partition(".")[0] == "torch" for name in sys.modules)
"""


def test_one_line_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "bitlite.qat needs torch, which is not installed; try pip install 'bitlite[torch]'\n"
