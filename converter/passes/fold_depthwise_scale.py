"""Folds a constant factor per channel into the depthwise convolution beside it."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from .folding import fold_affine, is_depthwise
from .record import Record


def fold_depthwise_scale(graph: Graph) -> Iterator[Record]:
    """depthwise Conv → Mul ⇒ Conv, and Mul → depthwise Conv ⇒ Conv.

    As `fold_scale`: w' = a·w per channel, b' = a·b behind the layer. In float64, rounded once.

    Not where `fold_batch_norm` would not.
    """
    return fold_affine(graph, "fold_depthwise_scale", ("Mul", "Div"), is_depthwise)
