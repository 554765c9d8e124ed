"""Lets operators that only move or choose elements work on codes where an ONNX file passes plain integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node, Tensor, is_quantized
from .edit import Edit
from .match import made_by
from .record import Change, Record

_NAME = "keep_codes"
# Operator → how many of its inputs are data; 0 stands for all. Their values never depend on what a code stands for.
_MOVES = {
    "Transpose": 1,
    "Reshape": 1,
    "Squeeze": 1,
    "ExpandDims": 1,
    "Flatten": 1,
    "MaxPool": 1,
    "Slice": 1,
    "Gather": 1,
    "Tile": 1,
    "BroadcastTo": 1,
    "DepthToSpace": 1,
    "SpaceToDepth": 1,
    "Reverse": 1,
    "Concat": 0,
}


def keep_codes(graph: Graph) -> Iterator[Record]:
    """Reinterpret (codes → integers) → Op ⇒ Op → Reinterpret; Reinterpret → Reinterpret of the same codes ⇒ codes;
    Quantize → Reinterpret → Clip ⇒ Clip → Quantize → Reinterpret.

    A file of onnxruntime's quantizer has MaxPool or Reshape between QLinear operators, on bytes without a scale. What
    they do to the bytes they do to the codes, so the scale stays on, and the views meet and cancel. Exporters of
    trained quantizers say codes of fewer bits by clipping those of 8: rounding keeps an order, so reals may be clipped.

    Not for operators with an activation, or on codes with a scale per channel, or that join codes of different scales.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op == "Reinterpret":
            yield from _cancelled(edit, node)
        elif node.op == "Clip":
            yield from _clipped(edit, node)
        elif node.op in _MOVES and len(node.outputs) == 1 and node.attrs.get("act", "none") == "none":
            codes = _codes(edit, node)
            if codes is None:
                continue
            y, rest = node.outputs[0], node.inputs[len(codes) :]
            quantized = Tensor(edit.name(f"{y.name}/codes"), y.dtype, y.shape, None, codes[0].quant)
            edit.set_inputs(node, [*codes, *rest])
            edit.take_outputs(node, [quantized])
            edit.emit("Reinterpret", [quantized], after=node, name=edit.name(f"{node.name}/plain"), outputs=[y])
            yield Change(_NAME, node.name, "works on codes")
    edit.finish()


def _clipped(edit: Edit, node: Node) -> Iterator[Record]:
    view = made_by(edit, node.inputs[0], "Reinterpret")
    cast = None if view is None else made_by(edit, view.inputs[0], "Quantize")
    if view is None or cast is None or is_quantized(cast.inputs[0]):
        return
    y, q = cast.outputs[0], cast.outputs[0].quant
    ends = np.iinfo(y.dtype)
    given = zip((node.attrs["min"], node.attrs["max"]), (ends.min, ends.max))
    low, high = (end if b is None else int(b) for b, end in given)
    if q is None or len(q.scale) != 1 or not ends.min <= low < high <= ends.max:
        return
    bounds = [float(np.float32((b - int(q.zero_point[0])) * q.scale[0])) for b in (low, high)]
    x = edit.emit("Clip", [cast.inputs[0]], {"min": bounds[0], "max": bounds[1]}, at=cast).outputs[0]
    edit.set_inputs(cast, [x])
    edit.alias(node.outputs[0], view.outputs[0])
    edit.drop(node)
    yield Change(_NAME, node.name, f"codes {low} … {high}, clipped before they are rounded")


def _codes(edit: Edit, node: Node) -> list[Tensor] | None:
    """The codes behind all data inputs, when they share their parameters."""
    many = _MOVES[node.op] or len(node.inputs)
    if node.outputs[0].quant is not None:
        return None
    codes: list[Tensor] = []
    for t in node.inputs[:many]:
        view = edit.producer(t)
        x = None if view is None or view.op != "Reinterpret" else view.inputs[0]
        if x is None or t is None or t.quant is not None or x.quant is None or len(x.quant.scale) != 1:
            return None
        if codes and (x.quant != codes[0].quant or x.dtype != codes[0].dtype):
            return None
        codes.append(x)
    return codes


def _cancelled(edit: Edit, node: Node) -> Iterator[Record]:
    view = edit.producer(node.inputs[0])
    if view is None or view.op != "Reinterpret" or view.inputs[0] is None:
        return
    x, y = view.inputs[0], node.outputs[0]
    if x.quant == y.quant and edit.alias(y, x):
        edit.drop(node)
        yield Change(_NAME, node.name, f"gives the codes that {view.name!r} took")
