"""Computes once what is computed twice, and stores once what is stored twice."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np

from ..formats.files import sweep
from ..ir import Graph, Node, Tensor
from ..ops import row
from .edit import Edit, trail
from .record import Change, Record

_NAME = "eliminate_common_subexpressions"
# Rows that are not folded, and still give the same for the same.
_DETERMINISTIC = ("Quantize", "Dequantize", "Reinterpret")
# Constants are told apart by so many of their elements first; only look-alikes are read in full.
_PROBE = 16
_BLOCK = 1 << 20  # bytes that are read at a time


def eliminate_common_subexpressions(graph: Graph) -> Iterator[Record]:
    """Op(x), Op(x) ⇒ Op(x), and two constants with the same bytes ⇒ one.

    Nodes are the same when operator, attributes, inputs and output types are. Constants are the same when dtype, shape,
    quantization and every byte are.

    Not for random operators and those that hold graphs, nor when both results are graph outputs.
    """
    edit = Edit(graph)
    yield from _merge_constants(edit)
    seen: dict[Hashable, Node] = {}
    for node in edit.nodes():
        key = _key(node)
        if key is None:
            continue
        first = seen.setdefault(key, node)
        if first is node:
            continue
        pairs = list(zip(node.outputs, first.outputs))
        if any(edit.is_output(a) and edit.is_output(b) for a, b in pairs):
            continue
        for mine, theirs in pairs:
            edit.alias(mine, theirs)
        edit.drop(node)
        first.origin = trail(first, node)
        yield Change(_NAME, node.name, f"is the same as {first.name!r}")
    edit.finish()


def _key(node: Node) -> Hashable | None:
    if not row(node.op).foldable and node.op not in _DETERMINISTIC:
        return None
    try:
        attrs = tuple((k, _frozen(v)) for k, v in sorted(node.attrs.items()))
        outputs = tuple((t.dtype, t.shape, t.quant) for t in node.outputs)
        key = (node.op, attrs, tuple(None if t is None else id(t) for t in node.inputs), outputs)
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Hashable:
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Graph):
        raise TypeError("a graph is not compared")
    # 1, 1.0 and True are equal and are not the same attribute.
    return type(value).__name__, value


def _merge_constants(edit: Edit) -> Iterator[Record]:
    alike: dict[Hashable, list[Tensor]] = {}
    for t in sweep(edit.graph.constants(), lambda t: t.nbytes):
        alike.setdefault(_look(t), []).append(t)
    for group in alike.values():
        if len(group) < 2:
            continue
        first: dict[Hashable, Tensor] = {}
        places: dict[Hashable, Hashable] = {}
        for t in group:
            place = _place(t)
            if place not in places:
                places[place] = _content(t)
            kept = first.setdefault(places[place], t)
            if kept is not t and edit.readers(t) and edit.alias(t, kept):
                yield Change(_NAME, t.name, f"holds the same as {kept.name!r}")


def _look(t: Tensor) -> Hashable:
    data = t.value
    step = [slice(None, None, max(1, -(-n // _PROBE))) for n in data.shape[-1:]]
    corner = data[(*[0] * max(data.ndim - 1, 0), *step)] if data.size else data
    return data.dtype.str, data.shape, t.quant, np.ascontiguousarray(corner).tobytes()


def _place(t: Tensor) -> Hashable:
    """Two views of the same bytes are equal without reading them."""
    return t.value.__array_interface__["data"][0], t.value.strides


def _content(t: Tensor) -> bytes:
    data = t.value
    digest = hashlib.blake2b(digest_size=16)
    if not data.size:
        return digest.digest()
    data = np.atleast_1d(data)
    rows = max(1, (_BLOCK * len(data)) // data.nbytes)
    for begin in range(0, len(data), rows):  # a transposed view is copied block by block
        digest.update(np.ascontiguousarray(data[begin : begin + rows]).view(np.uint8).reshape(-1).data)
    return digest.digest()
