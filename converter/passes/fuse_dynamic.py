"""Reads a file that quantizes activations while running as layers that do."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from ..ops import row
from .edit import Edit
from .record import Change, Record, Refusal

_NAME = "fuse_dynamic"


def fuse_dynamic(graph: Graph) -> Iterator[Record]:
    """DynamicRound → layer on int8 weights ⇒ layer that quantizes its input while running.

    The sums are then exact integers, as the file means them, and the int8 kernels run them.

    Not for operators without such a form, nor for weights that are no int8 constants or keep a correction.
    """
    from ..ops._support.integer import is_dynamic

    edit = Edit(graph)
    for node in edit.nodes():
        source = edit.producer(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
        if source is None or source.op != "DynamicRound":
            continue
        if "dynamic" not in node.attrs:
            yield Refusal(_NAME, node.name, f"{node.op} has no form with inputs quantized while running")
            continue
        was = list(node.inputs)
        edit.set_inputs(node, [source.inputs[0], *node.inputs[1:]])
        node.attrs = {**node.attrs, "dynamic": True}
        cell = row(node.op).quant
        axis = cell.channel_axis(node) if cell is not None else None
        if axis is None or not is_dynamic(node, axis):
            edit.set_inputs(node, was)
            node.attrs = {**node.attrs, "dynamic": False}
            yield Refusal(_NAME, node.name, "its weight is no int8 constant with one scale per output channel")
            continue
        yield Change(_NAME, node.name, "quantizes its input while running")
    edit.finish()
