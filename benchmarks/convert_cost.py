"""Seconds, processor time and peak memory of conversions as whole processes, bitlite and another tool in turns.

    python benchmarks/convert_cost.py MODEL RUNNER [--runs 3] [--config real.cfg] [-- converter_lite flags …]
    python benchmarks/convert_cost.py MODEL --nncf PYTHON --onnx MODEL.onnx --samples DIR [--runs 3] [-- flags …]
    python benchmarks/convert_cost.py MODEL --samples DIR --grow 2000 [-- flags …]

RUNNER is a command that runs `RUNNER convert SOURCE TARGET CONFIG` in the real MindSpore Lite converter. The default is
WeightQuant with 8 bits on both sides; other flags want a config of the same meaning for the real one.

PYTHON is an interpreter that has nncf and onnx; it quantizes the same network with full bias correction, bitlite with
PostTraining as it is when nothing is chosen, both on the .bin files of DIR (float32, one image each, channels last).

--grow: bitlite's peak memory with the files of DIR, and with as many as it says, which are links to them.
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
_POST_TRAINING = ("--quantType=PostTraining", "--bitNum=8")
_NNCF = """\
import sys
import nncf, numpy as np, onnx
source, target, *files = sys.argv[1:]
model = onnx.load(source)
given = model.graph.input[0]
n, c, h, w = (d.dim_value or 1 for d in given.type.tensor_type.shape.dim)
def feed(file):
    return {given.name: np.ascontiguousarray(np.fromfile(file, np.float32).reshape(1, h, w, c).transpose(0, 3, 1, 2))}
data = nncf.Dataset(files, feed)
onnx.save(nncf.quantize(model, data, subset_size=len(files), fast_bias_correction=False), target)
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


def sample_config(folder: Path, files: list[Path], count: int) -> Path:
    """A config that names `count` samples: links to the files, in turns."""
    samples = folder / f"samples{count}"
    samples.mkdir()
    for k in range(count):
        (samples / f"{k:06}.bin").symlink_to(files[k % len(files)])
    config = folder / f"calibrate{count}.cfg"
    config.write_text(f"image_path={samples}\nbatch_count={count}\n")
    return config


def bitlite(model: str, folder: Path, flags: list[str]) -> list[str]:
    ours = [f"--modelFile={model}", f"--outputFile={folder}/ours", "--quiet", *flags]
    return [sys.executable, "-m", "bitlite.tools.converter_lite", *ours]


def compare(commands: dict[str, list[str]], runs: int) -> None:
    """Runs the commands in turns; prints each one's medians and least, and bitlite's over the other's."""
    for command in commands.values():
        cost(command)  # compiles what is not compiled yet, and warms the file cache
    costs: dict[str, list[tuple[float, float, float]]] = {who: [] for who in commands}
    for _ in range(runs):
        for who, command in commands.items():
            costs[who].append(cost(command))
    for what, choose in (("median", median), ("least", min)):
        rows = {who: [choose(column) for column in zip(*rows)] for who, rows in costs.items()}
        for who, (wall, processor, memory) in rows.items():
            print(f"{what} {who:8s} {wall:7.2f} s  {processor:7.2f} s of processor time  {memory:7.1f} MB")
        ours, other = rows.values()
        print(f"{what} ratio    " + "  ".join(f"{a / b:.2f}" for a, b in zip(ours, other)), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("runner", nargs="?", default="")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--config", default="")
    parser.add_argument("--nncf", metavar="PYTHON", default="")
    parser.add_argument("--onnx", default="")
    parser.add_argument("--samples", metavar="DIR", type=Path)
    parser.add_argument("--grow", type=int, default=0)
    own, flags = (
        (sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :])
        if "--" in sys.argv
        else (sys.argv[1:], [])
    )
    args = parser.parse_args(own)
    if sum(map(bool, (args.runner, args.nncf, args.grow))) != 1 or bool(args.samples) == bool(args.runner):
        parser.error("give RUNNER, or --samples and either --nncf or --grow")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.runner:
            config = args.config or str(folder / "real.cfg")
            if not args.config:
                Path(config).write_text(_CONFIG)
            ours = bitlite(args.model, folder, flags or list(_FLAGS))
            theirs = [*args.runner.split(), "convert", args.model, str(folder / "theirs"), config]
            compare({"bitlite": ours, "real": theirs}, args.runs)
            return 0
        files = sorted(file.resolve() for file in args.samples.iterdir())
        configs = {n: sample_config(folder, files, n) for n in {len(files), args.grow or len(files)}}
        flags = flags or list(_POST_TRAINING)
        ours = {n: bitlite(args.model, folder, [*flags, f"--configFile={c}"]) for n, c in configs.items()}
        if args.nncf:
            theirs = [args.nncf, "-c", _NNCF, args.onnx, str(folder / "theirs.onnx"), *map(str, files)]
            compare({"bitlite": ours[len(files)], "NNCF": theirs}, args.runs)
            return 0
        peaks = {n: median(cost(command)[2] for _ in range(args.runs)) for n, command in sorted(ours.items())}
        for n, peak in peaks.items():
            print(f"{n:6d} samples {peak:7.1f} MB")
        print(f"ratio {peaks[args.grow] / peaks[len(files)]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
