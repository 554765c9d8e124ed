"""A quantized graph beside the float one that it was made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.schema.op import quant_spec
from .placement import weight_index


@dataclass
class Layer:
    """A layer with a weight in both graphs. bias is float for a last layer (float output) and for one that computes in
    float on a weight in codes, int32 otherwise."""

    source: Node
    node: Node
    weight: Tensor
    bias: Tensor
    last: bool


@dataclass
class QuantizedGraph:
    """The rewritten graph, and how it relates to the float one.

    quantized_of: float tensor → its codes. node: float node → its rewritten form. weighted_layers: by float node, those
    with a weight that read codes; stored: those in float whose weight is in codes. shared: weights of several layers,
    in codes that are the same for all. notes: what a user should know.
    """

    graph: Graph
    quantized_of: dict[Tensor, Tensor] = field(default_factory=dict)
    node: dict[Node, Node] = field(default_factory=dict)
    weighted_layers: dict[Node, Layer] = field(default_factory=dict)
    stored: dict[Node, Layer] = field(default_factory=dict)
    shared: set[Tensor] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def beside(source: Graph, graph: Graph) -> QuantizedGraph:
    """A graph and what it was copied from, node by node."""
    pairs = list(zip(source.nodes, graph.nodes))
    tensors = [*zip(source.inputs, graph.inputs), *(p for a, b in pairs for p in zip(a.outputs, b.outputs))]
    return QuantizedGraph(graph, dict(tensors), dict(pairs))


def note_stored(quantized: QuantizedGraph, every: bool = False) -> None:
    """Fills `quantized.stored` once weights of layers in float are codes: each with a bias of its own, a constant.
    every: with the layers whose weights are float, too."""
    seen, readers = set[Tensor](), quantized.graph.consumers()
    for source, node in quantized.node.items():
        index, cell = weight_index(source), quant_spec(source)
        w = node.inputs[index] if index is not None and source not in quantized.weighted_layers else None
        if w is None or not w.is_const or cell.bias is None:
            continue
        if not every and (w.quant is None or w.dtype.kind != "i"):
            continue
        if w in seen:
            quantized.shared.add(w)
        seen.add(w)
        channels = node.outputs[0].size(-1)
        given = node.input(cell.bias)
        if given is not None and not given.is_const:
            continue  # no bias of its own to correct
        value = np.zeros(channels, np.float32) if given is None else given.real().reshape(-1)
        name = f"{node.name}/bias" if given is None else given.name
        if given is not None and len(readers[given]) > 1:
            name = f"{given.name}/{node.name}"
        bias = Tensor(name, value.dtype, value.shape, value)
        node.inputs += [None] * (cell.bias + 1 - len(node.inputs))
        node.inputs[cell.bias] = bias
        quantized.stored[source] = Layer(source, node, w, bias, False)
