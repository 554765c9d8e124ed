"""Finds HardSwish in its parts."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph, Node, Tensor
from .edit import Edit, is_float_node
from .match import clamp_of, collapse, constant_operand, is_product, is_scalar, near, product_of
from .record import Change, Record


def fuse_hard_swish(graph: Graph) -> Iterator[Record]:
    """x · Relu6(x + 3) / 6 ⇒ HardSwish(x), and so x · HardSigmoid(x) with α = 1/6, β = 1/2.

    The factors and the 1/6 may come in any order, as Mul or Div.

    Not when the value before or behind the clamp has other readers.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if not is_product(node):
            continue
        product = product_of(edit, node)
        if len(product.factors) != 2:
            continue
        for x, gate in (product.factors, product.factors[::-1]):
            match = _gate(edit, gate, x)
            if match is not None and near(product.coefficient, match[0]) and x.shape == node.outputs[0].shape:
                collapse(edit, node, [*match[1], *product.nodes], "HardSwish", [x], {})
                yield Change(
                    "fuse_hard_swish", node.name, f"{len(match[1]) + len(product.nodes) + 1} nodes are a HardSwish"
                )
                break
    edit.finish()


def _gate(edit: Edit, gate: Tensor, x: Tensor) -> tuple[float, list[Node]] | None:
    """(the factor still missing, nodes) when `gate` is relu6(x + 3) or x's hard sigmoid."""
    node = edit.producer(gate)
    if node is None or edit.only_reader(gate) is None or not is_float_node(node):
        return None
    if node.op == "HardSigmoid":
        exact = near(node.attrs["alpha"], 1 / 6) and near(node.attrs["beta"], 0.5) and node.inputs[0] is x
        return (1.0, [node]) if exact else None
    nodes = [node]
    if clamp_of(node) == (0.0, 6.0):
        inner = node.inputs[0]
        before = edit.producer(inner)
        if before is None or inner is None or edit.only_reader(inner) is not node or before.attrs.get("act") != "none":
            return None
        nodes, node = [before, node], before
    elif node.attrs.get("act") != "relu6":
        return None
    operands = constant_operand(node) if node.op == "Add" else None
    if operands is None or operands[0] is not x or not is_scalar(operands[1], 3.0):
        return None
    return 1 / 6, nodes
