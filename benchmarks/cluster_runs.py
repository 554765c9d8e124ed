"""The same conversion by one thread, two processes and a Dask cluster, and settings tried by two workers.

    python benchmarks/cluster_runs.py MODEL SAMPLES [--settings]

Prints for PostTraining of MODEL, calibrated on the directory SAMPLES: seconds with one thread, two threads, two
processes, and a Dask scheduler with three workers (its start apart; two threads and Dask by turns, medians), whether
the files are equal byte for byte, and the Dask run against two threads. --settings: twelve conversions of MODEL one
after the other on one thread, and by two workers of one thread each.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bitlite
from bitlite.quant.cluster.dask_cluster import DaskCluster, DaskOptions
from bitlite.quant.cluster.pool import WorkerPool
from bitlite.quant.cluster.processes import Processes
from bitlite.tools.conversions import convert_each

RUNS = 3
METHODS = ("MAX_MIN", "MSE", "KL", "PERCENTILE", "ACIQ", "OCTAV")


def converted(model: str, samples: str, **options: Any) -> tuple[float, str]:
    """Seconds, and the digest of the file."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        report = bitlite.convert(
            model, f"{folder}/m", quant_type="PostTraining", calibration_data=samples, output_format="TFLITE", **options
        )
        seconds = time.perf_counter() - start
        return seconds, hashlib.sha256(Path(next(iter(report.files))).read_bytes()).hexdigest()[:16]


@contextmanager
def dask_cluster(workers: int) -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        with WorkerPool(DaskCluster(DaskOptions(cluster.scheduler_address, timeout=60))) as pool:
            list(pool.each(sorted, pool.state(bytes, b"x"), [()] * workers))
        yield cluster.scheduler_address


def compare_runs(model: str, samples: str) -> None:
    runs = {
        "1 thread": [converted(model, samples, threads=1)],
        "2 threads": [],
        "2 processes": [converted(model, samples, threads=2, workers=2)],
        "Dask, 3 workers": [],
    }
    start = time.perf_counter()
    with dask_cluster(3) as address:
        began = time.perf_counter() - start
        for _ in range(RUNS):  # by turns: a machine is not always as fast
            runs["2 threads"].append(converted(model, samples, threads=2))
            runs["Dask, 3 workers"].append(converted(model, samples, threads=2, cluster=address))
    medians = {name: statistics.median(seconds for seconds, _ in found) for name, found in runs.items()}
    for name, found in runs.items():
        print(f"{name:16} {medians[name]:7.2f} s  {found[0][1]}  " + " ".join(f"{seconds:.2f}" for seconds, _ in found))
    print(f"start of Dask    {began:7.2f} s")
    equal = len({digest for found in runs.values() for _, digest in found}) == 1
    print(f"equal: {equal}; Dask / 2 threads: {medians['Dask, 3 workers'] / medians['2 threads']:.2f}")


def compare_settings(model: str, samples: str) -> None:
    choices = [
        {"quant_type": "PostTraining", "calibration_data": os.path.abspath(samples), "output_format": "TFLITE"}
        | {"activation_quant_method": method, "bit_num": bits}
        for method in METHODS
        for bits in (8, 4)
    ]

    def run(pool: WorkerPool | None) -> tuple[float, list[dict[str, bytes]]]:
        start = time.perf_counter()
        files = [converted.files for converted in convert_each(model, choices, pool)]
        return time.perf_counter() - start, files

    run_one(model, choices[0], None)
    alone, expected = run(None)
    with WorkerPool(Processes(2)) as pool:
        run_one(model, choices[0], pool)
        spread, found = run(pool)
    print(f"12 settings: {alone:.2f} s one after the other, {spread:.2f} s by 2 workers:", end=" ")
    print(f"{alone / spread:.2f}x; equal: {expected == found}")


def run_one(model: str, settings: dict[str, Any], pool: WorkerPool | None) -> None:
    """A conversion in this process, or in each of two workers, which then have imported what it needs."""
    list(convert_each(model, [settings] * (2 if pool else 1), pool))


if __name__ == "__main__":
    (compare_settings if "--settings" in sys.argv else compare_runs)(*sys.argv[1:3])
