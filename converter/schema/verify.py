"""What every graph keeps to, checked after every pass."""

from __future__ import annotations

from ..errors import GraphError
from ..ir import Graph, Tensor
from .op import row


def verify(graph: Graph) -> None:
    """Checks SSA form, topological order, names, states and what the rows ask of their nodes.

    Raises:
        GraphError: names the place.
    """
    known: set[int] = set()
    names: dict[str, Tensor] = {}

    def define(tensor: Tensor, where: str) -> None:
        if id(tensor) in known:
            raise GraphError(f"tensor {tensor.name!r} is defined twice, again by {where}")
        if names.setdefault(tensor.name, tensor) is not tensor:
            raise GraphError(f"two tensors are named {tensor.name!r}, the second in {where}")
        tensor.check_quant()
        known.add(id(tensor))

    for tensor in graph.inputs:
        define(tensor, "the graph's inputs")
    for node in graph.nodes:
        row(node.op).check(node)
        for tensor in node.inputs:
            if tensor is None or id(tensor) in known:
                continue
            if not tensor.is_const:
                raise GraphError(f"{node.name} ({node.op}) reads {tensor.name!r} before anything produces it")
            define(tensor, node.name)
            if tensor.data is not None and tensor.shape != tensor.data.shape:
                raise GraphError(f"constant {tensor.name!r} says shape {tensor.shape} and holds {tensor.data.shape}")
        for tensor in node.outputs:
            define(tensor, node.name)
    for tensor in graph.outputs:
        if id(tensor) not in known:
            if not tensor.is_const:
                raise GraphError(f"graph output {tensor.name!r} is produced by nothing")
            define(tensor, "the graph's outputs")
    if len(graph.states) > min(len(graph.inputs), len(graph.outputs)):
        raise GraphError(f"{len(graph.states)} states, and not as many inputs and outputs")
    for first, (before, after) in zip(graph.states, graph.state_pairs):
        if before.dtype != after.dtype or before.shape != after.shape or before.shape != first.shape:
            raise GraphError(f"state {before.name!r} starts as {first.shape} and goes from {before} to {after}")
