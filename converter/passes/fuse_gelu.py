"""Finds Gelu in its parts."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..ir import Graph, Node, Tensor
from .edit import Edit, is_float_node
from .match import collapse, is_product, is_scalar, near, plus_constant, product_of
from .record import Change, Record


def fuse_gelu(graph: Graph) -> Iterator[Record]:
    """½ · x · (1 + Erf(x / √2)) ⇒ Gelu(x), and ½ · x · (1 + Tanh(√(2/π) · (x + 0.044715 · x³))) ⇒ Gelu(approximate).

    The factors may come in any order, as Mul or Div; x³ as Pow or as products.

    Not when a value in between has other readers.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if not is_product(node):
            continue
        product = product_of(edit, node)
        if len(product.factors) != 2 or not near(product.coefficient, 0.5):
            continue
        for x, gate in (product.factors, product.factors[::-1]):
            match = _gate(edit, gate, x)
            if match is not None and x.shape == node.outputs[0].shape:
                approximate, nodes = match
                collapse(edit, node, [*nodes, *product.nodes], "Gelu", [x], {"approximate": approximate})
                yield Change("fuse_gelu", node.name, f"{len(nodes) + len(product.nodes) + 1} nodes are a Gelu")
                break
    edit.finish()


def _gate(edit: Edit, gate: Tensor, x: Tensor) -> tuple[bool, list[Node]] | None:
    """(approximate, nodes) when `gate` is 1 + erf(…) or 1 + tanh(…) of x."""
    add = edit.producer(gate)
    parts = plus_constant(add)
    if add is None or parts is None or edit.only_reader(gate) is None or not near(parts[1], 1.0):
        return None
    curve = edit.producer(parts[0])
    if curve is None or edit.only_reader(parts[0]) is not add or not is_float_node(curve):
        return None
    inner = curve.inputs[0]
    scaled = edit.producer(inner)
    if scaled is None or inner is None or edit.only_reader(inner) is not curve or not is_product(scaled):
        return None
    product = product_of(edit, scaled)
    nodes = [*product.nodes, scaled, curve, add]
    if curve.op == "Erf" and product.factors == [x] and near(product.coefficient, math.sqrt(0.5)):
        return False, nodes
    if curve.op == "Tanh" and len(product.factors) == 1 and near(product.coefficient, math.sqrt(2 / math.pi)):
        cubic = _cubic(edit, product.factors[0], x)
        return None if cubic is None else (True, [*cubic, *nodes])
    return None


def _cubic(edit: Edit, tensor: Tensor, x: Tensor) -> list[Node] | None:
    """The nodes of x + 0.044715 · x³."""
    add = edit.producer(tensor)
    if add is None or add.op != "Add" or add.attrs["act"] != "none" or edit.only_reader(tensor) is None:
        return None
    other = [t for t in add.inputs if t is not x]
    term = edit.producer(other[0]) if len(other) == 1 else None
    if term is None or other[0] is None or edit.only_reader(other[0]) is not add or not is_product(term):
        return None
    product = product_of(edit, term)
    nodes = [*product.nodes, term, add]
    if not near(product.coefficient, 0.044715, 1e-4):
        return None
    if product.factors == [x, x, x]:
        return nodes
    powers = [edit.producer(t) for t in product.factors if t is not x]
    if len(powers) != 1 or powers[0] is None or powers[0].inputs[0] is not x:
        return None
    power = powers[0]
    if edit.only_reader(power.outputs[0]) is None:
        return None
    degree = 3 - product.factors.count(x)
    square = power.op == "Square" and degree == 2
    return [power, *nodes] if square or (power.op == "Pow" and is_scalar(power.input(1), degree)) else None
