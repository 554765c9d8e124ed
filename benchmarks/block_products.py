"""A matrix times a vector with weights in blocks, beside float, as a markdown table: milliseconds, one thread.

    python benchmarks/block_products.py [SIZE] [--runs 30] [--onnxruntime]

The least of runs taken in turns, in one process. --onnxruntime: beside its MatMulNBits on inputs of float32, and on
those that it takes to 8 bits (accuracy levels 1 and 4).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable

import bitlite
import numpy as np
from bitlite.converter.formats import onnx
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights


def product(size: int, settings: WeightSettings | None) -> Graph:
    rng = np.random.default_rng(0)
    graph = Graph("product")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, size))
    w = build.constant(rng.standard_normal((size, size), np.float32), "w")
    graph.outputs = build.emit("FullyConnected", [x, w], name="product")
    if settings is not None:
        quantize_graph_weights(graph, settings)
    return graph


def peer(graph: Graph, level: int) -> Callable[[dict[str, np.ndarray]], object]:
    """onnxruntime with inputs of float32 (level 1) or of 8 bits (4)."""
    import onnxruntime
    from onnx import helper, load

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/product.onnx"
        onnx.write(graph, path)
        model = load(path)
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            node.attribute.append(helper.make_attribute("accuracy_level", level))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda feed: session.run(None, feed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--onnxruntime", action="store_true")
    args = parser.parse_args()
    forms: dict[str, WeightSettings | None] = {"float": None}
    for bits, block, zero_points in ((4, 32, False), (4, 128, False), (4, 32, True), (8, 32, False)):
        name = f"{bits} bits, blocks of {block}{', zero points' if zero_points else ''}"
        forms[name] = WeightSettings(bits, block_size=block, block_zero_points=zero_points, container="onnx")
    runs: dict[str, Callable[[dict[str, np.ndarray]], object]] = {}
    for name, settings in forms.items():
        graph = product(args.size, settings)
        if args.onnxruntime:
            runs[f"{name}, onnxruntime"] = peer(graph, 1)
            if settings is not None:
                runs[f"{name}, onnxruntime, inputs of 8 bits"] = peer(graph, 4)
        runs[name] = bitlite.Session(graph, 1).run
    x = {"x": np.random.default_rng(1).standard_normal((1, args.size)).astype(np.float32)}
    least = dict.fromkeys(runs, np.inf)
    for _ in range(args.runs):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x)
            least[name] = min(least[name], time.perf_counter() - start)
    print("| weights | ms | of float |")
    print("|---|---|---|")
    for name, seconds in least.items():
        print(f"| {name} | {1e3 * seconds:.2f} | {least['float'] / seconds:.1f}× faster |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
