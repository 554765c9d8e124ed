"""Moves a Transpose in front of a flattened layer into the layer's weight."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node
from ..ops import row
from ..ops._support.layout import same_layout
from .axes import inverse
from .edit import Edit
from .record import Change, Record, Refusal

_NAME = "absorb_flatten"


def absorb_flatten(graph: Graph) -> Iterator[Record]:
    """Transpose → Reshape [N, K] → FullyConnected(w) ⇒ Reshape → FullyConnected(w with its columns reordered).

    The Transpose keeps axis 0, so it only says in which order a row's K values come; the weight's K columns take the
    opposite order. Elementwise nodes of one operand may stand between Reshape and layer.

    Not when the weight is shared or computed, when its quantization runs along the columns, or when one of the values
    in between has other readers.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "FullyConnected" or node.inputs[0] is None:
            continue
        pair = _find(edit, node)
        if pair is None:
            continue
        transpose, flatten = pair
        reason = _reason(edit, node)
        if reason:
            yield Refusal(_NAME, node.name, reason)
            continue
        _apply(edit, transpose, flatten, node)
        yield Change(_NAME, node.name, f"its weight took in Transpose {transpose.name!r}")
    edit.finish()


def _find(edit: Edit, layer: Node) -> tuple[Node, Node] | None:
    """(Transpose, the node that flattens what it gives); the layer itself when it takes rows of any shape."""
    x, reader = layer.required(0), layer
    flatten = layer
    if layer.attrs["keep_dims"]:
        while True:
            node = edit.producer(x)
            if node is None or edit.only_reader(x) is not reader or node.inputs[0] is None:
                return None
            x, reader = node.inputs[0], node
            if node.op in ("Reshape", "Squeeze"):
                break
            if row(node.op).permute is not same_layout or len(node.inputs) != 1 or node.outputs[0].quant != x.quant:
                return None
        flatten = reader
        y, rank = flatten.outputs[0].shape, x.rank
        if y is None or rank is None or x.shape is None or rank < 2 or len(y) != 2 or y[0] != x.shape[0]:
            return None
        if y.count(None) > 1 or None in x.shape[1:]:
            return None
    transpose = edit.producer(x)
    if transpose is None or transpose.op != "Transpose" or edit.only_reader(x) is not flatten:
        return None
    if transpose.attrs["perm"][0] != 0 or x.shape is None or None in x.shape[1:]:
        return None
    w = layer.inputs[1]
    if w is None or w.shape is None or math.prod(x.sizes(1)) != w.shape[1]:
        return None
    return transpose, flatten


def _reason(edit: Edit, layer: Node) -> str:
    w = layer.required(1)
    if w.data is None:
        return f"the weight of {layer.name!r} is not a constant"
    if w.quant is not None and w.quant.axis not in (None, 0):
        return f"the weight of {layer.name!r} is quantized along its columns"
    if len(edit.readers(w)) != 1:
        return f"the weight of {layer.name!r} is shared"
    return ""


def _apply(edit: Edit, transpose: Node, flatten: Node, layer: Node) -> None:
    x, y, w = transpose.required(0), transpose.outputs[0], layer.required(1)
    rows = w.value.reshape(w.value.shape[0], *(int(n) for n in y.known_shape[1:] if n is not None))
    columns = rows.transpose(inverse(transpose.attrs["perm"])).reshape(w.value.shape)
    weight = edit.constant(columns, w.name, w.quant)
    if flatten.op == "Squeeze":
        # Which axes have size 1 is another question before the Transpose.
        shape = [-1 if n is None else n for n in flatten.outputs[0].shape or ()]
        flatten.op, flatten.attrs = "Reshape", {"zero_copies": False}
        edit.set_inputs(flatten, [x, edit.constant(np.asarray(shape, np.int64), f"{flatten.name}/shape")])
    else:
        edit.set_inputs(flatten, [x, *flatten.inputs[1:]])
    edit.set_inputs(layer, [layer.inputs[0], weight, *layer.inputs[2:]])
