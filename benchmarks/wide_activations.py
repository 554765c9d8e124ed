"""Activations of 16 bits beside those of 8, and beside float ones with the same weights, as a markdown table.

    python benchmarks/wide_activations.py EVAL [--models resnet8_cifar10.tflite …] [--images 30]

EVAL holds `models/` and `evalpack.py`. A cell: SQNR of the outputs in dB, bytes of the `.ms`, and with 16 bits the
time of a run as a share of float's, the least of runs in turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bitlite
import numpy as np
from float_equality import pack
from weight_rounding import MODELS, runner

FORMS: dict[str, dict[str, Any]] = {
    "int8": {"quant_type": "PostTraining"},
    "16 × 8": {"quant_type": "PostTraining", "activation_bits": 16, "bit_num": 8},
    "16, weights as they need": {"quant_type": "PostTraining", "activation_bits": 16},
    "8-bit weights": {"quant_type": "WeightQuant", "quant_weight_channel": 0, "gain_gate": False},
}


def least_seconds(sessions: list[bitlite.Session], runs: int = 30) -> list[float]:
    """Of one run of each, in turns, on zeros."""
    least = [np.inf] * len(sessions)
    for _ in range(runs):
        for k, session in enumerate(sessions):
            feed = {x.name: np.zeros([n or 1 for n in x.shape or ()], x.dtype) for x in session.inputs}
            start = time.perf_counter()
            session.run(feed)
            least[k] = min(least[k], time.perf_counter() - start)
    return least


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    eval_pack = pack(str(args.eval))
    print(f"| | {' | '.join(FORMS)} |")
    print("|---" * (len(FORMS) + 1) + "|")
    for file in args.models:
        source, name = str(args.eval / "models" / file), Path(file).stem
        images = eval_pack.preprocess(eval_pack.images(eval_pack.MODELS[name][0], "eval")[0], eval_pack.MODELS[name][2])
        images, data = images[: args.images], [x[None] for x in eval_pack.calibration(name)]
        want, cells, paths = runner(source, args.threads)(images).astype(np.float64), [], []
        with tempfile.TemporaryDirectory() as folder:
            for options in FORMS.values():
                paths.append(f"{folder}/{len(paths)}.ms")
                bitlite.convert(source, paths[-1], cost=False, threads=args.threads, calibration_data=data, **options)
                apart = runner(paths[-1], args.threads)(images) - want
                decibel = 10 * np.log10(np.square(want).sum() / np.square(apart).sum())
                cells.append(f"{decibel:.1f}, {Path(paths[-1]).stat().st_size:,}")
            bitlite.convert(source, f"{folder}/float.ms")
            times = least_seconds([bitlite.load(p, args.threads) for p in (*paths[1:3], f"{folder}/float.ms")])
            for k in (1, 2):
                cells[k] += f", {times[k - 1] / times[2]:.2f}"
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
