"""`make demo`: the bundled digits network, quantized in each way, run on images that training never saw.

python -m bitlite.tools.demo [FOLDER]     FOLDER holds digits.onnx, heldout.npz, calibration/ and config.cfg
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..converter.errors import DataError, UsageError
from .accuracy import sqnr
from .classification import agreement, paired_difference
from .command import run_command
from .convert import convert
from .tables import print_table

_FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("float32", {}),
    ("WeightQuant, 8 bits", {"quant_type": "WeightQuant", "bit_num": 8, "quant_weight_channel": 0}),
    ("WeightQuant, 4 bits", {"quant_type": "WeightQuant", "bit_num": 4, "quant_weight_channel": 0}),
    ("PostTraining, int8", {"quant_type": "PostTraining", "bit_num": 8, "config_file": "demo/config.cfg"}),
)
_REPEATS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table and returns the exit status."""
    return run_command(_work, argv)


def _work(argv: Sequence[str]) -> int:
    if argv:
        raise UsageError(f"{argv[0]!r}: the demo takes no arguments")
    folder = Path("demo")
    model = folder / "digits.onnx"
    if not model.is_file():
        raise DataError(f"{model}: no such file", hint="the root of the repository, where the folder demo lies")
    with np.load(folder / "heldout.npz") as data:
        x, labels = data["x"], data["y"]
    print(f"{model}: {os.path.getsize(model):,} bytes; {len(x)} held-out images\n")
    scratch = Path(tempfile.mkdtemp(prefix="bitlite-demo-"))
    try:
        reference, _ = _run(model, x)
        rows = []
        for name, options in _FORMS:
            path = scratch / "digits.ms"
            print("converter_lite", f"--fmk=ONNX --modelFile={model} --outputFile=digits", *_flags(options))
            convert(model, path, fmk="ONNX", **options)
            scores, spent = _run(path, x)
            rows.append(_row(name, path, scores, reference, labels, spent))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print()
    columns = ("form", "bytes", "top-1", "against float", "same", "SQNR dB", "µs/image")
    print_table("", columns, rows, right=columns[1:])
    print("against float: difference of top-1 in points ± its standard error over the same images;")
    print("same: images given the same class as by the float model; µs/image: one thread, one at a time, median.")
    return 0


def _run(path: Path, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Scores of every image, one at a time, and the median microseconds of one."""
    from ..native.load import load

    session = load(str(path), shapes={0: (1, -1, -1, -1)})
    feeds = x if session.inputs[0].layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    name, output = session.inputs[0].name, session.outputs[0].name
    scores, spent = [], []
    for repeat in range(_REPEATS):
        for image in feeds:
            feed = {name: image[None]}
            start = time.perf_counter_ns()
            values = session.run(feed)[output]
            spent.append(time.perf_counter_ns() - start)
            if repeat == 0:
                scores.append(values)
    return np.concatenate(scores), float(np.median(spent)) / 1e3


def _row(
    name: str, path: Path, scores: np.ndarray, reference: np.ndarray, labels: np.ndarray, spent: float
) -> tuple[str, ...]:
    top1 = float((scores.argmax(1) == labels).mean())
    difference, error = paired_difference(scores, reference, labels)
    same, _ = agreement(scores, reference)
    noise = sqnr(reference, scores)
    return (
        name,
        f"{os.path.getsize(path):,}",
        f"{top1:.2%}",
        f"{difference * 100:+.2f} ± {error * 100:.2f}",
        f"{same:.2%}",
        "exact" if noise > 120 else f"{noise:.1f}",
        f"{spent:.1f}",
    )


def _flags(options: dict[str, Any]) -> list[str]:
    from .options.convert import ConvertOptions
    from .options.flags import fields_of

    return [f"--{fields_of(ConvertOptions)[name].name}={value}" for name, value in options.items()]


if __name__ == "__main__":
    sys.exit(main())
