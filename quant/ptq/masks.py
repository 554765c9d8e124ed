"""Values that stand for minus infinity: masks of attention, which no scale of 8 bits may hold.

A mask adds -10000, -1e9 or -inf to scores, or stands in their place, and Softmax makes it 0. At a scale for such a
range all scores have one code; at one for the scores alone, a mask that calibration did not see would be lost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...converter.ir import Graph, Node, Tensor

LARGE = 64.0  # Swin masks with -100; biases of positions stay below 20
_ENDS = ("Softmax", "LogSoftmax")
_MASK = "carries a mask to Softmax"
_INFINITE = "its input may be infinite"


def mask_carriers(graph: Graph, is_layer: Callable[[Node], bool], least: float = LARGE) -> dict[Node, str]:
    """The nodes that must compute in float, and why.

    From a constant beyond ±`least` to the Softmax that it reaches without passing a layer; from an infinite one to what
    bounds its values. A layer's weights are no masks, and NaN is none.
    """
    large, infinite = set[Tensor](), set[Tensor]()
    reasons: dict[Node, str] = {}
    ends: list[Node] = []
    for node in graph.nodes:
        inputs = [t for t in node.inputs if t is not None]
        extremes = [] if is_layer(node) else [_extreme(t) for t in inputs]
        masked = not is_layer(node) and (any(e >= least for e in extremes) or not large.isdisjoint(inputs))
        endless = any(np.isinf(e) for e in extremes) or not infinite.isdisjoint(inputs)
        if endless:
            reasons[node] = _INFINITE
        if node.op in _ENDS:
            ends += [node] * masked
            continue
        floats = [t for t in node.outputs if t.dtype.kind == "f"]
        if masked:
            large.update(floats)
        if endless:
            infinite.update(floats)
    producers = graph.producers()
    while ends:
        node = ends.pop()
        if reasons.get(node) != _MASK:
            reasons[node] = _MASK
            ends += [producers[t] for t in node.inputs if t in large]
    return reasons


def _extreme(t: Tensor) -> float:
    """The largest magnitude of a constant of floats; 0 for all else, NaN aside."""
    if t.data is None or t.dtype.kind != "f" or not t.data.size:
        return 0.0
    return float(np.fmax.reduce(np.abs(t.data), axis=None))
