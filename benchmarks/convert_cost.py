"""Seconds, processor time and peak memory of conversions as whole processes, bitlite and the real converter in turns.

    python benchmarks/convert_cost.py MODEL RUNNER [--runs 3] [--config real.cfg] [-- converter_lite flags …]

RUNNER is a command that runs `RUNNER convert SOURCE TARGET CONFIG` in the real MindSpore Lite converter. The default is
WeightQuant with 8 bits on both sides; other flags want a config of the same meaning for the real one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

_FLAGS = ("--quantType=WeightQuant", "--bitNum=8")
_CONFIG = """\
[common_quant_param]
quant_type=WEIGHT_QUANT
bit_num=8
min_quant_weight_size=0
min_quant_weight_channel=16
"""


def cost(command: list[str]) -> tuple[float, float, float]:
    """(wall seconds, user + system seconds, peak MB) of one process with its children."""
    start = time.perf_counter()
    compiled = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=compiled)
    assert process.stderr is not None
    noise = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{command[0]} fails: {noise.strip().splitlines()[-1:]}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("runner")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--config", default="")
    parser.add_argument("flags", nargs="*", help="after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = args.config or str(folder / "real.cfg")
        if not args.config:
            Path(config).write_text(_CONFIG)
        flags = [f"--modelFile={args.model}", f"--outputFile={folder}/ours", "--quiet", *(args.flags or _FLAGS)]
        commands = {
            "bitlite": [sys.executable, "-m", "bitlite.tools.converter_lite", *flags],
            "real": [*args.runner.split(), "convert", args.model, str(folder / "theirs"), config],
        }
        for command in commands.values():
            cost(command)  # compiles what is not compiled yet, and warms the file cache
        found: dict[str, list[tuple[float, float, float]]] = {who: [] for who in commands}
        for _ in range(args.runs):
            for who, command in commands.items():
                found[who].append(cost(command))
        middle = {who: [median(column) for column in zip(*rows)] for who, rows in found.items()}
        for who, (wall, processor, memory) in middle.items():
            print(f"{who:8s} {wall:7.2f} s  {processor:7.2f} s of processor time  {memory:7.1f} MB")
        print("ratio    " + "  ".join(f"{a / b:.2f}" for a, b in zip(middle["bitlite"], middle["real"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
