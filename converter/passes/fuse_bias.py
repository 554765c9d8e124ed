"""Adds a constant to a linear layer's bias."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from .affine import affine_of, fold_into, linear_producer
from .edit import Edit
from .record import Change, Record, Refusal


def fuse_bias(graph: Graph) -> Iterator[Record]:
    """Conv → Add(constant per channel) ⇒ Conv with bias, and so for ConvTranspose, FullyConnected, MatMul, and Sub.

    b' = b + c, in float64, rounded once. The Add's activation becomes the layer's. The weight may be quantized: it is
    not touched.

    Not when the value in between has other readers, is a graph output or carries an activation; when the constant
    varies along another axis than the channels; when the bias is quantized or computed.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        affine = affine_of(node, ("Add", "Sub"))
        if affine is None or not affine.only_offset:
            continue
        linear = linear_producer(edit, affine)
        if linear is None:
            continue
        layer, reason = linear
        reason = reason or fold_into(edit, layer, node, affine)
        if reason:
            yield Refusal("fuse_bias", node.name, reason)
        else:
            yield Change("fuse_bias", layer.name, f"took in {node.op} {node.name!r}")
    edit.finish()
