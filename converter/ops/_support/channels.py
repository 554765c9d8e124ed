"""Which channels of the inputs become which of the output: cells `Quant.passes_channels` and `Quant.mixes_channels`."""

from __future__ import annotations

from ...ir import Node


def channel_by_channel(node: Node) -> list[int]:
    """For rows whose output's channel c comes from the inputs' channel c alone."""
    return [0] * len(node.inputs)


def of_equal_shapes(node: Node) -> list[int] | None:
    """For elementwise rows: operands that repeat tie channels that are not one another's."""
    y = node.outputs[0]
    return channel_by_channel(node) if all(t is not None and t.shape == y.shape for t in node.inputs) else None


def with_same_last_axis(node: Node) -> list[int] | None:
    """For rows that give the elements another shape."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or not x.shape or not y.shape or x.shape[-1] != y.shape[-1]:
        return None
    return channel_by_channel(node)
