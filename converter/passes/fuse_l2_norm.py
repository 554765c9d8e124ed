"""Finds L2 normalization in its parts."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..ir import Graph, Node, Tensor
from .edit import Edit, is_float_node
from .match import clamp_of, collapse, constant_operand, scalar
from .record import Change, Record


def fuse_l2_norm(graph: Graph) -> Iterator[Record]:
    """x / max(√Σx², ε) ⇒ LpNorm(x), and x · 1/√max(Σx², ε²), as TensorFlow writes it.

    The maximum may be missing (ε = 0) where the norm is a Reduce of mode l2.

    Not when a value in between has other readers.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op not in ("Div", "Mul") or node.attrs["act"] != "none" or not is_float_node(node):
            continue
        a, b = node.inputs[0], node.inputs[1]
        for x, norm in ((a, b), (b, a))[: 1 if node.op == "Div" else 2]:
            if x is None or x.shape != node.outputs[0].shape:
                continue
            parts = _norm(edit, norm, x, inverted=node.op == "Mul")
            if parts is None or any(_seen(edit, n.outputs[0], [*parts[2], node]) for n in parts[2]):
                continue
            axes, epsilon, inside = parts
            collapse(edit, node, inside, "LpNorm", [x], {"axes": axes, "p": 2, "epsilon": epsilon})
            yield Change("fuse_l2_norm", node.name, f"{len(inside) + 1} nodes are an L2 normalization")
            break
    edit.finish()


def _seen(edit: Edit, tensor: Tensor, nodes: list[Node]) -> bool:
    return edit.is_output(tensor) or any(r not in nodes for r in edit.readers(tensor))


def _norm(edit: Edit, tensor: Tensor | None, x: Tensor, inverted: bool) -> tuple[list[int], float, list[Node]] | None:
    """(axes, ε, nodes) when the tensor is max(√Σx², ε), or its inverse."""
    node = edit.producer(tensor)
    if node is None:
        return None
    if inverted:
        if node.op != "Rsqrt":
            return None
        low = _at_least(edit, node.inputs[0])
        total = edit.producer(low[0]) if low is not None else None
        axes = _sum_of_squares(edit, total, x)
        if low is None or axes is None or low[1] <= 0:
            return None
        return axes[0], math.sqrt(low[1]), [*axes[1], *low[2], node]
    low = _at_least(edit, tensor)
    inner, epsilon, nodes = low if low is not None else (tensor, 0.0, [])
    root = edit.producer(inner)
    if root is not None and root.op == "Reduce" and root.attrs["mode"] == "l2":
        axes = _axes(root, x)
        return None if axes is None else (axes, epsilon, [root, *nodes])
    if root is None or root.op != "Sqrt" or epsilon <= 0:
        return None
    squares = _sum_of_squares(edit, edit.producer(root.inputs[0]), x)
    return None if squares is None else (squares[0], epsilon, [*squares[1], root, *nodes])


def _at_least(edit: Edit, tensor: Tensor | None) -> tuple[Tensor, float, list[Node]] | None:
    """(t, ε, nodes) of max(t, ε)."""
    node = edit.producer(tensor)
    if node is None or not is_float_node(node):
        return None
    if node.op == "Maximum" and (operands := constant_operand(node)) is not None:
        value = scalar(operands[1])
        return None if value is None or value < 0 else (operands[0], value, [node])
    bounds = clamp_of(node)
    if bounds is None or bounds[0] is None or bounds[0] < 0 or bounds[1] is not None or node.inputs[0] is None:
        return None
    return node.inputs[0], bounds[0], [node]


def _sum_of_squares(edit: Edit, node: Node | None, x: Tensor) -> tuple[list[int], list[Node]] | None:
    if node is None or node.op != "Reduce":
        return None
    if node.attrs["mode"] == "sum_square":
        axes = _axes(node, x)
        return None if axes is None else (axes, [node])
    square = edit.producer(node.inputs[0])
    if node.attrs["mode"] != "sum" or square is None or any(t is not x for t in square.inputs[:1]):
        return None
    power = square.op == "Square" or (square.op == "Pow" and scalar(square.input(1)) == 2.0)
    product = square.op == "Mul" and square.inputs[1] is x and square.attrs["act"] == "none"
    axes = _axes(node, square.outputs[0])
    return (axes, [square, node]) if axes is not None and (power or product) else None


def _axes(node: Node, x: Tensor) -> list[int] | None:
    """The axes of a reduction of x that keeps them."""
    if node.inputs[0] is not x or not node.attrs["keep_dims"] or node.input(1) is not None or not node.attrs["axes"]:
        return None
    return list(node.attrs["axes"])
