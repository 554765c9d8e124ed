"""`converter_lite --infer`: runs what was written, once, on random input."""

from __future__ import annotations

import time

import numpy as np

from ..native.load import load
from ..quant.options import ConvertOptions
from .bench_inputs import random_feed, shape_of


def run_once(path: str, options: ConvertOptions) -> list[str]:
    """Loads a model file and runs it on random values. Returns a line per output.

    Raises:
        bitlite.Error: it cannot be loaded or run.
    """
    session = load(path, options.threads or 1)
    shapes = {p.name: shape_of(p) for p in session.inputs}
    if any(p.shape != shapes[p.name] for p in session.inputs):
        session = load(path, options.threads or 1, shapes=shapes)
    start = time.perf_counter()
    outputs = session.run(random_feed(session.inputs, options.seed))
    spent = (time.perf_counter() - start) * 1e3
    lines = [f"{path}: ran once in {spent:.2f} ms"]
    for name, value in outputs.items():
        real = value.astype(np.float64).ravel() if value.dtype.kind in "biuf" else np.zeros(0)
        bad = int((~np.isfinite(real)).sum())
        span = (
            f"{real[np.isfinite(real)].min():g} .. {real[np.isfinite(real)].max():g}"
            if real.size > bad
            else "no values"
        )
        lines.append(f"  {name}: {value.dtype}{list(value.shape)} {span}" + (f", {bad} NaN or infinite" if bad else ""))
    return lines
