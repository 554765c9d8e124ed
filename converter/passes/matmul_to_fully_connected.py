"""Names a MatMul by a constant matrix what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..ir import Graph, Tensor
from .edit import Edit
from .record import Change, Record, Refusal

_NAME = "matmul_to_fully_connected"


def matmul_to_fully_connected(graph: Graph) -> Iterator[Record]:
    """MatMul(x, constant [K, O]) ⇒ FullyConnected(x, w [O, K]).

    w is the transposed view of the same data (the constant itself with transpose_b), quantization included; a bias and
    an activation stay.

    Not when x is transposed or a vector, nor when the constant has more than two axes.
    """
    edit = Edit(graph)
    views: dict[Tensor, Tensor] = {}
    for node in edit.nodes():
        if node.op != "MatMul":
            continue
        x, b = node.inputs[0], node.inputs[1]
        if x is None or b is None or b.data is None or x.is_const:
            continue
        reason = ""
        if b.data.ndim != 2:
            reason = f"the constant has shape {b.shape}, not two axes"
        elif x.shape is None or len(x.shape) < 2:
            reason = f"the data have shape {x.shape}"
        elif node.attrs["transpose_a"]:
            reason = "the data are transposed"
        elif x.dtype.kind != "f" and x.quant is None:
            reason = f"the data are plain {x.dtype}"
        if reason:
            yield Refusal(_NAME, node.name, reason)
            continue
        w = b
        if not node.attrs["transpose_b"]:
            if b not in views:
                quant = b.quant
                if quant is not None and quant.axis is not None:
                    quant = dataclasses.replace(quant, axis=1 - quant.axis)
                views[b] = edit.constant(b.data.T, b.name, quant)
            w = views[b]
        kept = {key: node.attrs[key] for key in ("act", "dynamic")}
        node.op, node.attrs = "FullyConnected", kept | {"keep_dims": True}
        edit.set_inputs(node, [x, w, *node.inputs[2:]])
        yield Change(_NAME, node.name, "the matrix is a weight")
    edit.finish()
