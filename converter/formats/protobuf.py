"""Protobuf without generated code: message classes from a table, and messages with their large values apart.

A message is the concatenation of its fields in any order, so that a large value can be cut out before parsing and
appended after serializing: protobuf's own objects would hold it twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BYTES = 2
"""The wire type of everything that has a length."""
LEAST = 1 << 16
"""Shorter values stay where they are."""
Span = tuple[int, int]
_TYPES = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
_MESSAGE, _ENUM = 11, 14


def messages(package: str, table: Mapping[str, str]) -> dict[str, Any]:
    """Message classes (proto2) of a schema.

    Args:
        package: a name of its own, so that another library's classes of the same schema do not meet these.
        table: message → "name:type name:type=default name:type* …", where `*` repeats a field and `name@7:type` gives
            its number (else the one after the last); an enumeration's name begins with "enum ", its text is "NAME=0 …".
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    enums = {name.removeprefix("enum ") for name in table if name.startswith("enum ")}
    for name, text in table.items():
        if name.startswith("enum "):
            # Names of values are unique in the message around an enumeration.
            enum = file.message_type.add(name=name.removeprefix("enum ")).enum_type.add(name="Value")
            for part in text.split():
                value, _, number = part.partition("=")
                enum.value.add(name=value, number=int(number))
            continue
        message, number = file.message_type.add(name=name), 0
        for part in text.split():
            key, _, rest = part.partition(":")
            key, _, given = key.partition("@")
            rest, _, default = rest.partition("=")
            number = int(given) if given else number + 1
            kind = rest.removesuffix("*")
            field: Any = message.field.add(name=key, number=number, label=3 if rest.endswith("*") else 1)
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type = _ENUM if kind in enums else _MESSAGE
                field.type_name = f".{package}.{kind}{'.Value' if kind in enums else ''}"
            if default:
                field.default_value = default
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in table
        if not name.startswith("enum ")
    }


def cut(buffer: Any, path: Sequence[int], once: int = 0) -> tuple[bytes, dict[tuple[int, ...], Span]]:
    """A serialized message without the large values of one field, and where each of them was.

    What is not a plain sequence of fields stays whole, for protobuf to judge.

    Args:
        path: the numbers of the fields that lead to the value, the value's own last.
        once: so many fields at the begin of `path` must be there once: protobuf would join several.
    Returns:
        The message, and positions along `path` but for its last → the value's span in `buffer`.
    """
    spans: dict[tuple[int, ...], Span] = {}
    try:
        parts = _cut(buffer, (0, len(buffer)), tuple(path), once, (), spans)
    except ValueError:
        return bytes(buffer), {}
    return b"".join(parts), spans


def _cut(
    buffer: Any, span: Span, path: tuple[int, ...], once: int, at: tuple[int, ...], spans: dict[tuple[int, ...], Span]
) -> list[bytes]:
    """What stays of the message at `span`."""
    if span[1] - span[0] <= LEAST:
        return [buffer[slice(*span)]]
    members = list(fields(buffer, *span))
    inner = [value for number, _, value in members if number == path[0]]
    if once > 0 and len(inner) != 1:
        raise ValueError("a field that must stand alone does not")
    if len(path) == 1:
        if len(inner) != 1 or inner[0][1] - inner[0][0] < LEAST:
            return [buffer[slice(*span)]]
        spans[at] = inner[0]
        return [buffer[slice(*whole)] for number, whole, _ in members if number != path[0]]
    kept: list[bytes] = []
    count = 0
    for number, whole, value in members:
        if number != path[0]:
            kept.append(buffer[slice(*whole)])
            continue
        parts = _cut(buffer, value, path[1:], once - 1, (*at, count), spans)
        kept += [head(path[0], sum(map(len, parts))), *parts]
        count += 1
    return kept


def head(number: int, length: int) -> bytes:
    """The key of a field that has a length, and the length."""
    return _varint(number << 3 | BYTES) + _varint(length)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def fields(buffer: Any, at: int, end: int) -> Iterator[tuple[int, Span, Span]]:
    """Per field of a message its number, where it is, and where its value is. Raises ValueError: it is none."""
    while at < end:
        begin = at
        key, at = _read_varint(buffer, at, end)
        kind = key & 7
        start = at
        if kind == 0:
            _, at = _read_varint(buffer, at, end)
        elif kind == BYTES:
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
