"""Records → pieces of a flatbuffer: the writer. See `flat`; `flat_layout` gives the pieces their places.

Pieces are made from the leaves up; equal ones are one piece.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..errors import OutputError
from .files import sweep
from .flat_layout import U32, Layout, Node, Pool, chunks
from .flat_schema import SCALARS, Field, Record, Schema

LARGE = 1024  # a vector of more bytes is streamed from its array instead of copied into the structure


class _Unfit(Exception):
    """A value that its field cannot hold; every level puts its own name in front of the path."""

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(why)
        self.why, self.path = why, path


class _Writer:
    def __init__(self, schema: Schema, force: Collection[str]) -> None:
        self.schema, self.force = schema, force
        self.nodes: dict[Any, Node] = {}  # by content
        self.records: dict[int, tuple[Any, Node]] = {}  # by identity; the value is held so that its id stays its own
        self.pools: dict[tuple[str, tuple[str, ...]], Pool] = {}
        self.payloads: list[tuple[Node, np.ndarray]] = []
        self.large: dict[Any, list[Node]] = {}  # candidates for sharing a payload

    def table(self, name: str, value: Any) -> Node:
        """Node of a Record or dict of this table."""
        if isinstance(value, Record):
            if value.table != name:
                raise _Unfit(f"a {value.table} stands where a {name} belongs")
            values = value.fields()
        elif isinstance(value, Mapping):
            values = value
        else:
            raise _Unfit(f"{type(value).__name__} is no table {name}")
        known = self.records.get(id(value))
        if known is not None:
            return known[1]
        fields = _fields(self.schema, name)
        present: list[Field] = []
        content: list[Any] = []
        kids: list[tuple[int, Node]] = []
        if not values.keys() <= fields.keys():
            raise _Unfit(f"{name} has no such field", f".{min(map(str, values.keys() - fields.keys()))}")
        for key, f in fields.items():  # in slot order, so that the order of a dict changes nothing
            v = values.get(key)
            if v is None:
                continue
            if f.kind == "scalar":
                if isinstance(v, str):
                    v = self.member(f, v)
                if v != f.default or (self.force and f"{name}.{key}" in self.force):
                    present.append(f)
                    content.append(v)
                continue
            try:
                if f.kind == "union":
                    number, node = self.union(f, v)
                    present.append(f._replace(code="B", size=1))
                    content.append(number)
                    f = f._replace(slot=f.slot + 1, size=4)
                else:
                    node = self.child(f, v)
            except _Unfit as unfit:
                unfit.path = f".{key}{unfit.path}"
                raise
            kids.append((f.slot, node))
            present.append(f if f.size == 4 and f.code == "I" else f._replace(size=4, code="I"))
            content.append(0)
        layout = _layout(self.schema, name, present)
        try:
            data = layout.pack(*[content[i] for i in layout.order])
        except (struct.error, OverflowError, TypeError, ValueError):
            raise self.misfit(present, content) from None
        node = self.keep(data, layout.align, tuple((layout.offsets[slot], kid) for slot, kid in kids), layout.vtable)
        self.records[id(value)] = value, node
        return node

    def misfit(self, present: list[Field], content: list[Any]) -> _Unfit:
        for f, v in zip(present, content):
            try:
                struct.pack(f"<{f.code}", v)
            except (struct.error, OverflowError, TypeError, ValueError):
                return _Unfit(f"{v!r} does not fit in {f.type}", f".{f.name}")
        return _Unfit("a value does not fit its field")

    def member(self, f: Field, name: str) -> int:
        enum = self.schema.enums.get(f.type)
        if enum is None or name not in enum:
            raise _Unfit(f"{f.type} has no member {name!r}", f".{f.name}")
        return enum[name]

    def keep(self, data: bytes, align: int, kids: tuple[tuple[int, Node], ...] = (), vtable: bytes = b"") -> Node:
        """The node with this content, made once."""
        key = (data, align, vtable, tuple((at, id(kid)) for at, kid in kids)) if kids else (data, align, vtable)
        node = self.nodes.get(key)
        if node is None:
            node = self.nodes[key] = Node(data, align, kids, vtable)
        return node

    def union(self, f: Field, value: Any) -> tuple[int, Node]:
        name, fields = (value.table, value) if isinstance(value, Record) else value
        members = self.schema.unions[f.type]
        if name not in members or name == "NONE":
            raise _Unfit(f"{f.type} has no member {name}")
        return members[name], self.table(name, fields)

    def child(self, f: Field, value: Any) -> Node:
        if f.kind == "string":
            return self.string(value)
        if f.kind == "vector":
            return self.vector(f, value)
        if f.kind == "table":
            return self.table(f.type, value)
        if f.kind == "rows":
            return self.rows(f, value)
        kids = []
        for i, item in enumerate(value):
            try:
                kids.append((4 * i + 4, self.string(item) if f.kind == "strings" else self.table(f.type, item)))
            except _Unfit as unfit:
                unfit.path = f"[{i}]{unfit.path}"
                raise
        return self.keep(U32.pack(len(kids)) + bytes(4 * len(kids)), 4, tuple(kids))

    def string(self, value: Any) -> Node:
        if not isinstance(value, str):
            raise _Unfit(f"{type(value).__name__} is no string")
        text = value.encode("utf-8", "backslashreplace")
        return self.keep(U32.pack(len(text)) + text + b"\0", 4)

    def vector(self, f: Field, value: Any) -> Node:
        """Node of a vector of scalars; large ones stay where they are."""
        align = f.align
        if isinstance(value, (bytes, bytearray, memoryview)):
            if f.size != 1:
                raise _Unfit(f"bytes are no vector of {f.type}")
            array = np.frombuffer(value, np.uint8) if len(value) else np.empty(0, np.uint8)
        elif isinstance(value, np.ndarray):
            array = value
            if f.code == "B" and not array.dtype.hasobject:
                align = max(align, array.dtype.itemsize)
            else:
                array = _cast(f, array)
        else:
            items = list(value)
            try:
                data = struct.pack(f"<I{len(items)}{f.code}", len(items), *items)
                return Node(data, align) if f.distinct else self.keep(data, align)
            except (struct.error, OverflowError, TypeError, ValueError):
                raise _Unfit(f"not every element fits in {f.type}") from None
        align = min(align, 16)
        if array.nbytes > LARGE:
            return self.payload(array, f.size, align, f.distinct)
        data = U32.pack(array.nbytes // f.size) + array.tobytes()
        return Node(data, align) if f.distinct else self.keep(data, align)

    def payload(self, array: np.ndarray, size: int, align: int, distinct: bool) -> Node:
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if array.flags.c_contiguous:
            raw = array.reshape(-1).view(np.uint8)
            middle = len(raw) // 2
            key = (size, align, len(raw), *(raw[k : k + 64].tobytes() for k in (0, middle, len(raw) - 64)))
        else:  # the transpose is made when it is written
            raw, key = array, id(array)
        candidates = self.large.setdefault(key, [])
        for known in candidates:
            if not distinct and (known.payload is raw or _equal(known.payload, raw)):
                return known
        node = Node(U32.pack(array.nbytes // size), align)
        node.payload = raw
        self.payloads.append((node, raw))
        candidates.append(node)
        return node

    def rows(self, f: Field, value: Any) -> Node:
        array = _row_array(self.schema, f, value)
        key = ("rows", f.type, array.tobytes())
        node = self.nodes.get(key)
        if node is not None:
            return node
        fields = self.schema.fields(f.type)
        if len(array) <= 8:
            listed = array.tolist()
            used = [c for k, c in enumerate(fields) if any(row[k] != c.default for row in listed)]
        else:
            used = [c for c in fields if (array[c.name] != c.default).any()]
        names = tuple(c.name for c in fields if c in used or f"{f.type}.{c.name}" in self.force)
        pool = self.pools.get((f.type, names))
        if pool is None:
            pool = self.pools[f.type, names] = Pool(self.schema, f.type, names)
        node = self.nodes[key] = Node(U32.pack(len(array)), 4)
        if len(array):
            node.size = 4 + 4 * len(array)
            node.rows = (pool, pool.count, len(array))
            pool.parts.append(array)
            pool.count += len(array)
        return node


def _fields(schema: Schema, table: str) -> dict[str, Field]:
    key = ("fields", table)
    fields = schema.compiled.get(key)
    if fields is None:
        fields = schema.compiled[key] = {f.name: f for f in schema.fields(table)}
    return fields


def _layout(schema: Schema, table: str, present: list[Field]) -> Layout:
    key = (table, *[f.slot for f in present])
    layout = schema.compiled.get(key)
    if layout is None:
        layout = schema.compiled[key] = Layout(present)
    return layout


def _cast(f: Field, array: np.ndarray) -> np.ndarray:
    """The array in the field's dtype; refuses what the dtype cannot hold."""
    dtype = np.dtype(next(d for c, d in SCALARS.values() if c == f.code))
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "biuf":
        raise _Unfit(f"an array of {array.dtype} is no vector of {f.type}")
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
        fits = (np.isfinite(cast) == np.isfinite(array)).all() if dtype.kind == "f" else (cast == array).all()
    if not fits:
        raise _Unfit(f"not every element fits in {f.type}")
    return cast


def _row_array(schema: Schema, f: Field, value: Any) -> np.ndarray:
    dtype = schema.dtype(f.type)
    if isinstance(value, np.ndarray):
        if value.dtype == dtype:
            return value.reshape(-1)
        columns = {name: value[name] for name in value.dtype.names or ("",)} if value.dtype.names else None
    else:
        rows = [v.fields() if isinstance(v, Record) else v for v in value]
        names = dict.fromkeys(name for row in rows for name in row)
        defaults = {c.name: c.default for c in schema.fields(f.type)}
        if not names.keys() <= defaults.keys():
            raise _Unfit(f"{f.type} has no field {', '.join(sorted(names.keys() - defaults.keys()))}")
        columns = {name: np.array([row.get(name, defaults[name]) for row in rows]) for name in names}
    if columns is None or not columns.keys() <= set(dtype.names or ()):
        raise _Unfit(f"not an array of {f.type} rows")
    fields = _fields(schema, f.type)
    cast = {}
    for name, column in columns.items():
        try:
            cast[name] = _cast(fields[name], column)
        except _Unfit as unfit:
            unfit.path = f".{name}"
            raise
    return schema.row_array(f.type, len(value), **cast)


def _equal(a: np.ndarray | None, b: np.ndarray, block: int = 1 << 20) -> bool:
    if a is None or len(a) != len(b):
        return False
    return all(np.array_equal(a[k : k + block], b[k : k + block]) for k in range(0, len(b), block))


def _pieces(
    value: Any, schema: Schema, root: str | None, identifier: bytes | None, force: Collection[str], file: str
) -> Iterator[Any]:
    writer = _Writer(schema, force)
    name = root or schema.root
    try:
        node = writer.table(name, value)
    except _Unfit as unfit:
        raise OutputError(f"cannot be written: {name}{unfit.path}: {unfit.why}", file=file) from None
    return chunks(node, writer.pools.values(), writer.payloads, schema.identifier if identifier is None else identifier)


def encode(
    value: Any,
    schema: Schema,
    root: str | None = None,
    identifier: bytes | None = None,
    *,
    force: Collection[str] = (),
    file: str = "",
) -> list[memoryview]:
    """The flatbuffer of a Record (or dict) of the root table, as pieces to be written one after the other.

    Args:
        value, schema: see `flat`; `root` and `identifier` default to the schema's own.
        force: "Table.field" of scalars that are stored even when they equal their default.

    Raises:
        OutputError: an unknown field, a value that its field cannot hold, 2 GiB or more.
    """
    return [memoryview(piece) for piece in _pieces(value, schema, root, identifier, force, file) if len(piece)]


def write(
    out: BinaryIO,
    value: Any,
    schema: Schema,
    root: str | None = None,
    identifier: bytes | None = None,
    *,
    force: Collection[str] = (),
    file: str = "",
) -> int:
    """`encode` into a binary file, array by array (a transposed view is copied in its turn); returns the byte count."""
    total = 0
    for piece in sweep(_pieces(value, schema, root, identifier, force, file), len):
        total += out.write(piece) if len(piece) else 0
    return total
