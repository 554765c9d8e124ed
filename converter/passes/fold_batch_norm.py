"""Folds a BatchNorm into the linear layer beside it."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from .folding import fold_affine
from .record import Record


def fold_batch_norm(graph: Graph) -> Iterator[Record]:
    """Conv → BatchNorm ⇒ Conv, and BatchNorm → Conv ⇒ Conv.

    BatchNorm is y = a·x + c per channel with a = γ/√(σ² + ε), c = β - μ·a.
    Behind Conv, ConvTranspose, FullyConnected or MatMul: w' = a·w per output channel, b' = a·b + c. In front of Conv or
    FullyConnected: w' = w·a per input channel, b' = b + Σ w·c. In float64, rounded once.

    Not when the value in between has other readers, is a graph output or carries an activation; when the weight is
    shared, quantized, float16 or computed; in front of a padded Conv when c ≠ 0, because the padding is zeros.
    """
    return fold_affine(graph, "fold_batch_norm", ("BatchNorm",), lambda layer: True)
