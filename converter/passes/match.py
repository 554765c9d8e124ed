"""What passes ask of a graph: constants, per-channel vectors, chains of sole readers, clamps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir import Node, Tensor
from .edit import Edit, is_plain

Bounds = tuple[float | None, float | None]


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
    found = scalar(tensor)
    return found is not None and abs(found - value) <= tolerance * max(1.0, abs(value))


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


def other_input(node: Node, tensor: Tensor) -> Tensor | None:
    """The other operand of a binary node; None when both are `tensor`."""
    rest = [t for t in node.inputs if t is not tensor]
    return rest[0] if len(rest) == 1 else None


def clamp_of(node: Node) -> Bounds | None:
    """The bounds (None: open) that a node's output is clamped to when all it does is clamp its input 0."""
    fixed = {"Relu": (0.0, None), "Relu6": (0.0, 6.0)}.get(node.op)
    if fixed is not None:
        return fixed
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


FLOAT_MAX = float(np.finfo(np.float32).max)


def narrowed(first: Bounds, second: Bounds) -> Bounds | None:
    """The bounds of clamping to `first`, then to `second`; None when that is not a clamp by the tighter of both."""
    lows = [b for b in (first[0], second[0]) if b is not None]
    highs = [b for b in (first[1], second[1]) if b is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    return None if low is not None and high is not None and low > high else (low, high)


def unary_chain(edit: Edit, start: Tensor, accept: Callable[[Node], bool]) -> list[Node]:
    """The nodes that follow `start` one after the other, each the sole reader, as long as `accept` says so."""
    chain: list[Node] = []
    node = edit.only_reader(start)
    while node is not None and accept(node) and len(node.outputs) == 1:
        chain.append(node)
        node = edit.only_reader(node.outputs[0])
    return chain
