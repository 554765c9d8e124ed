"""Accuracy of PostTraining on real models and images: `python -m bitlite.tools.eval_ptq DATA [MODEL ...] [--steps]`.

DATA is a directory with `evalpack.py` (its `MODELS`, `calibration`, `evaluate`) and `models/`. Prints one line per
model and method: images, agreement with float in %, SQNR in dB, top-1 difference and its standard error, seconds. With
--steps the parts of the pipeline are switched on one after the other instead of the methods.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

METHODS = ("AUTO", "MSE", "MAX_MIN", "KL", "SYMKL", "JSD", "ADMM", "PERCENTILE:99.99", "REMOVAL_OUTLIER", "ACIQ")
STEPS: dict[str, dict[str, Any]] = {
    "ranges MAX_MIN": {"bias_correction": "off", "equalize": False, "methods": ("MAX_MIN",)},
    "+ channels equalized": {"bias_correction": "off", "methods": ("MAX_MIN",)},
    "+ lock-step correction": {"bias_correction": "lockstep", "methods": ("MAX_MIN",)},
    "+ correction on the prefix": {"round_by_output": False, "methods": ("MAX_MIN",)},
    "+ weights rounded by output": {"methods": ("MAX_MIN",)},
    "+ ranges AUTO": {},
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the evaluation directory")
    parser.add_argument("models", nargs="*", help="names in evalpack.MODELS; all when none is given")
    parser.add_argument("--steps", action="store_true", help="switch the pipeline's parts on one by one")
    parser.add_argument("--bits", action="store_true", help="weights of 8 to 1 bits")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    sys.path.insert(0, options.data)
    import evalpack  # pyright: ignore[reportMissingImports]

    runs: dict[str, dict[str, Any]] = {m: {"methods": (m,)} for m in METHODS}
    if options.steps:
        runs = STEPS
    if options.bits:
        runs = {f"{b} bits": {"bits": b} for b in range(8, 0, -1)}
    for name in options.models or evalpack.MODELS:
        for label, changes in runs.items():
            print(f"{name:26} {label:28} {_measure(evalpack, options, name, changes)}", flush=True)
    return 0


def _measure(evalpack: Any, options: argparse.Namespace, name: str, changes: dict[str, Any]) -> str:
    from ..quant.calibrate.data import Dataset, DataSpec
    from ..quant.calibrate.first_layer import input_specs
    from ..quant.ptq.post_training import quantize_graph
    from ..quant.ptq.settings import Settings

    graph = _read(Path(options.data) / "models", name)
    nchw = graph.inputs[0].layout == "NCHW"
    reference, _ = evalpack.outputs(name, _runner(graph, nchw, options.threads))
    samples = evalpack.calibration(name)
    if nchw:
        samples = np.ascontiguousarray(samples.transpose(0, 3, 1, 2))
    data = Dataset(DataSpec(source=samples, count=len(samples)), input_specs(graph))
    settings = dataclasses.replace(Settings(threads=options.threads), **changes)
    start = time.perf_counter()
    result = quantize_graph(graph, data, settings)
    seconds = time.perf_counter() - start
    r = evalpack.evaluate(name, _runner(result.graph, nchw, options.threads), reference)
    return (
        f"n {r['n']:.0f}  agree {r['agree']:.2f}  SQNR {r['sqnr']:.2f}  "
        f"delta {r['delta']:+.2f} ± {r['se_delta']:.2f}  {seconds:.1f} s"
    )


def _read(folder: Path, name: str) -> Any:
    from ..converter.formats import read_model
    from ..converter.passes import for_target, run_passes

    path = next(p for ending in (".tflite", ".onnx") if (p := folder / (name + ending)).exists())
    graph = read_model(str(path))
    run_passes(graph, for_target("general"))
    return graph


def _runner(graph: Any, nchw: bool, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    from ..native.session import Session

    session = Session(graph.copy(), threads)

    def run(x: np.ndarray) -> np.ndarray:
        if nchw:
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        rows = [session.run({session.inputs[0].name: x[i : i + 1]}) for i in range(len(x))]
        return np.concatenate([r[session.outputs[0].name].reshape(1, -1) for r in rows])

    return run


if __name__ == "__main__":
    sys.exit(main())
