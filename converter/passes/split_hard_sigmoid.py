"""HardSigmoid in the parts that TFLite has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph
from .edit import Edit, is_float_node
from .match import near
from .record import Change, Record, Refusal


def split_hard_sigmoid(graph: Graph) -> Iterator[Record]:
    """HardSigmoid ⇒ Mul → Add(relu6) → Mul.

    min(max(α·x + β, 0), 1) = relu6(6α·x + 6β) / 6; for α = 1/6 the first Mul is not there.

    Not on codes: their table has no parts.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "HardSigmoid":
            continue
        x, y = node.inputs[0], node.outputs[0]
        if x is None or not is_float_node(node) or x.dtype.kind != "f":
            yield Refusal("split_hard_sigmoid", node.name, "it computes on codes")
            continue
        alpha, beta, origin = 6 * node.attrs["alpha"], 6 * node.attrs["beta"], node.origin or (node.name,)
        factor, term, sixth = (
            edit.constant(np.asarray(v, x.dtype), f"{node.name}/{k}")
            for k, v in (("alpha", alpha), ("beta", beta), ("sixth", 1 / 6))
        )
        if not near(alpha, 1.0):
            x = edit.emit("Mul", [x, factor], at=node, origin=origin).outputs[0]
        x = edit.emit("Add", [x, term], {"act": "relu6"}, at=node, origin=origin).outputs[0]
        edit.emit("Mul", [x, sixth], at=node, name=node.name, outputs=[y], origin=origin)
        edit.drop(node)
        yield Change("split_hard_sigmoid", node.name, "is a clamped sum")
    edit.finish()
