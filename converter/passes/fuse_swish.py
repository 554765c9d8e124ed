"""Finds Swish in its parts."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from .edit import Edit, is_float_node
from .match import collapse, is_product, near, product_of
from .record import Change, Record


def fuse_swish(graph: Graph) -> Iterator[Record]:
    """x · Sigmoid(x) ⇒ Swish(x).

    Not when the gate has other readers, nor when a factor other than 1 is multiplied in.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if not is_product(node):
            continue
        product = product_of(edit, node)
        if len(product.factors) != 2 or not near(product.coefficient, 1.0):
            continue
        for x, gate in (product.factors, product.factors[::-1]):
            sigmoid = edit.producer(gate)
            if sigmoid is None or sigmoid.op != "Sigmoid" or sigmoid.inputs[0] is not x:
                continue
            if edit.only_reader(gate) is not None and is_float_node(sigmoid) and x.shape == node.outputs[0].shape:
                collapse(edit, node, [sigmoid, *product.nodes], "Swish", [x], {})
                yield Change("fuse_swish", node.name, "a value times its own sigmoid is a Swish")
                break
    edit.finish()
