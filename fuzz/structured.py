"""Mutations that keep a file's form: a field, a vector, an element of the tables or messages that the bytes hold.

Most mutations of bytes break an offset or a length, and the reader says so at once. These change what the file says
instead: sizes, indices, types, attributes, absent and repeated parts, parts of another file.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from bitlite.converter.formats import ms_schema, tflite_schema
from bitlite.converter.formats.flat import Record, decode, encode

_SCHEMAS = {"tflite": (tflite_schema.SCHEMA, b"TFL3"), "ms": (ms_schema.SCHEMA, b"MSL2")}
_INTS = (0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 127, 255, 1000, 65536, 1 << 20, (1 << 31) - 1, -1, -2, -128, -(1 << 31),
         1 << 40, (1 << 63) - 1, -(1 << 63))  # fmt: skip
_REALS = (0.0, 1.0, -1.0, 0.5, 1e-40, 1e-9, 1e9, 3e38, float("nan"), float("inf"), float("-inf"))


def mutate(kind: str, data: bytes, other: bytes | None, seed: int) -> bytes | None:
    """One to three changes of the parts of `data`, with parts of `other`; None where the bytes are no such file."""
    rng = random.Random(seed)
    try:
        return _onnx(data, other, rng) if kind == "onnx" else _flat(kind, data, other, rng)
    except Exception:  # not a file of this kind, or one that its writer does not write
        return None


def _number(rng: random.Random, now: float) -> Any:
    if isinstance(now, bool):
        return not now
    if isinstance(now, float):
        return rng.choice((*_REALS, now * 2, -now))
    return rng.choice((now + 1, now - 1, now * 2, -now, rng.choice(_INTS), rng.choice(_INTS[:9])))


def _edit_list(items: list[Any], rng: random.Random, change: Callable[[Any], Any]) -> list[Any]:
    """Drops, repeats, swaps or changes an element."""
    at, how = rng.randrange(len(items)), rng.randrange(6)
    if how == 0:
        return items[:at] + items[at + 1 :]
    if how == 1:
        return [*items[:at], items[at], *items[at:]]
    if how == 2:
        to = rng.randrange(len(items))
        items = list(items)
        items[at], items[to] = items[to], items[at]
        return items
    return [*items[:at], change(items[at]), *items[at + 1 :]]


def _flat(kind: str, data: bytes, other: bytes | None, rng: random.Random) -> bytes:
    schema, identifier = _SCHEMAS[kind]
    root = decode(data, schema)
    records = list(_records(root))
    spare = list(_records(decode(other, schema))) if other else []
    for _ in range(rng.choice((1, 1, 2, 3))):
        record = rng.choice(records)
        fields = record.fields()
        if not fields:
            continue
        same = [r for r in (spare or records) if r.table == record.table]
        if same and rng.random() < 0.2:
            found = rng.choice(same).fields()
            if rng.random() < 0.5:
                fields.update(found)
            else:
                name = rng.choice(list(found))
                fields[name] = found[name]
            continue
        name = rng.choice([n for n in fields if fields[n] is not None] or list(fields))
        fields[name] = _value(fields[name], rng, records + spare)
    return b"".join(bytes(part) for part in encode(root, schema, identifier=identifier))


def _records(value: Any) -> Iterator[Record]:
    if isinstance(value, Record):
        yield value
        for part in value.fields().values():
            yield from _records(part)
    elif isinstance(value, list):
        for part in value:
            yield from _records(part)


def _value(now: Any, rng: random.Random, records: list[Record]) -> Any:
    if rng.random() < 0.05:
        return None
    if isinstance(now, Record):  # an operator's options: another's
        return rng.choice(records) if rng.random() < 0.5 else now
    if isinstance(now, str):
        named = [r.fields()["name"] for r in records if isinstance(r.get("name"), str)]
        return rng.choice(["", now + "x", *named])
    if isinstance(now, np.ndarray) and now.dtype.names:
        column = rng.choice(now.dtype.names)
        now = np.concatenate([now, now[:1]]) if rng.random() < 0.2 else now.copy()
        if len(now):
            now[column][rng.randrange(len(now))] = _number(rng, now[column][0].item())
        return now
    if isinstance(now, np.ndarray):
        items = now.tolist()
        items = _edit_list(items, rng, lambda n: _number(rng, n)) if items else [0]
        return np.array(items).astype(now.dtype)
    if isinstance(now, list):
        return _edit_list(now, rng, lambda part: part) if now else now
    return _number(rng, now) if isinstance(now, (bool, int, float)) else now


def _onnx(data: bytes, other: bytes | None, rng: random.Random) -> bytes:
    import onnx

    model = onnx.ModelProto.FromString(data)
    messages = list(_messages(model))
    spare = list(_messages(onnx.ModelProto.FromString(other))) if other else []
    for _ in range(rng.choice((1, 1, 2, 3))):
        message = rng.choice(messages)
        same = [m for m in (spare or messages) if m.DESCRIPTOR is message.DESCRIPTOR and m is not message]
        if same and rng.random() < 0.2:
            found = type(message)()
            found.CopyFrom(rng.choice(same))
            if rng.random() < 0.5:
                message.MergeFrom(found)
            else:
                message.CopyFrom(found)
            messages = list(_messages(model))
            continue
        filled = [f for f, _ in message.ListFields()]
        field = rng.choice(filled if filled and rng.random() < 0.85 else list(message.DESCRIPTOR.fields))
        _edit_field(message, field, rng, messages)
        messages = list(_messages(model))
    return model.SerializeToString()


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                yield from _messages(part)


def _edit_field(message: Any, field: Any, rng: random.Random, messages: list[Any]) -> None:
    name, parts = field.name, field.message_type is not None
    now = getattr(message, name)
    if not field.is_repeated:
        if rng.random() < 0.1:
            message.ClearField(name)
        elif not parts:
            setattr(message, name, _scalar(field, now, rng, messages))
        else:
            now.SetInParent()
    elif not len(now):
        if parts:
            now.add()
        else:
            now.append(_scalar(field, field.default_value or _ZERO[field.cpp_type], rng, messages))
    elif parts:
        copies = [type(m)() for m in now]
        for copy, m in zip(copies, now):
            copy.CopyFrom(m)
        message.ClearField(name)
        now.extend(_edit_list(copies, rng, lambda part: part))
    else:
        now[:] = _edit_list(list(now), rng, lambda n: _scalar(field, n, rng, messages))


# FieldDescriptor.CPPTYPE_… → what an absent element is.
_ZERO = {1: 0, 2: 0, 3: 0, 4: 0, 5: 0.0, 6: 0.0, 7: False, 8: 0, 9: ""}


def _scalar(field: Any, now: Any, rng: random.Random, messages: list[Any]) -> Any:
    if isinstance(now, bytes):
        items = list(now) or [0]
        return bytes(_edit_list(items, rng, lambda n: n ^ 1 << rng.randrange(8)))
    if isinstance(now, str):
        named = [m.name for m in messages if "name" in m.DESCRIPTOR.fields_by_name]
        named += [text for m in messages if m.DESCRIPTOR.name == "NodeProto" for text in (*m.input, *m.output)]
        return rng.choice(["", f"{now}x", *named])
    if field.enum_type is not None:
        return rng.choice([v.number for v in field.enum_type.values])
    return _number(rng, now)
