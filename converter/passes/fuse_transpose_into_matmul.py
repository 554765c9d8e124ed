"""Lets a MatMul read its operand the other way round."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph, Node
from ..schema.node import own_attrs
from .edit import Edit, trail
from .record import Change, Record, Refusal

_NAME = "fuse_transpose_into_matmul"


def fuse_transpose_into_matmul(graph: Graph) -> Iterator[Record]:
    """Transpose(last two axes swapped) → MatMul ⇒ MatMul(transpose_a or transpose_b).

    (xᵀ)·y is what MatMul computes with the flag set; set twice it is off.

    Not for a Transpose that moves other axes, nor for an operand of an integer graph whose quantization runs along an
    axis.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "MatMul":
            continue
        for side, flag in ((0, "transpose_a"), (1, "transpose_b")):
            source = edit.producer(node.inputs[side])
            if source is None or not _swaps(source) or source.inputs[0] is None:
                continue
            quant = source.inputs[0].quant
            if quant is not None and quant.axis is not None:
                yield Refusal(_NAME, node.name, f"{source.inputs[0].name!r} is quantized along an axis")
                continue
            node.attrs = own_attrs(node.attrs) | {flag: not node.attrs[flag]}
            inputs = list(node.inputs)
            inputs[side] = source.inputs[0]
            node.origin = trail(source, node)
            edit.set_inputs(node, inputs)
            yield Change(_NAME, node.name, f"took in Transpose {source.name!r}")
    edit.finish()


def _swaps(node: Node) -> bool:
    """Whether the node swaps its last two axes and nothing else."""
    if node.op != "Transpose" or len(node.attrs["perm"]) < 2:
        return False
    rank = len(node.attrs["perm"])
    return list(node.attrs["perm"]) == [*range(rank - 2), rank - 1, rank - 2]
