"""Bits chosen by an error allowed beside one width for all: `python benchmarks/mixed_bits.py EVAL [MODEL …]`.

Of the outputs (mixed=true) or of each weight (bit_num=0), all with calibration data. EVAL (or $BITLITE_EVAL) is the
folder of evaluation models and images with its evalpack.py. Prints, per model and choice, bytes of the .ms, agreement
with float in %, SQNR in dB, top-1 difference and its standard error, seconds.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitlite
import numpy as np

MODELS = ("resnet8_cifar10", "mobilenet_v2_1.0_224_tf")
CHOICES: dict[str, dict[str, Any]] = {
    "8 bits": {"bit_num": 8},
    "4 bits": {"bit_num": 4},
    **{f"bit 0, {t}": {"bit_num": 0, "init_scale": t} for t in (0.02, 0.05, 0.1)},
    **{f"mixed, {t}": {"mixed": True, "mean_error_threshold": t} for t in (0.04, 0.1, 0.2)},
}


def runner(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    session = bitlite.load(path, threads=2)
    name, output = session.inputs[0].name, session.outputs[0].name
    return lambda x: np.stack([session.run({name: row[None]})[output].ravel() for row in x])


def main() -> int:
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BITLITE_EVAL")
    if not folder:
        sys.exit(__doc__)
    sys.path.insert(0, folder)
    import evalpack  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as out:
        for name in sys.argv[2:] or MODELS:
            source, path = Path(folder) / "models" / f"{name}.tflite", Path(out) / "m.ms"
            bitlite.convert(source, path)
            reference, _ = evalpack.outputs(name, runner(path))
            for label, options in CHOICES.items():
                data = {"calibration_data": [x[None] for x in evalpack.calibration(name)]}
                report = bitlite.convert(
                    source, path, quant_type="WeightQuant", quiet=True, cost=False, **options, **data
                )
                r = evalpack.evaluate(name, runner(path), reference)
                print(
                    f"{name:24} {label:12} {path.stat().st_size:>9,}  agree {r['agree']:.2f}  SQNR {r['sqnr']:.2f}  "
                    f"delta {r['delta']:+.2f} ± {r['se_delta']:.2f}  {report.seconds:.1f} s",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
