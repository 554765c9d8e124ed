"""What convolutions pad with: another value than 0."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import UsageError
from ..ir import Graph, Tensor
from ..schema.builder import Builder
from .find import node_named


def set_pad_values(graph: Graph, values: Mapping[str, float]) -> list[str]:
    """Makes convolutions that pad do so with a value, in place: by a Pad in front of each.

    Args:
        values: name of a node → value.
    Returns:
        A line per node.
    Raises:
        UsageError: no node has a name, with the nearest one; or it does not pad.
    """
    lines = []
    for name, value in values.items():
        node = node_named(graph, name)
        if node.op == "Transpose" and node.required(0) in (made := graph.producers()):
            node = made[node.required(0)]
        pad = node.attrs.get("pad", [])
        if node.op != "Conv" or not any(pad):
            raise UsageError(f"{name!r} ({node.op}) is no convolution that pads")
        x, rank = node.required(0), len(pad) // 2
        build, place = Builder(graph), graph.nodes.index(node)
        pads = np.zeros((rank + 2, 2), np.int64)
        pads[1:-1] = np.reshape(pad, (rank, 2))
        padded: Tensor = build.emit(
            "Pad", [x, build.constant(pads.reshape(-1), f"{name}/pads")], {"value": float(value)}, name=f"{name}/pad"
        )[0]
        graph.nodes.insert(place, graph.nodes.pop())
        node.inputs[0] = padded
        node.attrs |= {"pad": [0] * len(pad), "pad_mode": "explicit"}
        lines.append(f"{name}: pads with {value:g}")
    return lines
