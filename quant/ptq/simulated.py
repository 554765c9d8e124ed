"""The float graph with some of its tensors rounded to their codes: what these alone cost."""

from __future__ import annotations

from collections.abc import Mapping

from ...converter.ir import Graph, NameScope, Node, Tensor
from ...converter.numeric.packing import storage_dtype
from ...converter.numeric.qparams import QuantParam
from ...converter.schema.node import make_node


def with_codes(graph: Graph, activations: Mapping[Tensor, QuantParam]) -> Graph:
    """A graph that shares the tensors and attributes of `graph`, in which readers of `activations` read them through
    codes and back."""
    names = NameScope(item.name for group in (graph.tensors(), graph.nodes) for item in group)
    view = Graph(graph.name, [], list(graph.inputs), [], dict(graph.meta))
    read: dict[Tensor, Tensor] = {}

    def cast(t: Tensor) -> None:
        quant = activations.get(t)
        if quant is None or t.dtype.kind != "f":
            return
        dtype = storage_dtype(quant.bits)
        codes = Tensor(names.take(f"{t.name}/{dtype}"), dtype, t.shape, None, quant, t.layout)
        read[t] = Tensor(names.take(f"{t.name}/real"), t.dtype, t.shape, None, None, t.layout)
        for op, x, y, attrs in (("Quantize", t, codes, {"dtype": dtype.name}), ("Dequantize", codes, read[t], {})):
            view.nodes.append(make_node(op, [x], attrs, name=names.take(f"{y.name}/{op}"), outputs=[y]))

    for t in graph.inputs:
        cast(t)
    for node in graph.nodes:
        inputs = [None if t is None else read.get(t, t) for t in node.inputs]
        view.nodes.append(Node(node.op, node.name, inputs, list(node.outputs), node.attrs, node.origin))
        for t in node.outputs:
            cast(t)
    view.outputs = [read.get(t, t) for t in graph.outputs]
    return view
