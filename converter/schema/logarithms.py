"""Layers whose values reach a logarithm: spectra, whose quiet parts count there as much as the loud ones.

What keeps a layer's values to the least squared error, or takes its inputs to 8 bits, keeps the loud parts alone: a
shift that is nothing to these is more than quiet ones hold.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir import Graph, Node, Tensor
from .op import quant_spec

_MAGNITUDES = {"Abs", "Add", "Mul", "Reduce", "Sqrt", "Square"}  # of complex numbers, and sums of them
_BOUNDS = {"Add", "Clip", "Maximum", "Minimum", "Mul", "Relu"}  # lest the logarithm reads 0


def before_logarithms(graph: Graph) -> set[Node]:
    """The layers between which and a Log are bounds, scales and moves alone, and those in front of these whose
    magnitudes they add up."""
    return {node for node in on_the_way_to_logarithms(graph) if quant_spec(node).weights}


def on_the_way_to_logarithms(graph: Graph) -> set[Node]:
    """Each Log, these layers, what is between them, and what gives other values that so reach a Log."""
    made = graph.producers()
    ends = {node for node in graph.nodes if node.op == "Log"}
    near = _before(ends, made, _BOUNDS)
    return ends | near | _before({node for node in near if quant_spec(node).weights}, made, _MAGNITUDES)


def _before(nodes: set[Node], made: Mapping[Tensor, Node], passed: set[str]) -> set[Node]:
    """What is in front of nodes up to the first that is neither passed nor only moves values, which is among them."""
    seen, to_see = set[Node](), list(nodes)
    while to_see:
        for t in to_see.pop().inputs:
            before = made.get(t) if t is not None and t.dtype.kind == "f" else None
            if before is None or before in seen:
                continue
            seen.add(before)
            spec = quant_spec(before)
            if not spec.weights and (before.op in passed or spec.output_of(before) == "same"):
                to_see.append(before)
    return seen
