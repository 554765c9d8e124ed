"""Operators on codes that a container has no integer form for, as casts around the operator itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..ir import Graph, Node, Tensor, is_quantized
from ..ops import row
from ..schema.node import own_attrs
from ..schema.op import quant_spec
from .edit import Edit
from .record import Change, Record

# Functions that LiteRT computes on int8 codes; Swish is written as LOGISTIC and MUL on codes.
_LITERT = {
    "Abs", "Elu", "Exp", "Gelu", "HardSwish", "LeakyRelu", "Log", "Relu", "Relu6", "Sigmoid", "Swish", "Tanh",
}  # fmt: skip
_CLAMPS = ((-1.0, 1.0), (0.0, 1.0), (0.0, 6.0), (0.0, None))


def compute_between_casts(graph: Graph) -> Iterator[Record]:
    """Operator on codes ⇒ Dequantize → operator → Quantize, where TFLite has none on codes of these parameters.

    What an operator makes of codes is defined as exactly this: y = clamp(rne(f(dequantize(x)) / sy) + zy).

    Not for what TFLite has on codes.
    """
    yield from _open(graph, "compute_between_casts", _in_litert)


def compute_between_casts_for_ms(graph: Graph) -> Iterator[Record]:
    """Operator on codes ⇒ Dequantize → operator → Quantize, where MindSpore Lite has none on codes that is right.

    The codes stay the same; bitlite reads the three as one. Weights stay codes.

    Not for what MindSpore Lite computes on codes as it should, by a row's cell `Quant.mslite`.
    """
    yield from _open(graph, "compute_between_casts_for_ms", _in_ms)


def _open(graph: Graph, name: str, known: Callable[[Node], bool]) -> Iterator[Record]:
    edit = Edit(graph)
    for node in edit.nodes():
        cell = row(node.op).quant
        if cell is None or node.op in ("Quantize", "Dequantize") or not _on_codes(node) or known(node):
            continue
        origin = node.origin or (node.name,)
        reals: dict[Tensor, Tensor] = {}
        for i, t in enumerate(node.inputs):
            if t is None or not is_quantized(t) or t in reals or i in cell.weights:
                continue
            if i == cell.bias:
                reals[t] = edit.constant(t.real().astype(np.float32), f"{t.name}/real")
            else:
                reals[t] = edit.emit("Dequantize", [t], at=node, origin=origin).outputs[0]
        results = [
            Tensor(edit.name(f"{y.name}/real"), np.dtype(np.float32), y.shape, None, None, y.layout)
            if is_quantized(y)
            else y
            for y in node.outputs
        ]
        inputs = [None if t is None else reals.get(t, t) for t in node.inputs]
        edit.emit(node.op, inputs, own_attrs(node.attrs), at=node, name=node.name, outputs=results, origin=origin)
        for y, result in zip(node.outputs, results):
            if y is not result:
                edit.emit("Quantize", [result], {"dtype": y.dtype.name}, at=node, outputs=[y], origin=origin)
        edit.drop(node)
        yield Change(name, node.name, "computes between casts")
    edit.finish()


def _on_codes(node: Node) -> bool:
    """Whether it reads int8 codes and gives codes or integers (positions)."""
    cell = row(node.op).quant
    x = node.inputs[0] if node.inputs else None
    if cell is None or x is None or x.is_const or not is_quantized(x) or x.dtype != np.int8:
        return False
    return all(is_quantized(y) or (y.dtype.kind != "f" and y.quant is None) for y in node.outputs)


def _same_codes(node: Node) -> bool:
    """Whether input and output have the same parameters."""
    return node.required(0).quant == node.outputs[0].quant


def _has_fixed(node: Node) -> bool:
    """Whether the output has the parameters that kernels of this operator give."""
    cell, y = row(node.op).quant, node.outputs[0].quant
    if cell is None or cell.fixed is None or y is None:
        return True
    scale, zero = cell.fixed
    return y.scale.size == 1 and bool(np.isclose(y.scale[0], scale, rtol=1e-3)) and int(y.zero_point[0]) == zero


def _in_litert(node: Node) -> bool:
    cell = quant_spec(node)
    if cell.preserves_qparams(node) and not _same_codes(node):
        return False
    if node.op in ("Softmax", "LogSoftmax"):
        return _has_fixed(node)
    if node.op in ("BatchNorm", "ReverseSequence") or (node.op == "Reduce" and node.attrs["mode"] == "prod"):
        return False
    if node.op == "Reduce" and node.attrs["mode"] in ("max", "min"):
        return _same_codes(node)
    if node.op == "PRelu":
        return is_quantized(node.inputs[1])
    if not cell.table:
        return True
    if node.op == "Clip":
        return (node.attrs["min"], node.attrs["max"]) in _CLAMPS
    return node.op in _LITERT and (node.op != "Elu" or node.attrs["alpha"] == 1)


def _in_ms(node: Node) -> bool:
    cell = quant_spec(node)
    if cell.foreign_to_mslite(node):
        return False
    return _same_codes(node) if cell.preserves_qparams(node) else _has_fixed(node)
