"""Weights of few bits on models made elsewhere: SQNR of the worst output, as a markdown table.

    python benchmarks/few_bits_unseen.py MODELS_PY [MODEL …] [--bits 8 4] [--samples 100] [--judges 24] [--threads 2]

MODELS_PY is as for `real_models.py`. Weights are rounded on calibration samples; a cell has the SQNR of the worst float
output on other samples, and the bytes of the .ms.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from typing import Any

import bitlite
import numpy as np
from real_model_runs import load_models

Outputs = list[dict[str, np.ndarray]]


def outputs(path: str, rows: list[dict[str, np.ndarray]], threads: int) -> Outputs:
    session = bitlite.load(path, threads)
    names = [p.name for p in session.inputs]
    found = [session.run({name: row[name] for name in names}) for row in rows]
    return [{name: np.array(value) for name, value in y.items() if value.dtype.kind == "f"} for y in found]


def worst(wanted: Outputs, got: Outputs) -> float:
    """dB."""

    def energy(name: str, other: Outputs | None) -> float:
        pairs = zip(wanted, other or wanted)
        return sum(float(np.square(a[name].astype(np.float64) - (b[name] if other else 0)).sum()) for a, b in pairs)

    return min(10 * np.log10(energy(name, None) / max(energy(name, got), 1e-30)) for name in wanted[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_py")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--bits", nargs="+", type=int, default=(8, 4))
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--judges", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    models = load_models(args.models_py).MODELS
    print(f"| model |{'|'.join(f' {bits} bits ' for bits in args.bits)}|")
    print("|---|" + "---|" * len(args.bits))
    for name in args.models or models:
        source, sizes, sample, _ = models[name]
        known = [sample(k, "calib") for k in range(args.samples)]
        others = [sample(k, "eval") for k in range(args.judges)]
        images = source.endswith(".onnx") and any(len(shape) == 4 for shape in (sizes or {}).values())
        options: dict[str, Any] = {"input_shape": sizes, "cost": False} if sizes else {"cost": False}
        options |= {"input_data_format": "NCHW"} if images else {}
        with tempfile.TemporaryDirectory() as folder:
            path, cells = os.path.join(folder, "m.ms"), list[str]()
            bitlite.convert(source, path, **options)
            wanted = outputs(path, others, args.threads)
            for bits in args.bits:
                quantized = {"quant_type": "WeightQuant", "bit_num": bits, "calibration_data": known}
                bitlite.convert(source, path, threads=args.threads, **options, **quantized)
                sqnr = worst(wanted, outputs(path, others, args.threads))
                cells.append(f" {sqnr:.1f} dB, {os.path.getsize(path):,} ")
        print(f"| {name} |{'|'.join(cells)}|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
