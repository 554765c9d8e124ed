"""Makes the plan and the files for the speed of recurrent layers beside onnxruntime and OpenVINO.

    python benchmarks/recurrent_plan.py PEERS_DIR WORK_DIR      → WORK_DIR/plan.json
    python benchmarks/latency.py WORK_DIR/plan.json --write docs/benchmarks.md --section "Recurrent layers"

Networks as PyTorch exports them, with random weights, in float and with weights of 8 bits and activations quantized
while running: bitlite's DYNAMIC_QUANT beside onnxruntime's quantize_dynamic, which leaves a GRU in float. PEERS_DIR
holds `py/`, an environment with onnxruntime and OpenVINO.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import bitlite
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# title → operator, input and hidden size, layers, steps, sequences, directions
NETWORKS = {
    "LSTM 64-128-128": ("LSTM", 64, 128, 2, 50, 1, 1),
    "GRU 64-128-128": ("GRU", 64, 128, 2, 50, 1, 1),
    "LSTM 64-256, both directions": ("LSTM", 64, 256, 1, 100, 1, 2),
    "LSTM 64-128, 8 sequences": ("LSTM", 64, 128, 1, 50, 8, 1),
    "LSTM 64-512": ("LSTM", 64, 512, 1, 30, 1, 1),
}
_NOTE = (
    "int8: weights of 8 bits, activations quantized while running, bitlite's DYNAMIC_QUANT beside onnxruntime's "
    "quantize_dynamic, which leaves a GRU in float."
)
_THEIRS = """
import sys
from onnxruntime.quantization import quantize_dynamic
quantize_dynamic(sys.argv[1], sys.argv[2])
"""


def network(
    op: str, size: int, hidden: int, layers: int, steps: int, batch: int, directions: int, seed: int = 0
) -> onnx.ModelProto:
    """x [steps, batch, size] → [steps, batch, directions * hidden], its weights uniform as PyTorch starts them."""
    rng, limit = np.random.default_rng(seed), hidden**-0.5
    first, rows = size, {"LSTM": 4, "GRU": 3}[op] * hidden
    fields = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
    if op == "GRU":
        fields["linear_before_reset"] = 1
    nodes, weights, x = [], [numpy_helper.from_array(np.array([0, 0, -1], np.int64), "shape")], "x"
    for k in range(layers):
        shapes = {"w": (directions, rows, size), "r": (directions, rows, hidden), "b": (directions, 2 * rows)}
        for name, shape in shapes.items():
            values = rng.uniform(-limit, limit, shape).astype(np.float32)
            weights.append(numpy_helper.from_array(values, f"{name}{k}"))
        nodes.append(helper.make_node(op, [x, f"w{k}", f"r{k}", f"b{k}"], [f"y{k}"], **fields))
        nodes.append(helper.make_node("Transpose", [f"y{k}"], [f"t{k}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"t{k}", "shape"], [f"x{k}"]))
        x, size = f"x{k}", directions * hidden
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [steps, batch, width])]
        for name, width in (("x", first), (x, size))
    ]
    graph = helper.make_graph(nodes, op, *ports, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(peers: str, work: str) -> None:
    python = [os.path.join(peers, "py/bin/python")]
    plan: dict[str, Any] = {"note": _NOTE, "runtimes": dict.fromkeys(("onnxruntime", "openvino"), python), "models": {}}
    os.makedirs(work, exist_ok=True)
    for k, (title, sizes) in enumerate(NETWORKS.items()):
        stem = os.path.join(work, f"recurrent{k}")
        onnx.save(network(*sizes), f"{stem}.onnx")
        bitlite.convert(f"{stem}.onnx", f"{stem}_int8", quant_type="DYNAMIC_QUANT", output_format="ONNX")
        subprocess.run([*python, "-c", _THEIRS, f"{stem}.onnx", f"{stem}_theirs.onnx"], check=True)
        plan["models"][f"{title}, float"] = dict.fromkeys(("bitlite", "onnxruntime", "openvino"), f"{stem}.onnx")
        plan["models"][f"{title}, int8"] = {"bitlite": f"{stem}_int8.onnx", "onnxruntime": f"{stem}_theirs.onnx"}
    plan["models"] = dict(sorted(plan["models"].items(), key=lambda item: "float" in item[0]))
    with open(os.path.join(work, "plan.json"), "w", encoding="utf-8") as out:
        json.dump(plan, out, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:3])
