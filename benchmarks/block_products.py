"""A matrix times a vector with weights in blocks, beside float, as a markdown table: milliseconds, one thread.

    python benchmarks/block_products.py [SIZE] [--runs 30]

The least of runs taken in turns, in one process.
"""

from __future__ import annotations

import argparse
import sys
import time

import bitlite
import numpy as np
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights


def product(size: int, settings: WeightSettings | None) -> bitlite.Session:
    rng = np.random.default_rng(0)
    graph = Graph("product")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, size))
    w = build.constant(rng.standard_normal((size, size), np.float32), "w")
    graph.outputs = build.emit("FullyConnected", [x, w], name="product")
    if settings is not None:
        quantize_graph_weights(graph, settings)
    return bitlite.Session(graph, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=30)
    args = parser.parse_args()
    forms: dict[str, WeightSettings | None] = {"float": None}
    for bits, block, zero_points in ((4, 32, False), (4, 128, False), (4, 32, True), (8, 32, False)):
        name = f"{bits} bits, blocks of {block}{', zero points' if zero_points else ''}"
        forms[name] = WeightSettings(bits, block_size=block, block_zero_points=zero_points, container="onnx")
    sessions = {name: product(args.size, settings) for name, settings in forms.items()}
    x = np.random.default_rng(1).standard_normal((1, args.size)).astype(np.float32)
    least = dict.fromkeys(sessions, np.inf)
    for _ in range(args.runs):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run({"x": x})
            least[name] = min(least[name], time.perf_counter() - start)
    print("| weights | ms | of float |")
    print("|---|---|---|")
    for name, seconds in least.items():
        print(f"| {name} | {1e3 * seconds:.2f} | {least['float'] / seconds:.1f}× faster |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
