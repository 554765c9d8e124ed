"""int8 .onnx files in onnxruntime on this CPU, by --onnxWeights: what they give, and what exactness costs.

    python benchmarks/onnx_int8_cpu.py EVALUATION_DATA [--images=500] [--models=resnet8_cifar10,ad01_fp32]

EVALUATION_DATA as for write_formats.py. Per model and choice: the .onnx in onnxruntime beside the Session on the .ms
of the same conversion (same class, SQNR) and beside FP32 (SQNR; the .ms alone for comparison), layers with uint8
weights, nodes that differ by more than one code on equal inputs, and time over that of int8 weights as they are, the
best of interleaved runs on one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from typing import Any

import numpy as np
from bitlite import convert
from bitlite.tools.onnx_products import saturates, saturating_layers
from write_formats import (
    MODELS,
    _as_source,
    alone,
    compare_nodes,
    litert,
    milliseconds,
    onnxruntime,
    outputs,
    own,
    same_top,
    samples,
    sqnr,
)

CHOICES = ("int8", "uint8", "auto")


def rows(file: str, data: tuple[Any, ...], folder: str) -> list[str]:
    calibration, x, _ = data
    reference = outputs((litert if file.endswith(".tflite") else onnxruntime)(file)[0], x)
    results, engines = {}, {}
    for choice in CHOICES:
        convert(
            file,
            f"{folder}/{choice}",
            quant_type="PostTraining",
            output_format="MS,ONNX",
            onnx_weights=choice,
            calibration_data=list(_as_source(file, calibration)),
            quiet=True,
        )
        run, engine = onnxruntime(f"{folder}/{choice}.onnx")
        engines[choice] = alone(engine, x[:1])
        results[choice] = outputs(own(f"{folder}/{choice}.ms")[0], x), outputs(run, x)
    count, _, far = compare_nodes(f"{folder}/auto.ms", x[:1], folder)
    speed = milliseconds(engines, 6.0)
    plain = sqnr(reference, results["int8"][0])
    lines = []
    for choice, (mine, theirs) in results.items():
        beyond = len(saturating_layers(f"{folder}/{choice}.onnx"))
        cells = [
            choice,
            f"{beyond}",
            f"{same_top(mine, theirs):.2f}",
            f"{sqnr(mine, theirs):.1f}",
            f"{sqnr(reference, theirs):.2f} ({sqnr(reference, theirs) - plain:+.2f})",
            f"{same_top(reference, theirs):.2f}",
            f"{far} of {count}" if choice == "auto" else "",
            f"{speed[choice]:.3f} ms",
            f"{speed[choice] / speed['int8']:.2f}x",
        ]
        lines.append(" | ".join(cells))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--models", default="")
    options = parser.parse_args()
    sys.path.insert(0, options.data)
    print(f"products uint8 x int8 saturate in onnxruntime on this CPU: {'yes' if saturates() else 'no'}")
    head = "model | weights | layers that can saturate | same class as the Session, % | SQNR to it, dB"
    head += " | SQNR to FP32, dB (over the plain .ms) | FP32's class, % | nodes > 1 code | time | over int8"
    print(f"| {head} |\n|{'---|' * 10}", flush=True)
    np.seterr(all="ignore")
    for file, name in MODELS.items():
        stem = file.rpartition(".")[0]
        if options.models and stem not in options.models.split(","):
            continue
        with tempfile.TemporaryDirectory() as folder:
            data = samples(options.data, file, name, options.images)
            for row in rows(os.path.join(options.data, "models", file), data, folder):
                print(f"| {stem} | {row} |", flush=True)


if __name__ == "__main__":
    main()
