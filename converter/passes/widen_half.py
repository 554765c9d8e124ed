"""Computes in float32 what the source computes in float16."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node, Tensor
from ..schema.node import own_attrs
from .edit import Edit
from .record import Change, Record

_NAME = "widen_half"
_HALF = np.dtype(np.float16)
_SINGLE = np.dtype(np.float32)


def widen_half(graph: Graph) -> Iterator[Record]:
    """Op in float16 ⇒ Op in float32, with a Cast behind each float16 input and in front of each float16 output.

    The kernels compute in float32, and so does the quantizer; the result is the float16 one without its roundings.
    Graph inputs and outputs keep their type. The option `fp16` stores the constants as float16 again.

    Not for float16 constants that meet float32 data or a Cast: that is how they are stored, not what is computed.
    """
    edit = Edit(graph)
    wide: dict[Tensor, Tensor] = {}
    nodes = [node for node in edit.nodes() if _computes_half(edit, node)]
    if not nodes:
        return
    _cast_ends(edit)
    for node in nodes:
        inputs = list(node.inputs)
        for i, t in enumerate(inputs):
            if t is not None and t.data is not None and t.dtype == _HALF and t.quant is None and node.op != "Cast":
                if t not in wide:
                    wide[t] = edit.constant(t.data.astype(_SINGLE), t.name)
                inputs[i] = wide[t]
        if inputs != node.inputs:
            edit.set_inputs(node, inputs)
        if node.attrs.get("dtype") == "float16":
            node.attrs = own_attrs(node.attrs) | {"dtype": "float32"}
        for t in node.outputs:
            t.dtype = _SINGLE if t.dtype == _HALF else t.dtype
        yield Change(_NAME, node.name, "computes in float32")
    edit.finish()


def _computes_half(edit: Edit, node: Node) -> bool:
    """Whether the node takes or gives computed float16, other than as the Cast at an end of the graph."""
    halves = [t for t in (*node.inputs, *node.outputs) if t is not None and t.dtype == _HALF and not t.is_const]
    if node.op == "Cast":
        halves = [t for t in halves if not (edit.is_input(t) or edit.is_output(t))]
    return bool(halves)


def _cast_ends(edit: Edit) -> None:
    """A Cast behind each float16 input, and in front of each float16 output that is computed."""
    graph = edit.graph
    nodes = list(edit.nodes())
    for x in graph.inputs:
        readers = set(edit.readers(x))
        if x.dtype != _HALF or all(n.op == "Cast" for n in readers):
            continue
        y = Tensor(edit.name(f"{x.name}/float32"), _SINGLE, x.shape)
        edit.redirect(x, y)
        edit.emit("Cast", [x], {"dtype": "float32"}, at=next(n for n in nodes if n in readers), outputs=[y])
    for y in dict.fromkeys(graph.outputs):
        node = edit.producer(y)
        if y.dtype != _HALF or node is None or node.op == "Cast":
            continue
        inner = Tensor(edit.name(f"{y.name}/float32"), _HALF, y.shape)
        edit.redirect(y, inner)
        edit.take_outputs(node, [inner if t is y else t for t in node.outputs])
        edit.emit("Cast", [inner], {"dtype": "float16"}, after=node, outputs=[y])
