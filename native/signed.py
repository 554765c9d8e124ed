"""uint8 codes as int8 ones: the same reals with a zero point 128 lower, which is what the kernels are written for."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..converter.ir import Graph, NameScope, Node, Tensor, is_quantized
from ..converter.ops import row
from ..converter.schema.node import make_node

_SHIFT = 128


def with_signed_codes(graph: Graph) -> Graph:
    """The graph itself when nothing is to be done, else a copy in which quantized uint8 activations are int8.

    Inputs and outputs of the graph stay uint8, with a Quantize behind or before them that subtracts or adds 128. A
    tensor keeps its type where a node takes its codes as plain numbers.
    """
    if not any(_is_unsigned(t) for n in graph.nodes for t in (*n.inputs, *n.outputs)):
        return graph
    graph = graph.copy()
    plain = {t for n in graph.nodes if not _reads_reals(n) for t in (*n.inputs, *n.outputs) if t is not None}
    names = NameScope(item.name for group in (graph.tensors(), graph.nodes) for item in group)
    before: list[Node] = []
    after: list[Node] = []
    for t in list(dict.fromkeys(t for n in graph.nodes for t in (*n.inputs, *n.outputs))):
        if t is None or not _is_unsigned(t) or t in plain:
            continue
        is_input, is_output = t in graph.inputs, t in graph.outputs
        if not (is_input or is_output):
            _shift(t)
            continue
        inner = Tensor(names.take(f"{t.name}/int8"), t.dtype, t.shape, None, t.quant)
        _shift(inner)
        for node in graph.nodes:
            node.inputs = [inner if i is t else i for i in node.inputs]
            node.outputs = [inner if o is t else o for o in node.outputs]
        cast = (t, inner, "int8") if is_input else (inner, t, "uint8")
        node = make_node("Quantize", [cast[0]], {"dtype": cast[2]}, name=f"{t.name}/cast", outputs=[cast[1]])
        (before if is_input else after).append(node)
    for node in graph.nodes:
        if node.op == "Quantize":
            node.attrs["dtype"] = node.outputs[0].dtype.name
    graph.nodes[:] = [*before, *graph.nodes, *after]
    return graph


def _is_unsigned(t: Tensor | None) -> bool:
    if t is None or t.data is not None or t.dtype != np.uint8 or not is_quantized(t):
        return False
    return t.quant is not None and t.quant.bits == 8


def _reads_reals(node: Node) -> bool:
    """Whether the node's meaning depends on the values that its codes stand for alone."""
    return node.op != "Reinterpret" and row(node.op).integer is not None


def _shift(t: Tensor) -> None:
    t.dtype = np.dtype(np.int8)
    t.quant = dataclasses.replace(t.qparams, zero_point=t.qparams.zero_point - _SHIFT)
