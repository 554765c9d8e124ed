"""Reads rows of a quantized table, decoded behind what picks them, as a weight that is stored quantized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node, Tensor
from ..numeric.qparams import QuantParam
from .edit import Edit
from .match import made_by
from .record import Change, Record

_NAME = "quantized_tables"
_MOVES = ("Gather", "Transpose", "Reshape", "Squeeze", "ExpandDims", "Flatten", "Slice", "Tile", "BroadcastTo")


def quantized_tables(graph: Graph) -> Iterator[Record]:
    """Integers (constant) → Gather and moves → Reinterpret (codes) → Dequantize ⇒ codes (constant) → Gather and moves.

    onnxruntime's quantizer stores an embedding as bytes and decodes the rows that are read: x[i]·s is (x·s)[i]. So the
    table is a constant that is stored quantized, as a weight is, which every container and kernel takes. uint8 becomes
    int8, the zero point half a range lower.

    Not for codes that something else reads on the way, with a scale per channel, or of another width than 8 bits.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        view = made_by(edit, node.inputs[0], "Reinterpret") if node.op == "Dequantize" else None
        way = None if view is None or edit.only_reader(view.outputs[0]) is not node else _way(edit, view)
        if view is None or way is None:
            continue
        table, quant = way[-1].required(0), view.outputs[0].qparams
        data = table.value
        if data.dtype == np.uint8:
            data = (data.astype(np.int16) - 128).astype(np.int8)
            quant = QuantParam(quant.scale, quant.zero_point - 128, None, quant.bits)
        x = edit.constant(data, table.name, quant)
        for move in reversed(way):
            y = node.outputs[0] if move is way[0] else _real(edit, move.outputs[0])
            edit.set_inputs(move, [x, *move.inputs[1:]])
            edit.take_outputs(move, [y])
            x = y
        edit.drop(node)
        yield Change(_NAME, way[-1].name, f"reads {table.name!r} as a weight that is stored quantized")
    edit.finish()


def _way(edit: Edit, view: Node) -> list[Node] | None:
    """What lies between a plain constant of 8 bits and the view, the last first."""
    quant = view.outputs[0].quant
    if quant is None or len(quant.scale) != 1 or quant.bits != 8:
        return None
    way, t = list[Node](), view.required(0)
    while t.data is None:
        node = edit.producer(t)
        if node is None or node.op not in _MOVES or len(node.outputs) != 1 or t.quant is not None:
            return None
        if len(edit.readers(t)) != 1 or edit.is_output(t) or node.attrs.get("act", "none") != "none":
            return None
        way.append(node)
        t = node.required(0)
    return way if way and t.quant is None and t.dtype in (np.uint8, np.int8) else None


def _real(edit: Edit, t: Tensor) -> Tensor:
    return Tensor(edit.name(f"{t.name}/real"), np.dtype(np.float32), t.shape, None, None, t.layout)
