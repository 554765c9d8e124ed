"""Seconds to convert a chain of N nodes, by N: how conversion grows with the number of nodes.

    python benchmarks/convert_chain.py [ADD_MUL|MATMUL_RELU|MUL|DIV] [N…]

Each figure is the least of three conversions of an .onnx to .ms, in seconds of this process, reading back included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np

WIDTH = 8


def chain(kind: str, count: int, path: str) -> None:
    """Writes an .onnx of `count` nodes, one behind the other, on float32 [1, 8]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    ops = kind.split("_")
    nodes, constants, last = [], [], "x"
    for k in range(count):
        op = ops[k % len(ops)]
        inputs = [last]
        if op != "RELU":
            shape = (WIDTH, WIDTH) if op == "MATMUL" else (WIDTH,)
            value = (rng.normal(size=shape) / 3 if op == "MATMUL" else rng.uniform(0.9, 1.1, shape)).astype(np.float32)
            constants.append(numpy_helper.from_array(value, f"c{k}"))
            inputs.append(f"c{k}")
        nodes.append(helper.make_node({"MATMUL": "MatMul"}.get(op, op.capitalize()), inputs, [f"t{k}"], f"n{k}"))
        last = f"t{k}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, WIDTH]) for name in ("x", last)]
    graph = helper.make_graph(nodes, kind, [ends[0]], [ends[1]], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def seconds(kind: str, count: int, repeats: int) -> float:
    """The least time of a conversion."""
    import bitlite

    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "chain.onnx")
        chain(kind, count, model)
        least = float("inf")
        for _ in range(repeats):
            start = time.process_time()
            bitlite.convert(model, os.path.join(folder, "out.ms"))
            least = min(least, time.process_time() - start)
        return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", default="ADD_MUL", help="operators, joined by _")
    parser.add_argument("counts", nargs="*", type=int, default=[1000, 2000, 4000, 8000, 16000])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print("nodes  seconds  ms/node")
    for count in args.counts:
        took = seconds(args.kind, count, args.repeats)
        print(f"{count:5}  {took:7.2f}  {took / count * 1e3:7.3f}")


if __name__ == "__main__":
    main()
