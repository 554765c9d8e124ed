"""What passes ask of a graph: constants, per-channel vectors, chains of sole readers, clamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..numeric.qparams import ACT_BOUNDS, Bounds
from ..ops import row
from ..schema.op import REQUIRED
from .edit import Edit, is_float_node, is_plain, trail


def float_constant(tensor: Tensor | None) -> np.ndarray | None:
    """The value of a plain floating constant, else None."""
    return tensor.data if tensor is not None and tensor.is_const and is_plain(tensor) else None


def int_list(tensor: Tensor | None) -> list[int] | None:
    """The value of an integer constant as a flat list, else None."""
    if tensor is None or tensor.data is None or tensor.quant is not None or tensor.data.dtype.kind not in "iu":
        return None
    return [int(v) for v in tensor.data.reshape(-1)]


def scalar(tensor: Tensor | None) -> float | None:
    """The value of a plain constant of one element, else None."""
    if tensor is None or tensor.data is None or tensor.quant is not None or tensor.data.size != 1:
        return None
    return float(tensor.data.reshape(-1)[0])


def is_scalar(tensor: Tensor | None, value: float, tolerance: float = 1e-6) -> bool:
    number = scalar(tensor)
    return number is not None and abs(number - value) <= tolerance * max(1.0, abs(value))


def constant_operand(node: Node) -> tuple[Tensor, Tensor] | None:
    """(data, constant) of a binary node with exactly one constant operand."""
    a, b = node.inputs[0], node.input(1)
    if a is None or b is None or a.is_const == b.is_const:
        return None
    return (b, a) if a.is_const else (a, b)


def along_last_axis(constant: np.ndarray, rank: int, channels: int) -> np.ndarray | None:
    """A broadcast constant as float64[channels] along the last axis; None when it varies along another or adds axes."""
    shape = constant.shape
    if constant.size == 1 and constant.ndim <= rank:
        return np.full(channels, constant.reshape(-1)[0], np.float64)
    if len(shape) > rank or not shape or shape[-1] != channels or constant.size != channels:
        return None
    return constant.reshape(-1).astype(np.float64)


def single_user(edit: Edit, node: Node) -> Node | None:
    """The one node behind a node with one output."""
    return edit.only_reader(node.outputs[0]) if len(node.outputs) == 1 else None


def made_by(edit: Edit, tensor: Tensor | None, *ops: str, private: bool = True) -> Node | None:
    """The tensor's producer when its operator is one of `ops` (and nothing else reads the tensor, if `private`)."""
    node = edit.producer(tensor)
    if node is None or node.op not in ops or tensor is None:
        return None
    return None if private and edit.only_reader(tensor) is None else node


_CLAMP_ACTS = {"Relu": "relu", "Relu6": "relu6"}
_OUTPUT_BOUNDS: dict[str, Bounds] = {
    "Sigmoid": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Softmax": (0.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Abs": (0.0, None),
}


def output_bounds(node: Node) -> Bounds | None:
    """The bounds that a float node's output keeps by its fused activation or its operator; None when nothing says."""
    act = node.attrs.get("act", "none")
    fused = ACT_BOUNDS.get(act) if act != "none" else None
    return fused or clamp_of(node) or _OUTPUT_BOUNDS.get(node.op)


def clamp_of(node: Node) -> Bounds | None:
    """The bounds (None: open) that a node's output is clamped to when all it does is clamp its input 0."""
    if node.op in _CLAMP_ACTS:
        return ACT_BOUNDS[_CLAMP_ACTS[node.op]]
    if node.op != "Clip":
        return None
    bounds = []
    for k, key in enumerate(("min", "max")):
        value = node.attrs.get(key)
        operand = node.input(1 + k)
        if operand is not None:
            value = scalar(operand)
            if value is None:
                return None
        bounds.append(None if value is None or not np.isfinite(value) or abs(value) >= FLOAT_MAX else float(value))
    return bounds[0], bounds[1]


_FACTORS = 8
FLOAT_MAX = float(np.finfo(np.float32).max)


def narrowed(first: Bounds, second: Bounds) -> Bounds | None:
    """The bounds of clamping to `first`, then to `second`; None when that is not a clamp by the tighter of both."""
    lows = [b for b in (first[0], second[0]) if b is not None]
    highs = [b for b in (first[1], second[1]) if b is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    return None if low is not None and high is not None and low > high else (low, high)


def collapse(
    edit: Edit,
    node: Node,
    inside: list[Node],
    op: str,
    inputs: Sequence[Tensor | None],
    attrs: dict[str, Any],
) -> None:
    """Makes `node`, the last of a pattern, the whole pattern: one operator on `inputs`.

    Args:
        inside: the pattern's other nodes, in order; they go with their last reader.
    """
    nodes = list(dict.fromkeys(inside))
    definition = row(op)
    node.origin = trail(*nodes, node)
    name = nodes[0].name if nodes else node.name
    node.op = op
    node.attrs = {k: v for k, v in definition.attrs.items() if v is not REQUIRED} | attrs
    edit.set_inputs(node, inputs)
    if nodes and not edit.alive(nodes[0]):
        node.name = name


@dataclass(slots=True)
class Product:
    """coefficient · Π factors: what a tree of Muls (and Divs by constants) whose values nobody else reads comes to."""

    coefficient: float
    factors: list[Tensor]
    nodes: list[Node]


def product_of(edit: Edit, node: Node) -> Product:
    """`node` as a product, its operands multiplied out as far as nobody else reads them.

    At most `_FACTORS` nodes are: no pattern has more, and each node of a long chain of products is asked.
    """
    product = Product(1.0, [], [])
    entered: list[Node] = []

    def visit(item: Node) -> None:
        for k, t in enumerate(item.inputs):
            if t is None:
                continue
            value = scalar(t) if t.is_const and t.rank is not None and t.rank <= (item.outputs[0].rank or 0) else None
            if value is not None and (item.op == "Mul" or (k == 1 and value != 0)):
                product.coefficient *= value if item.op == "Mul" else 1.0 / value
                continue
            source = edit.producer(t)
            private = source is not None and edit.only_reader(t) is item
            if source is not None and private and len(entered) < _FACTORS and _multiplies(source):
                entered.append(source)
                visit(source)
                product.nodes.append(source)
            else:
                product.factors.append(t)

    visit(node)
    return product


def _multiplies(node: Node) -> bool:
    """Mul, or Div by a constant, without an activation."""
    if node.attrs.get("act", "none") != "none" or not is_float_node(node):
        return False
    return node.op == "Mul" or (node.op == "Div" and scalar(node.input(1)) not in (None, 0.0))


def is_product(node: Node) -> bool:
    """Whether `node` may be the root of a product."""
    return _multiplies(node)


def plus_constant(node: Node | None) -> tuple[Tensor, float] | None:
    """(x, c) of an Add(x, c) of one number, without an activation."""
    if node is None or node.op != "Add" or node.attrs["act"] != "none":
        return None
    operands = constant_operand(node)
    value = None if operands is None else scalar(operands[1])
    return (
        None
        if operands is None or value is None or operands[0].shape != node.outputs[0].shape
        else (operands[0], value)
    )


def near(a: float, b: float, tolerance: float = 1e-5) -> bool:
    """Whether two numbers are the same constant, written with float32's digits."""
    return abs(a - b) <= tolerance * max(abs(a), abs(b))
