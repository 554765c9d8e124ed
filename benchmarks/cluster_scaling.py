"""How the time of calibration falls with workers: a simulation, from costs measured here, to 1,000 of them.

    python benchmarks/cluster_scaling.py [MODEL.tflite|.onnx|.ms]

Measured: a sample through the float network with the statistics of every activation; a shard's result on its way
(pickled and read again, a network of 1 Gbit/s added) and merged; a task's way through a Dask scheduler. Simulated: one
pass as `quant/cluster/pool.py` makes it. Tasks are sent out one after the other, twice as many as there are workers are
on their way, results are read and merged in the order of shards by one process.
"""

from __future__ import annotations

import heapq
import pickle
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
from bitlite.converter.formats import read_model
from bitlite.converter.passes import for_target, run_passes
from bitlite.quant.calibrate.observe import Histograms, Runner
from bitlite.quant.calibrate.spread import shard_rows
from bitlite.quant.cluster.dask_cluster import DaskCluster, DaskOptions
from bitlite.quant.cluster.pool import WorkerPool

DIGITS = str(Path(__file__).parents[1] / "demo" / "digits.onnx")
WIRE = 125e6  # bytes a second
WORKERS = (1, 2, 4, 16, 64, 256, 1000)
SAMPLES = (100, 50_000, 10**6, 10**8)
TASKS = 300


def nothing(state: bytes, shard: int) -> int:
    return shard


def measured(model: str) -> dict[str, float]:
    """Seconds: sample, result (of a shard), task. bytes: of a result."""
    graph = read_model(model, {}, None)
    run_passes(graph, for_target("general"))
    tensors = [t for n in graph.nodes for t in n.outputs if t.dtype.kind == "f"]
    rng, run, see = np.random.default_rng(0), Runner(graph, tensors), Histograms()
    shapes = {t.name: [d or 1 for d in t.known_shape] for t in graph.inputs}
    feeds = [{n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()} for _ in range(8)]

    def look(feed: dict[str, np.ndarray]) -> list:
        return run(feed, lambda values: [see.look(values[t.name]) for t in tensors])

    look(feeds[0])
    start = time.perf_counter()
    seen = [look(feed) for feed in feeds]
    sample = (time.perf_counter() - start) / len(feeds)
    for t, one in zip(tensors, seen[0]):
        see.take(t, one)
    start = time.perf_counter()
    data = pickle.dumps(seen[1])
    for t, one in zip(tensors, pickle.loads(data)):
        see.take(t, one)
    result = time.perf_counter() - start
    with WorkerPool(DaskCluster(DaskOptions("local", workers=1, timeout=60))) as pool:
        state = pool.state(bytes, b"x")
        list(pool.each(nothing, state, [(0,)]))
        start = time.perf_counter()
        list(pool.each(nothing, state, ((k,) for k in range(TASKS))))
        task = (time.perf_counter() - start) / TASKS
    return {"sample": sample, "result": result + len(data) / WIRE, "task": task, "bytes": len(data)}


def one_pass(samples: int, workers: int, cost: dict[str, float]) -> float:
    """Seconds of one pass over the samples."""
    free = [0.0] * workers
    sent = merged = 0.0
    flight: deque[float] = deque()

    def merge() -> float:
        return max(merged, flight.popleft()) + cost["result"]

    for rows in shard_rows(samples, workers):
        if len(flight) >= 2 * workers:
            merged = merge()
            sent = max(sent, merged)
        sent += cost["task"]
        end = max(heapq.heappop(free), sent) + len(rows) * cost["sample"]
        heapq.heappush(free, end)
        flight.append(end)
    while flight:
        merged = merge()
    return merged


def shown(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2f} s"


def main() -> None:
    cost = measured(sys.argv[1] if len(sys.argv) > 1 else DIGITS)
    print(
        f"a sample {cost['sample'] * 1e3:.2f} ms, a result {cost['result'] * 1e3:.2f} ms"
        f" ({cost['bytes'] / 1e3:.0f} kB), a task {cost['task'] * 1e3:.2f} ms\n"
    )
    print("| samples | samples a shard | 1 worker | " + " | ".join(f"{w:,}" for w in WORKERS[1:]) + " |")
    print("|---|---|" + "---|" * len(WORKERS))
    for samples in SAMPLES:
        times = [one_pass(samples, workers, cost) for workers in WORKERS]
        gains = [times[0] / t for t in times[1:]]
        cells = [shown(times[0]), *(f"{gain:.{int(gain < 5)}f}x" for gain in gains)]
        print(f"| {samples:,} | {len(shard_rows(samples)[0]):,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
