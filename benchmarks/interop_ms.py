"""Runs .ms files in bitlite's Session and in the real MindSpore Lite runtime, and compares the outputs.

    python benchmarks/interop_ms.py RUNNER FILE.ms … [--samples N]

RUNNER is a command that runs `RUNNER run MODEL.ms IN.npz OUT.npz` (in0, in1, … with a leading sample axis → out0, …) in
the real runtime. Prints the cosine and the largest error as a share of the output's range, per file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

import bitlite
import numpy as np


def inputs_of(session: bitlite.Session, samples: int) -> list[np.ndarray]:
    """Per model input, seeded samples [samples, *shape]."""
    rng = np.random.default_rng(0)
    arrays = []
    for port in session.inputs:
        shape = (samples, *(d or 1 for d in port.shape))
        if port.dtype.kind == "f":
            arrays.append(rng.standard_normal(shape).astype(port.dtype))
        else:
            arrays.append(rng.integers(-100, 100, shape).astype(port.dtype))
    return arrays


def compare(runner: str, path: str, samples: int, folder: str) -> tuple[float, float]:
    """(smallest cosine, largest error as a share of the range) over the outputs."""
    session = bitlite.load(path)
    data = inputs_of(session, samples)
    source, target = os.path.join(folder, "in.npz"), os.path.join(folder, "out.npz")
    np.savez(source, **{f"in{i}": a for i, a in enumerate(data)})
    done = subprocess.run([*runner.split(), "run", path, source, target], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    theirs = np.load(target)
    names = [p.name for p in session.inputs]
    runs = [session.run(dict(zip(names, feeds))) for feeds in zip(*data)]
    cosine, error = 1.0, 0.0
    for i, port in enumerate(session.outputs):
        got, wanted = (
            np.stack([r[port.name] for r in runs]).astype(np.float64).ravel(),
            theirs[f"out{i}"].astype(np.float64).ravel(),
        )
        norm = np.linalg.norm(got) * np.linalg.norm(wanted)
        cosine = min(cosine, float(got @ wanted / norm) if norm else float(np.array_equal(got, wanted)))
        spread = wanted.max() - wanted.min()
        error = max(error, float(np.abs(got - wanted).max() / (spread or 1)))
    return cosine, error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runner")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--samples", type=int, default=4)
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in args.files:
            try:
                cosine, error = compare(args.runner, path, args.samples, folder)
            except (bitlite.Error, RuntimeError) as problem:
                failed += 1
                print(f"{os.path.basename(path):44s} FAILS: {problem}", flush=True)
                continue
            failed += not cosine >= 0.99999
            print(f"{os.path.basename(path):44s} cosine {cosine:.7f}  max error {error:.1e} of the range", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
