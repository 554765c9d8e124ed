"""WeightQuant with and without calibration data, as a markdown table.

    python benchmarks/weight_rounding.py EVAL [--models resnet8_cifar10.tflite …] [--bits 6 4 3 2] [--threads 2]

EVAL holds `models/` and `evalpack.py` (calibration and evaluation images). A cell: same class as float, SQNR of the
outputs, change of top-1 with the standard error of the paired difference. Bytes of the .ms at this width and
seconds of the conversion with data; then the bits of each layer chosen for no more bytes (target_size, fp16), and its
seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitlite
import numpy as np
from float_equality import pack

MODELS = ("resnet8_cifar10.tflite", "mobilenet_v2_1.0_224_tf.tflite", "squeezenet1.1.onnx")


def runner(path: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the scores [n, classes] of images [n, height, width, 3]."""
    session = bitlite.load(path, threads)
    source, output = session.inputs[0], session.outputs[0].name
    first = source.shape[1] == 3

    def run(images: np.ndarray) -> np.ndarray:
        rows = [np.ascontiguousarray(x.transpose(2, 0, 1) if first else x)[None] for x in images]
        return np.concatenate([session.run({source.name: x})[output].reshape(1, -1).copy() for x in rows])

    return run


def cell(figures: dict[str, Any]) -> str:
    return f"{figures['agree']:.1f} %, {figures['sqnr']:.1f} dB, {figures['delta']:+.2f} ± {figures['se_delta']:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--bits", nargs="+", type=int, default=(6, 4, 3, 2))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    eval_pack = pack(str(args.eval))
    print("| model | bits | without data | with 100 samples | bytes | s | bits chosen | s |")
    print("|---|---|---|---|---|---|---|---|")
    for file in args.models:
        source, name = str(args.eval / "models" / file), Path(file).stem
        reference = eval_pack.outputs(name, runner(source, args.threads))[0]
        data = [x[None] for x in eval_pack.calibration(name)]

        def judged(
            source: str = source, name: str = name, reference: Any = reference, **options: Any
        ) -> tuple[str, int, float]:
            with tempfile.TemporaryDirectory() as folder:
                path, start = os.path.join(folder, "m.ms"), time.perf_counter()
                bitlite.convert(source, path, quant_type="WeightQuant", threads=args.threads, cost=False, **options)
                seconds = time.perf_counter() - start
                figures = eval_pack.evaluate(name, runner(path, args.threads), reference)
                return cell(figures), os.path.getsize(path), seconds

        for bits in args.bits:
            nearest, _, _ = judged(bit_num=bits)
            rounded, size, seconds = judged(bit_num=bits, calibration_data=data)
            chosen, _, longer = judged(target_size=size, fp16=True, calibration_data=data)
            print(
                f"| {name} | {bits} | {nearest} | {rounded} | {size:,} | {seconds:.1f} | {chosen} | {longer:.1f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
