"""Folds a constant factor per channel into the linear layer beside it."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from .folding import fold_affine, is_depthwise
from .record import Record


def fold_scale(graph: Graph) -> Iterator[Record]:
    """Conv → Mul ⇒ Conv, and Mul → Conv ⇒ Conv.

    The Mul, or Div, is by a constant per channel, a: behind Conv, ConvTranspose, FullyConnected or MatMul w' = a·w per
    output channel, b' = a·b; in front of Conv or FullyConnected w' = w·a per input channel. In float64, rounded once.

    Not of a depthwise Conv, which `fold_depthwise_scale` is about, and where `fold_batch_norm` would not.
    """
    return fold_affine(graph, "fold_scale", ("Mul", "Div"), lambda layer: not is_depthwise(layer))
