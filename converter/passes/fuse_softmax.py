"""Finds Softmax in its parts."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph, Node, Tensor
from .edit import Edit, is_float_node
from .match import collapse
from .record import Change, Record


def fuse_softmax(graph: Graph) -> Iterator[Record]:
    """Exp(x - max(x)) / Σ Exp(x - max(x)) ⇒ Softmax(x), along one axis.

    Not when a value in between has other readers, nor without the subtraction: then large values overflow in the source
    and would not in a Softmax.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "Div" or node.attrs["act"] != "none" or not is_float_node(node):
            continue
        exp, total = edit.producer(node.inputs[0]), edit.producer(node.inputs[1])
        if exp is None or exp.op != "Exp" or total is None or total.inputs[0] is not exp.outputs[0]:
            continue
        minus = edit.producer(exp.inputs[0])
        peak = edit.producer(minus.inputs[1]) if minus is not None and minus.op == "Sub" else None
        if minus is None or peak is None or minus.attrs["act"] != "none" or peak.inputs[0] is not minus.inputs[0]:
            continue
        axis = _axis(total, "sum")
        if axis is None or axis != _axis(peak, "max"):
            continue
        inside = [peak, minus, exp, total]
        if any(_seen_outside(edit, n.outputs[0], [*inside, node]) for n in inside):
            continue
        collapse(edit, node, inside, "Softmax", [minus.inputs[0]], {"axis": axis, "beta": 1.0})
        yield Change("fuse_softmax", node.name, "5 nodes are a Softmax")
    edit.finish()


def _axis(node: Node, mode: str) -> int | None:
    """The one axis of a reduction that keeps it."""
    if node.op != "Reduce" or node.attrs["mode"] != mode or not node.attrs["keep_dims"] or node.input(1) is not None:
        return None
    axes, x = node.attrs["axes"], node.inputs[0]
    if axes is None or len(axes) != 1 or x is None or x.shape is None:
        return None
    return axes[0] % len(x.shape)


def _seen_outside(edit: Edit, tensor: Tensor, nodes: list[Node]) -> bool:
    return edit.is_output(tensor) or any(r not in nodes for r in edit.readers(tensor))
