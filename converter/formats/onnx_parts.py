"""ONNX files with their constants apart: protobuf's own objects would hold each of them twice while it is read or
written.

A message is the concatenation of its fields in any order, so an initializer's `raw_data` can be cut out before parsing,
and appended after serializing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_BYTES = 2
"""The wire type of everything that has a length."""
_LEAST = 1 << 16
"""Shorter constants stay where they are."""
Span = tuple[int, int]


def cut(buffer: Any) -> tuple[bytes, dict[int, Span]]:
    """A serialized ModelProto without the large constants of its graph, and initializer → where its bytes are.

    What is not a plain sequence of fields stays whole, for protobuf to judge.
    """
    try:
        return _cut(buffer)
    except ValueError:
        return bytes(buffer), {}


def _cut(buffer: Any) -> tuple[bytes, dict[int, Span]]:
    model = list(_fields(buffer, 0, len(buffer)))
    graphs = [value for number, _, value in model if number == _GRAPH]
    if len(graphs) != 1:
        return bytes(buffer), {}
    kept: list[bytes] = []
    spans: dict[int, Span] = {}
    count = 0
    for number, whole, value in _fields(buffer, *graphs[0]):
        if number != _INITIALIZER:
            kept.append(buffer[slice(*whole)])
            continue
        fields = list(_fields(buffer, *value)) if value[1] - value[0] > _LEAST else []
        raw = [inner for field, _, inner in fields if field == _RAW_DATA]
        if len(raw) == 1 and raw[0][1] - raw[0][0] >= _LEAST:
            spans[count] = raw[0]
            rest = b"".join(buffer[slice(*inner)] for field, inner, _ in fields if field != _RAW_DATA)
            kept.append(_head(_INITIALIZER, len(rest)) + rest)
        else:
            kept.append(buffer[slice(*whole)])
        count += 1
    graph = b"".join(kept)
    outside = [buffer[slice(*whole)] for number, whole, _ in model if number != _GRAPH]
    return b"".join([*outside, _head(_GRAPH, len(graph)), graph]), spans


def write_joined(out: BinaryIO, model: Any, constants: Sequence[tuple[int, Iterator[np.ndarray]]]) -> None:
    """Writes a ModelProto whose initializers get their `raw_data` here.

    Args:
        constants: per initializer its bytes' number, and what makes them when their turn comes.
    """
    protos = [proto.SerializeToString(deterministic=True) for proto in model.graph.initializer]
    del model.graph.initializer[:]
    graph = model.graph.SerializeToString(deterministic=True)
    model.ClearField("graph")
    heads = [_head(_RAW_DATA, size) for size, _ in constants]
    sizes = [len(proto) + len(head) + size for proto, head, (size, _) in zip(protos, heads, constants, strict=True)]
    whole = len(graph) + sum(len(_head(_INITIALIZER, size)) + size for size in sizes)
    out.write(model.SerializeToString(deterministic=True) + _head(_GRAPH, whole) + graph)
    for proto, head, size, (_, data) in zip(protos, heads, sizes, constants, strict=True):
        out.write(_head(_INITIALIZER, size) + proto + head)
        for array in data:
            out.write(array.data.cast("B"))


def _head(number: int, length: int) -> bytes:
    """The key of a field that has a length, and the length."""
    return _varint(number << 3 | _BYTES) + _varint(length)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _fields(buffer: Any, at: int, end: int) -> Iterator[tuple[int, Span, Span]]:
    """Per field of a message its number, where it is, and where its value is. Raises ValueError: it is none."""
    while at < end:
        begin = at
        key, at = _read_varint(buffer, at, end)
        kind = key & 7
        start = at
        if kind == 0:
            _, at = _read_varint(buffer, at, end)
        elif kind == _BYTES:
            size, start = _read_varint(buffer, at, end)
            at = start + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field ends outside of its message")
        yield key >> 3, (begin, at), (start, at)


def _read_varint(buffer: Any, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("no varint")
