"""Finds PRelu and LeakyRelu in their parts."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph, Node, Tensor
from ..ops._support.types import broadcasts_to
from .edit import Edit, is_float_node, is_plain
from .match import clamp_of, collapse, constant_operand, is_product, is_scalar, product_of
from .record import Change, Record


def fuse_prelu(graph: Graph) -> Iterator[Record]:
    """Relu(x) + a · Min(x, 0) ⇒ PRelu(x, a), of one number a: LeakyRelu(x).

    Also with -Relu(-x) for Min(x, 0), as Keras writes it, or with (x - |x|) / 2; Sub for Add where a is negated.

    Not when a part has other readers, nor when a is computed and has a factor.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op not in ("Add", "Sub") or node.attrs["act"] != "none" or not is_float_node(node):
            continue
        pairs = [node.inputs] if node.op == "Sub" else [node.inputs, node.inputs[::-1]]
        for above, scaled in pairs:
            match = _match(edit, above, scaled, -1.0 if node.op == "Sub" else 1.0)
            if match is None or match[0].shape != node.outputs[0].shape:
                continue
            x, slope, inside = match
            if isinstance(slope, Tensor):
                collapse(edit, node, inside, "PRelu", [x, slope], {})
            else:
                collapse(edit, node, inside, "LeakyRelu", [x], {"alpha": slope})
            yield Change("fuse_prelu", node.name, f"{len(inside) + 1} nodes are a {node.op}")
            break
    edit.finish()


def _match(
    edit: Edit, above: Tensor | None, scaled: Tensor | None, sign: float
) -> tuple[Tensor, Tensor | float, list[Node]] | None:
    """(x, slope, the nodes before the sum)."""
    relu, product = _own(edit, above), _own(edit, scaled)
    if relu is None or product is None or not is_product(product):
        return None
    x = _relu_of(relu)
    if x is None:
        return None
    factors = product_of(edit, product)
    for k, below in enumerate(factors.factors[:2]):
        parts = _below(edit, below, x)
        rest = factors.factors[:k] + factors.factors[k + 1 :]
        if parts is None or len(rest) > 1:
            continue
        factor = sign * factors.coefficient * parts[0]
        slope = factor if not rest else _scaled(edit, rest[0], factor)
        if slope is None or (isinstance(slope, Tensor) and not _fits(slope, x)):
            continue
        return x, slope, [relu, *parts[1], *factors.nodes, product]
    return None


def _own(edit: Edit, t: Tensor | None) -> Node | None:
    """The float node that makes what one node alone reads."""
    node = edit.producer(t)
    return node if node is not None and t is not None and edit.only_reader(t) and is_float_node(node) else None


def _relu_of(node: Node) -> Tensor | None:
    if clamp_of(node) == (0.0, None):
        return node.inputs[0]
    return _ordered(node, "Maximum")


def _ordered(node: Node, op: str) -> Tensor | None:
    """x of a Minimum or Maximum of x and 0."""
    operands = constant_operand(node) if node.op == op else None
    return operands[0] if operands is not None and is_scalar(operands[1], 0.0) else None


def _below(edit: Edit, t: Tensor, x: Tensor) -> tuple[float, list[Node]] | None:
    """(factor, nodes) where t is min(x, 0) times the factor."""
    node = _own(edit, t)
    if node is None:
        return None
    if (clamp_of(node) == (None, 0.0) and node.inputs[0] is x) or _ordered(node, "Minimum") is x:
        return 1.0, [node]
    before = _own(edit, node.inputs[-1])
    if before is None:
        return None
    if before.op == "Neg" and before.inputs[0] is x and _relu_of(node) is node.inputs[0]:
        return -1.0, [before, node]
    plain = node.op == "Sub" and node.attrs["act"] == "none"
    if plain and before.op == "Abs" and node.inputs[0] is x and before.inputs[0] is x:
        return 2.0, [before, node]
    return None


def _scaled(edit: Edit, slope: Tensor, factor: float) -> Tensor | None:
    if factor == 1:
        return slope
    if slope.data is None or not is_plain(slope):
        return None
    return edit.constant((slope.data * factor).astype(slope.dtype), slope.name)


def _fits(slope: Tensor, x: Tensor) -> bool:
    return slope.shape is not None and x.shape is not None and broadcasts_to(slope.shape, x.shape)
