"""How much a node multiplies."""

from __future__ import annotations

import math

from ..ir import Node
from .op import row


def macs(node: Node) -> int:
    """Multiplications with additions of a node's products; 0 where it has none or sizes are open."""
    spec = row(node.op).quant
    if spec is None or not spec.weights or spec.output_of(node) == "same" or not node.outputs[0].is_static:
        return 0
    x, weights = node.input(0), [node.input(i) for i in spec.weights]
    if x is None or not x.is_static or any(w is None or not w.is_static or not w.shape for w in weights):
        return 0
    elements, sizes = math.prod(node.outputs[0].static_shape), [w.static_shape for w in weights if w is not None]
    if len(sizes) > 1:  # recurrent: every step of every sequence meets all of them
        return math.prod(x.static_shape[:-1]) * sum(map(math.prod, sizes))
    w = sizes[0]
    if node.op == "MatMul":
        return elements * (w[-1] if node.attrs["transpose_b"] or len(w) == 1 else w[-2])
    axis = spec.channel_axis(node) or 0
    if node.op == "ConvTranspose":  # each element of the input goes through a window into the channels of its group
        return math.prod(x.static_shape) * math.prod(w) // max(x.size(-1), 1)
    return elements * math.prod(w) // max(w[axis], 1)
