"""How much a node multiplies."""

from __future__ import annotations

import math

from ..ir import Node
from .op import row


def macs(node: Node, open_size: int = 0) -> int:
    """Multiplications with additions of a node's products; 0 where it has none. open_size: what an open size counts."""
    spec, x, y = row(node.op).quant, node.input(0), node.outputs[0]
    if spec is None or not spec.weights or spec.output_of(node) == "same" or x is None:
        return 0
    tensors = [x, y, *(node.input(i) for i in spec.weights)]
    known = [t.shape for t in tensors if t is not None and t.shape is not None]
    if len(known) < len(tensors):
        return 0
    source, target, *sizes = [[open_size if d is None else d for d in shape] for shape in known]
    if not all(sizes):
        return 0
    if len(sizes) > 1:  # recurrent: every step of every sequence meets all of them
        return math.prod(source[:-1]) * sum(map(math.prod, sizes))
    elements, w = math.prod(target), sizes[0]
    if node.op == "MatMul":
        return elements * (w[-1] if node.attrs["transpose_b"] or len(w) == 1 else w[-2])
    axis = spec.channel_axis(node) or 0
    if node.op == "ConvTranspose":  # each element of the input goes through a window into the channels of its group
        return math.prod(source) * math.prod(w) // max(source[-1], 1)
    return elements * math.prod(w) // max(w[axis], 1)
