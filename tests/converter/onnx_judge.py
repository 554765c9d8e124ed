"""onnxruntime as a judge of integer products, exact on every CPU.

Where the CPU has no instruction for products of 8 bits, onnxruntime adds each pair of products uint8 × int8 in
saturating 16 bits (vpmaddubsw): 255 · 127 · 2 does not fit. With the weights as uint8, each code and its zero point 128
more, the network is the same, and its kernels for uint8 × uint8 are exact. A product that saturates tells, not the
CPU's name.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

# What multiplies integers: per weight of a node, the input it is, its zero point's, and the activations' (None: uint8).
WEIGHTS = {
    "ConvInteger": [(1, 3, 0)],
    "DynamicQuantizeLSTM": [(1, 9, None), (2, 11, None)],
    "DynamicQuantizeMatMul": [(1, 3, None)],
    "MatMulInteger": [(1, 3, 0)],
    "MatMulIntegerToFloat": [(1, 5, 0)],
    "QAttention": [(1, 7, 0)],
    "QGemm": [(3, 5, 0)],
    "QLinearConv": [(3, 5, 0)],
    "QLinearMatMul": [(3, 5, 0)],
}


def session(model: onnx.ModelProto, options: onnxruntime.SessionOptions | None = None) -> onnxruntime.InferenceSession:
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@functools.cache
def saturates(activation: str) -> bool:
    """Whether onnxruntime loses part of a product of `activation` ("uint8", "int8") and int8 weights on this CPU."""
    dtype = np.dtype(activation)
    a = np.full((8, 64), np.iinfo(dtype).max, dtype)
    w = np.full((64, 16), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "w", "za"], ["y"])],
        "g",
        [helper.make_tensor_value_info("a", helper.np_dtype_to_tensor_dtype(dtype), a.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [8, 16])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(np.array(0, dtype), "za")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (y,) = session(model).run(None, {"a": a})
    return not np.array_equal(y, a.astype(np.int32) @ w.astype(np.int32))


def exact(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The same network and inputs in a form that onnxruntime computes without saturation on this CPU.

    Weights are initializers or inputs of the model; a weight that a node computes is left as it is.
    """
    if not saturates("uint8"):
        return model, feeds
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    editing = _Moved(moved.graph, dict(feeds))
    for node in list(moved.graph.node):
        for weight, zero, activation in WEIGHTS.get(node.op_type, ()):
            if activation is None or editing.dtype(node.input[activation]) != np.int8:
                editing.move(node, weight, zero)
        if node.op_type == "DequantizeLinear" and editing.is_matrix(node.input[0]):
            editing.move(node, 0, 2)
    return moved, editing.feeds


class _Moved:
    """A graph whose int8 weights become uint8, one by one; a weight that several nodes read moves for each."""

    def __init__(self, graph: onnx.GraphProto, feeds: dict[str, np.ndarray]):
        self.graph, self.feeds = graph, feeds
        self.stored = {t.name: t for t in graph.initializer}
        self.inputs = {t.name: t for t in graph.input}

    def dtype(self, name: str) -> Any:
        """Of an initializer or input; of what a node computes: None."""
        if name in self.stored:
            return helper.tensor_dtype_to_np_dtype(self.stored[name].data_type)
        if name in self.inputs:
            return helper.tensor_dtype_to_np_dtype(self.inputs[name].type.tensor_type.elem_type)
        return None

    def is_matrix(self, name: str) -> bool:
        return name in self.stored and len(self.stored[name].dims) > 1

    def move(self, node: onnx.NodeProto, weight: int, zero: int) -> None:
        if self.dtype(node.input[weight]) != np.int8:
            return
        while len(node.input) <= zero:
            node.input.append("")
        if node.input[zero] == "":
            node.input[zero] = self.store(f"{node.input[weight]}.zero_point", np.array(0, np.int8))
        for i in (weight, zero):
            node.input[i] = self.as_uint8(node.input[i])

    def store(self, name: str, value: np.ndarray) -> str:
        if name not in self.stored:
            self.graph.initializer.append(numpy_helper.from_array(value, name))
            self.stored[name] = self.graph.initializer[-1]
        return name

    def as_uint8(self, name: str) -> str:
        if name in self.stored:
            return self.store(f"{name}.uint8", numpy_helper.to_array(self.stored[name]).view(np.uint8) ^ np.uint8(128))
        if self.dtype(name) == np.int8:
            self.inputs[name].type.tensor_type.elem_type = onnx.TensorProto.UINT8
            self.feeds[name] = self.feeds[name].view(np.uint8) ^ np.uint8(128)
        return name


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], options: Any = None) -> list[np.ndarray]:
    """onnxruntime's outputs of a model, its integer products exact."""
    model, feeds = exact(model, feeds)
    return session(model, options).run(None, feeds)
