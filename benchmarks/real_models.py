"""What quantization leaves of models that were made elsewhere, as a markdown table.

    python benchmarks/real_models.py MODELS_PY [--models …] [--samples 100] [--threads 2]

MODELS_PY defines MODELS: name → (file, sizes of its inputs or None, sample(i, part) → {input: array}, task); a part is
"calib" or "eval"; the samples are in the layout of the source, and task is cls (same largest value), ctc (same decoded
string), seg (overlap at 0.3) or "". Each cell is a whole conversion to the format of the source: SQNR of the worst
output in dB on samples that calibration did not see, what the task asks for, and the file's bytes in parts of the
source's.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bitlite
import numpy as np

JUDGED = 24
COLUMNS: Mapping[str, dict[str, Any]] = {
    "int8": {"quant_type": "PostTraining"},
    "weights of 8 bits": {"quant_type": "WeightQuant", "bit_num": 8},
    "weights of 4 bits": {"quant_type": "WeightQuant", "bit_num": 4},
}
Outputs = dict[str, np.ndarray]


def run(path: str, sizes: Mapping[str, Sequence[int]] | None, rows: Sequence[Outputs], threads: int) -> list[Outputs]:
    session = bitlite.load(path, threads, shapes=sizes)
    names = {port.name for port in session.inputs}
    return [
        {k: np.array(v) for k, v in session.run({n: a for n, a in row.items() if n in names}).items()} for row in rows
    ]


def worst(want: Sequence[Outputs], got: Sequence[Outputs]) -> float:
    """SQNR in dB of the output that lost most; outputs are matched by name."""
    found = []
    for name in want[0]:
        if want[0][name].dtype.kind != "f" or name not in got[0]:
            continue
        signal = sum(np.square(w[name], dtype=np.float64).sum() for w in want)
        noise = sum(np.square(w[name].astype(np.float64) - g[name]).sum() for w, g in zip(want, got))
        found.append(10 * np.log10(signal / (noise + 1e-30)))
    return float(min(found))


def decoded(scores: np.ndarray) -> list[int]:
    best = scores.reshape(-1, scores.shape[-1]).argmax(axis=1)
    return [int(c) for k, c in enumerate(best) if c and (not k or c != best[k - 1])]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    either = ((a > 0.3) | (b > 0.3)).sum()
    return float(((a > 0.3) & (b > 0.3)).sum() / either) if either else 1.0


TASKS = {
    "cls": lambda a, b: float(a.argmax() == b.argmax()),
    "ctc": lambda a, b: float(decoded(a) == decoded(b)),
    "seg": overlap,
}


def cell(want: Sequence[Outputs], got: Sequence[Outputs], task: str, share: float) -> str:
    parts = [f"{worst(want, got):.1f} dB"]
    if task:
        name = next(iter(want[0]))
        parts.append(f"{task} {np.mean([TASKS[task](w[name], g[name]) for w, g in zip(want, got)]):.3f}")
    return ", ".join([*parts, f"{share:.0%}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_py", type=Path)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("zoo", args.models_py)
    assert spec is not None and spec.loader is not None
    zoo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(zoo)
    print("| | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (1 + len(COLUMNS)))
    for name in args.models or zoo.MODELS:
        source, sizes, sample, task = zoo.MODELS[name]
        rows = [sample(i, "eval") for i in range(JUDGED)]
        cells = [name]
        try:
            want = run(source, sizes, rows, args.threads)
        except (bitlite.Error, OSError) as error:
            print(f"| {name} | {error} |", flush=True)
            continue
        for options in COLUMNS.values():
            with tempfile.TemporaryDirectory() as folder:
                form = os.path.splitext(source)[1]
                path, given = os.path.join(folder, f"m{form}"), dict(options)
                if given["quant_type"] == "PostTraining":
                    given["calibration_data"] = [sample(i, "calib") for i in range(args.samples)]
                if sizes:
                    given["input_shape"] = sizes
                try:
                    bitlite.convert(source, path, output_format=form[1:].upper(), threads=args.threads, **given)
                    got = run(path, None, rows, args.threads)
                except bitlite.Error as error:
                    cells.append(str(error))
                    continue
                cells.append(cell(want, got, task, os.path.getsize(path) / os.path.getsize(source)))
        print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
