"""A model of several GB with external data to 4 bits in blocks, as a whole process: seconds, peak memory, bytes.

    python benchmarks/large_model.py [--gb 3] [--folder /tmp] [-- converter_lite flags …]

Makes a chain of matrix products of normal weights, 4096 wide, beside which the folder needs about 1.4 times their size;
both are deleted at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from convert_cost import bitlite, cost
from onnx import TensorProto, helper, save

_WIDTH = 4096
_FLAGS = ["--quantType=WeightQuant", "--bitNum=4", "--blockSize=32", "--outputFormat=ONNX"]


def write(folder: Path, size: int) -> Path:
    """A model of `size` bytes of float32 weights."""
    rng = np.random.default_rng(0)
    matrix = 4 * _WIDTH * _WIDTH
    count = -(-size // matrix)
    weights = []
    with open(folder / "weights.bin", "wb") as file:
        for i in range(count):
            rng.standard_normal((_WIDTH, _WIDTH), np.float32).tofile(file)
            w = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[_WIDTH, _WIDTH])
            w.data_location = TensorProto.EXTERNAL
            for key, value in {"location": "weights.bin", "offset": i * matrix, "length": matrix}.items():
                w.external_data.add(key=key, value=str(value))
            weights.append(w)
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(count)]
    ends = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1, _WIDTH]) for i in (0, count)]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "large.onnx")
    return folder / "large.onnx"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=3)
    parser.add_argument("--folder", default="/tmp")
    parser.add_argument("flags", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        model = write(folder, int(args.gb * 1e9))
        before = sum(file.stat().st_size for file in folder.iterdir())
        wall, processor, memory = cost(bitlite(str(model), folder, [*_FLAGS, *args.flags]))
        after = sum(file.stat().st_size for file in folder.iterdir()) - before
    print(f"{before / 1e9:.2f} GB to {after / 1e9:.2f} GB: {memory:.0f} MB")
    print(f"{wall:.0f} s, {processor:.0f} s of processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
