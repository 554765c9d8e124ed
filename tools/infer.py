"""`converter_lite --infer` and `--verify`: runs what was written, once, on random input."""

from __future__ import annotations

import time

import numpy as np

from ..native.load import load
from ..native.session import Session
from .bench_inputs import Feed, random_feed, shape_of
from .options.convert import ConvertOptions


def run_written(path: str, options: ConvertOptions) -> list[str]:
    """Runs a written file as `options` ask. Returns what to print.

    Raises:
        bitlite.Error: it cannot be loaded or run, or another runtime gives something else.
    """
    session = load(path, options.threads or 1)
    shapes = {p.name: shape_of(p) for p in session.inputs}
    if any(p.shape != shapes[p.name] for p in session.inputs):
        session = load(path, options.threads or 1, shapes=shapes)
    feed = random_feed(session.inputs, options.seed)
    lines = _once(path, session, feed) if options.infer else []
    if options.verify:
        from .other_runtimes import verify_file

        lines += verify_file(path, session, feed, options.spell)
    return lines


def _once(path: str, session: Session, feed: Feed) -> list[str]:
    start = time.perf_counter()
    outputs = session.run(feed)
    lines = [f"{path}: ran once in {(time.perf_counter() - start) * 1e3:.2f} ms"]
    for name, value in outputs.items():
        real = value.astype(np.float64).ravel() if value.dtype.kind in "biuf" else np.zeros(0)
        finite = real[np.isfinite(real)]
        span = f"{finite.min():g} .. {finite.max():g}" if finite.size else "no values"
        bad = f", {real.size - finite.size} NaN or infinite" if finite.size < real.size else ""
        lines.append(f"  {name}: {value.dtype}{list(value.shape)} {span}{bad}")
    return lines
