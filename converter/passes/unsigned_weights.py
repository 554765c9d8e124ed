"""Weights beside uint8 codes as uint8 ones, whose products onnxruntime adds exactly on every CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..ir import Graph, Node, Tensor
from ..numeric.pairs import saturate
from ..ops import row
from .edit import Edit
from .fuse_quantize import moves
from .record import Change, Record

_HALF = 128


@dataclass(frozen=True)
class Product:
    """A layer that onnxruntime multiplies in integers: its weight is input `index`, its zero point that of `zero`.

    saturates: with int8 weights, on x86 without VNNI, for some activations.
    """

    node: Node
    index: int
    zero: int | None
    saturates: bool

    @property
    def weight(self) -> Tensor:
        return self.node.required(self.index)


def unsigned_saturating_weights(graph: Graph) -> Iterator[Record]:
    """Op on codes with int8 weights whose products saturate ⇒ the same with uint8 weights, zero point 128.

    On x86 without VNNI onnxruntime adds products uint8 × int8 in pairs in saturating 16 bits; of uint8 × uint8 each
    is added in 32 bits, which takes more time.

    Not for weights of which no pair of products leaves 16 bits, nor for depthwise convolutions, multiplied one by one.
    """
    yield from _moved(graph, "unsigned_saturating_weights", everywhere=False)


def unsigned_weights(graph: Graph) -> Iterator[Record]:
    """Op on codes with int8 weights ⇒ the same with uint8 weights, zero point 128, where such weights are asked for.

    Not for float layers on stored weights, which are no integer products.
    """
    yield from _moved(graph, "unsigned_weights", everywhere=True)


def products(graph: Graph) -> Iterator[Product]:
    """The layers of a graph between casts that onnxruntime multiplies in integers, with 8-bit constant weights."""
    edit = Edit(graph)
    for node in graph.nodes:
        if node.op == "MatMulInteger":
            a, w, zero = node.inputs[0], node.inputs[1], node.input(3)
            if w is None or w.data is None or w.data.ndim < 2 or (zero is not None and not zero.is_const):
                continue
            if a is not None and a.dtype == np.uint8:
                signed = w.dtype == np.int8
                yield Product(node, 1, 3, signed and saturate(w.data.swapaxes(-1, -2)))
            continue
        cell = row(node.op).quant
        if cell is None or cell.addends is None:
            continue
        x, w = _codes(edit, node.inputs[0]), node.inputs[cell.weights[0]]
        if (
            x is None
            or w is None
            or w.data is None
            or w.quant is None
            or (x.dtype.itemsize, w.dtype.itemsize) != (1, 1)
        ):
            continue
        rows = cell.addends(node, w.data) if w.dtype == np.int8 and w.quant.bits == 8 else None
        yield Product(node, cell.weights[0], None, rows is not None and saturate(rows))


def _codes(edit: Edit, t: Tensor | None) -> Tensor | None:
    """The codes behind a Dequantize and what moves their elements."""
    source = edit.producer(t)
    while source is not None and (source.op == "ChannelsLast" or moves(source)):
        source = edit.producer(source.inputs[0])
    return source.inputs[0] if source is not None and source.op == "Dequantize" else None


def _moved(graph: Graph, name: str, *, everywhere: bool) -> Iterator[Record]:
    edit = Edit(graph)
    unsigned: dict[Tensor, Tensor] = {}
    for product in list(products(graph)):
        w = product.weight
        if w.dtype != np.int8 or not (product.saturates or everywhere):
            continue
        if w not in unsigned:
            quant = (
                None if w.quant is None else dataclasses.replace(w.quant, bits=8, zero_point=w.quant.zero_point + _HALF)
            )
            unsigned[w] = edit.constant(_higher(w.value), w.name, quant)
        inputs = [*product.node.inputs]
        inputs[product.index] = unsigned[w]
        if product.zero is not None:
            zero = product.node.input(product.zero)
            inputs += [None] * (product.zero + 1 - len(inputs))
            data = np.zeros((), np.int8) if zero is None or zero.data is None else zero.data
            inputs[product.zero] = edit.constant(_higher(data), f"{w.name}/zero_point")
        edit.set_inputs(product.node, inputs)
        yield Change(name, product.node.name, "uint8 weights")
    edit.finish()


def _higher(codes: np.ndarray) -> np.ndarray:
    return (codes.astype(np.int16) + _HALF).astype(np.uint8)
