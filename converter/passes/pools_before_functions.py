"""The largest values of a window before a function of each, where that never falls."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from ..ir import Graph, Node
from .edit import Edit
from .record import Change, Record


def pools_before_functions(graph: Graph, kept: Collection[Node] = ()) -> Iterator[Record]:
    """MaxPool(f(x)), f never falling ⇒ f(MaxPool(x)): the largest value has the largest result.

    So codes between the layer and f need to hold maxima alone, and f is computed for no more than is left.

    Not where something else reads f's output, too.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        y = node.outputs[0] if node.outputs else None
        pool = None if y is None or y.dtype != np.float32 or node in kept or not _rises(node) else edit.only_reader(y)
        if pool is None or pool.op != "MaxPool" or pool.attrs["act"] != "none" or pool in kept:
            continue
        x, origin = node.required(0), pool.origin or (pool.name,)
        largest = edit.emit("MaxPool", [x], pool.attrs, at=pool, name=pool.name, origin=origin).outputs[0]
        inputs, origin = [largest, *node.inputs[1:]], node.origin or (node.name,)
        edit.emit(node.op, inputs, node.attrs, at=pool, name=node.name, outputs=pool.outputs, origin=origin)
        edit.drop(pool)
        yield Change("pools_before_functions", node.name, f"stands behind {pool.name!r}")
    edit.finish()


def _rises(node: Node) -> bool:
    """Whether a larger input gives no smaller output, whatever the place in height and width."""
    if node.op in ("LeakyRelu", "Elu"):
        return node.attrs["alpha"] >= 0
    if node.op == "PRelu":
        slope = node.required(1).data
        return slope is not None and slope.shape[-1:] == (slope.size,) and bool((slope >= 0).all())
    return node.op in ("Relu", "Relu6", "Sigmoid", "Tanh")
