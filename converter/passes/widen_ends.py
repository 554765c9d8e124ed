"""Gives graph inputs and outputs in float32 what they hold in float16, for a container without float16 values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node
from ..schema.node import own_attrs
from .edit import Edit
from .record import Change, Record

_NAME = "widen_ends"
_HALF, _SINGLE = np.dtype(np.float16), np.dtype(np.float32)


def widen_ends(graph: Graph) -> Iterator[Record]:
    """input float16 → Cast float32 ⇒ input float32; Cast float16 → output ⇒ output float32.

    The runtime that a .ms is for hands out float16 inputs and outputs as float32, and casts to float16 wrongly. Values
    keep the precision that they were computed in.

    Not for an input that anything else than such a Cast reads.
    """
    edit = Edit(graph)
    for x in graph.inputs:
        readers = edit.readers(x)
        if x.dtype != _HALF or edit.is_output(x) or any(n.op != "Cast" or _to(n) != "float32" for n in readers):
            continue
        x.dtype = _SINGLE
        for node in readers:
            edit.bypass(node)
        yield Change(_NAME, x.name, "is float32")
    for y in dict.fromkeys(graph.outputs):
        node = edit.producer(y)
        if y.dtype != _HALF or node is None or node.op != "Cast" or edit.readers(y):
            continue
        source = node.inputs[0]
        if source is None or source.dtype != _SINGLE:
            continue
        node.attrs = own_attrs(node.attrs) | {"dtype": "float32"}
        y.dtype = _SINGLE
        edit.bypass(node)
        yield Change(_NAME, y.name, "is float32")
    edit.finish()


def _to(node: Node) -> str:
    return node.attrs["dtype"]
