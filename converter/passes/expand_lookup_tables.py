"""Tables of codes that a container has no integer form for, as casts around the function itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..ir import Graph, Node, Tensor, is_quantized
from ..ops import row
from ..schema.node import own_attrs
from .edit import Edit
from .match import near
from .record import Change, Record

# What LiteRT computes on int8 codes; Swish is written as LOGISTIC and MUL on codes.
_KEPT = {
    "Abs", "Elu", "Exp", "Gelu", "HardSwish", "LeakyRelu", "Log", "Relu", "Relu6", "Rsqrt", "Sigmoid", "Sqrt", "Swish",
    "Tanh",
}  # fmt: skip
_CLAMPS = ((-1.0, 1.0), (0.0, 1.0), (0.0, 6.0), (0.0, None))


def expand_lookup_tables(graph: Graph) -> Iterator[Record]:
    """Function of codes ⇒ Dequantize → function → Quantize, where TFLite has no kernel on codes.

    A table of codes is defined as exactly this: y = clamp(rne(f(dequantize(x)) / sy) + zy).

    Not for the functions that TFLite has on codes.
    """
    yield from _open(graph, "expand_lookup_tables", _in_litert)


def expand_lookup_tables_for_ms(graph: Graph) -> Iterator[Record]:
    """Function of codes ⇒ Dequantize → function → Quantize, where a .ms can write the function of reals alone.

    These are Mish and a HardSigmoid whose slope is not 1/6; the codes stay the same.

    Not for functions that a .ms names for any type.
    """
    yield from _open(graph, "expand_lookup_tables_for_ms", _in_ms)


def _open(graph: Graph, name: str, known: Callable[[Node], bool]) -> Iterator[Record]:
    edit = Edit(graph)
    for node in edit.nodes():
        cell = row(node.op).quant
        if cell is None or not cell.table or not _on_codes(node) or known(node):
            continue
        x, y = node.required(0), node.outputs[0]
        origin = node.origin or (node.name,)
        real = edit.emit("Dequantize", [x], at=node, origin=origin).outputs[0]
        result = Tensor(edit.name(f"{y.name}/real"), np.dtype(np.float32), y.shape, None, None, y.layout)
        attrs = own_attrs(node.attrs)
        edit.emit(node.op, [real], attrs, at=node, name=node.name, outputs=[result], origin=origin)
        edit.emit("Quantize", [result], {"dtype": y.dtype.name}, at=node, outputs=[y], origin=origin)
        edit.drop(node)
        yield Change(name, node.name, "computes between casts")
    edit.finish()


def _on_codes(node: Node) -> bool:
    return is_quantized(node.inputs[0]) and is_quantized(node.outputs[0]) and len(node.inputs) == 1


def _in_litert(node: Node) -> bool:
    if node.op == "Clip":
        return (node.attrs["min"], node.attrs["max"]) in _CLAMPS
    return node.op in _KEPT and (node.op != "Elu" or node.attrs["alpha"] == 1)


def _in_ms(node: Node) -> bool:
    return node.op != "Mish" and (node.op != "HardSigmoid" or near(node.attrs["alpha"], 1 / 6))
