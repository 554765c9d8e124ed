"""Finds LayerNorm in its parts."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph, Node, Tensor
from .edit import Edit, is_float_node
from .match import collapse, constant_operand, float_constant, is_scalar, plus_constant
from .record import Change, Record

_NAME = "fuse_layer_norm"


def fuse_layer_norm(graph: Graph) -> Iterator[Record]:
    """(x - mean(x)) / √(mean((x - mean(x))²) + ε) · γ + β ⇒ LayerNorm(x, γ, β).

    The means run over the last axes. The quotient may be a product with 1/√, the square a Pow, a Mul or a
    SquaredDifference, and the sum may be written x · r + (β - mean · r) with r = γ/√ as Keras does. γ and β are
    constants along those axes.

    Not when a value in between has other readers.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        parts = _quotient(edit, node) or _keras(edit, node)
        if parts is not None:
            x, axis, epsilon, parameters, inside = parts
            if any(_leaks(edit, inner, inside, node) for inner in inside):
                continue
            collapse(edit, node, inside, "LayerNorm", [x, *parameters], {"axis": axis, "epsilon": epsilon})
            yield Change(_NAME, node.name, f"{len(inside) + 1} nodes are a LayerNorm")
        elif node.op in ("Mul", "Add"):
            done = _parameter(edit, node)
            if done:
                yield Change(_NAME, node.name, done)
    edit.finish()


Match = tuple[Tensor, int, float, "list[Tensor | None]", "list[Node]"]


def _leaks(edit: Edit, inner: Node, inside: list[Node], root: Node) -> bool:
    return any(
        edit.is_output(t) or any(r not in inside and r is not root for r in edit.readers(t)) for t in inner.outputs
    )


def _plain(node: Node | None, *ops: str) -> bool:
    return node is not None and node.op in ops and node.attrs.get("act", "none") == "none" and is_float_node(node)


def _quotient(edit: Edit, node: Node) -> Match | None:
    """d / √(var + ε) or d · 1/√(var + ε) with d = x - mean(x)."""
    if not _plain(node, "Div", "Mul"):
        return None
    a, b = node.inputs[0], node.inputs[1]
    for centered, divisor in ((a, b), (b, a))[: 1 if node.op == "Div" else 2]:
        minus = edit.producer(centered)
        if minus is None or not _plain(minus, "Sub"):
            continue
        root = _deviation(edit, divisor, inverted=node.op == "Mul")
        mean = _mean(edit, minus.inputs[1])
        if root is None or mean is None or mean[0] is not minus.inputs[0]:
            continue
        variance, epsilon, nodes = root
        spread = _variance(edit, variance, mean[0], centered, minus.inputs[1])
        if spread is not None and spread[0] == mean[1]:
            return mean[0], mean[1], epsilon, [], [*mean[2], minus, *spread[1], *nodes]
    return None


def _keras(edit: Edit, node: Node) -> Match | None:
    """x · r + (β - mean · r) with r = γ / √(var + ε)."""
    if not _plain(node, "Add"):
        return None
    for left, right in (node.inputs, node.inputs[::-1]):
        product, rest = edit.producer(left), edit.producer(right)
        if product is None or rest is None or not _plain(product, "Mul") or not _plain(rest, "Sub"):
            continue
        beta, shift = rest.inputs[0], edit.producer(rest.inputs[1])
        if float_constant(beta) is None or shift is None or not _plain(shift, "Mul"):
            continue
        for x, r in (product.inputs, product.inputs[::-1]):
            if r is None or r not in shift.inputs:
                continue
            average = next((t for t in shift.inputs if t is not r), None)
            mean = _mean(edit, average)
            gate = edit.producer(r)
            gamma, inverse = None, r
            inside: list[Node] = []
            if gate is not None and _plain(gate, "Mul") and (operands := constant_operand(gate)) is not None:
                inverse, gamma = operands
                inside = [gate]
            root = _deviation(edit, inverse, inverted=True)
            if (
                root is None
                or mean is None
                or mean[0] is not x
                or (gamma is not None and float_constant(gamma) is None)
            ):
                continue
            spread = _variance(edit, root[0], mean[0], None, average)
            if spread is None or spread[0] != mean[1] or not _fit(mean[0], mean[1], gamma, beta):
                continue
            nodes = [*mean[2], *spread[1], *root[2], *inside, product, shift, rest]
            return mean[0], mean[1], root[1], [gamma, beta], nodes
    return None


def _deviation(edit: Edit, tensor: Tensor | None, inverted: bool) -> tuple[Tensor, float, list[Node]] | None:
    """(variance, ε, nodes) of √(variance + ε), or of its inverse."""
    node, nodes = edit.producer(tensor), []
    if node is None:
        return None
    if inverted and node.op in ("Reciprocal", "Div"):
        if node.op == "Div" and not is_scalar(node.inputs[0], 1.0):
            return None
        nodes, node = [node], edit.producer(node.inputs[-1])
        if node is None or node.op != "Sqrt":
            return None
    elif node.op != ("Rsqrt" if inverted else "Sqrt"):
        return None
    nodes = [node, *nodes]
    add = edit.producer(node.inputs[0])
    parts = plus_constant(add)
    return None if parts is None or add is None else (parts[0], parts[1], [add, *nodes])


def _mean(edit: Edit, tensor: Tensor | None) -> tuple[Tensor, int, list[Node]] | None:
    """(x, first axis, nodes) of a mean over the last axes."""
    node = edit.producer(tensor)
    if node is None or node.op != "Reduce" or node.attrs["mode"] != "mean" or not node.attrs["keep_dims"]:
        return None
    x, axes = node.inputs[0], node.attrs["axes"]
    if x is None or x.shape is None or not axes or node.input(1) is not None or not is_float_node(node):
        return None
    rank = len(x.shape)
    axes = sorted(a % rank for a in axes)
    return (x, axes[0] - rank, [node]) if axes == list(range(axes[0], rank)) else None


def _variance(
    edit: Edit, tensor: Tensor, x: Tensor, centered: Tensor | None, mean: Tensor | None
) -> tuple[int, list[Node]] | None:
    """(first axis, nodes) when the tensor is the mean of (x - mean)²; `centered` is x - mean where it is at hand."""
    average = _mean(edit, tensor)
    square = edit.producer(average[0]) if average is not None else None
    if average is None or square is None:
        return None
    nodes = [square, *average[2]]
    if square.op == "SquaredDifference":
        return (average[1], nodes) if set(square.inputs) == {x, mean} else None
    inner = square.inputs[0]
    power = square.op == "Square" or (square.op == "Pow" and is_scalar(square.input(1), 2.0))
    product = _plain(square, "Mul") and square.inputs[0] is square.inputs[1]
    if not power and not product:
        return None
    if inner is centered and centered is not None:
        return average[1], nodes
    minus = edit.producer(inner)
    if minus is None or not _plain(minus, "Sub") or minus.inputs[0] is not x:
        return None
    again = _mean(edit, minus.inputs[1])
    if minus.inputs[1] is not mean and (again is None or again[0] is not x or again[1] != average[1]):
        return None
    more = [] if minus.inputs[1] is mean or again is None else again[2]
    return average[1], [*more, minus, *nodes]


def _fit(x: Tensor, axis: int, *parameters: Tensor | None) -> bool:
    """Whether the parameters broadcast along the normalized axes only."""
    return all(p is None or p.shape is None or len(p.shape) <= -axis for p in parameters) and x.shape is not None


def _parameter(edit: Edit, node: Node) -> str:
    """γ or β behind a LayerNorm that has none yet."""
    operands = constant_operand(node)
    norm = edit.producer(operands[0]) if operands is not None else None
    if operands is None or norm is None or norm.op != "LayerNorm" or node.attrs["act"] != "none":
        return ""
    x, constant = norm.inputs[0], operands[1]
    slot = 1 if node.op == "Mul" else 2
    if norm.input(slot) is not None or (slot == 1 and norm.input(2) is not None) or float_constant(constant) is None:
        return ""
    if x is None or x.rank is None or node.outputs[0].shape != x.shape or edit.only_reader(operands[0]) is not node:
        return ""
    if not _fit(x, norm.attrs["axis"] - (x.rank if norm.attrs["axis"] >= 0 else 0), constant):
        return ""
    inputs = [x, norm.input(1), norm.input(2)]
    inputs[slot] = constant
    collapse(edit, node, [norm], "LayerNorm", inputs, dict(norm.attrs))
    return f"took in {'γ' if slot == 1 else 'β'}"
