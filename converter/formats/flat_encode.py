"""Records → bytes: the flatbuffer writer. See `flat`.

Offsets point forward only, so a parent stands before its children: nodes are built from the leaves up (equal ones are
one node), then placed from the root down, each where its alignment costs least. Layout of a file:

    root offset, identifier | vtables | tables, small vectors, strings | row tables | large vectors, not copied

A table's 8-byte scalars follow its first word directly, so it begins at 4 mod 8; other nodes of an odd number of words
are used to get there without padding.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..errors import OutputError
from .flat_schema import SCALARS, Field, Record, Schema

MAX_BYTES = 2**31 - 1
LARGE = 1024  # a vector of more bytes is streamed from its array instead of copied into the structure
_U32 = struct.Struct("<I")


class _Unfit(Exception):
    """A value that its field cannot hold; every level puts its own name in front of the path."""

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(why)
        self.why, self.path = why, path


class _Node:
    """A piece of the file. `kids`: (byte in the piece, node its offset leads to). `align` holds for the byte at +4."""

    __slots__ = ("align", "at", "data", "kids", "payload", "rows", "size", "vtable", "waiting")

    def __init__(self, data: bytes, align: int, kids: tuple[tuple[int, _Node], ...] = (), vtable: bytes = b"") -> None:
        self.data, self.align, self.kids, self.vtable = data, align, kids, vtable
        self.size = -len(data) % 4 + len(data)
        self.rows: tuple[_Pool, int, int] | None = None
        self.payload: np.ndarray | None = None
        self.at = self.waiting = 0


class _Layout:
    """Where the fields of a table stand that has these slots: largest first, so that nothing is padded in between."""

    def __init__(self, present: list[Field]) -> None:
        order = sorted(range(len(present)), key=lambda i: (-present[i].size, present[i].slot))
        form, at, offsets = ["<4x"], 4, {}
        for i in order:
            f = present[i]
            form.append(f.code)
            offsets[f.slot] = at
            at += f.size
        self.order = order
        self.offsets = offsets
        self.pack = struct.Struct("".join(form)).pack
        self.vtable = vtable_bytes(offsets, at)
        self.align = 8 if present and present[order[0]].size == 8 else 4


class _Pool:
    """All row tables of one type with the same fields, laid out in one go by numpy."""

    def __init__(self, schema: Schema, table: str, names: tuple[str, ...]) -> None:
        self.parts: list[np.ndarray] = []
        self.count = 0
        fields = sorted((f for f in schema.fields(table) if f.name in names), key=lambda f: (-f.size, f.slot))
        total = 4 + sum(f.size for f in fields)
        total += -total % 4
        wide = bool(fields) and fields[0].size == 8
        # A table of 8-byte fields and an odd number of words would need a word of padding. Two of them interleaved,
        # word, word, eights, eights, rest, rest, need none: their vtables say how far apart the fields stand.
        self.step = 2 if wide and total % 8 else 1
        self.align = 8 if wide else 4  # of the first 8-byte field
        self.lead = 4 * self.step
        self.bytes = total * self.step
        at = self.lead
        self.columns: list[tuple[str, np.dtype, int]] = [("", np.dtype("<i4"), 4 * k) for k in range(self.step)]
        slots: list[dict[int, int]] = [{} for _ in range(self.step)]
        for size in (8, 4, 2, 1):
            for k in range(self.step):
                for f in fields:
                    if f.size == size:
                        self.columns.append((f.name, schema.dtype(table)[f.name], at))
                        slots[k][f.slot] = at - 4 * k
                        at += size
        self.vtables = [vtable_bytes(slots[k], self.bytes - 4 * k) for k in range(self.step)]
        self.at = 0

    def place(self, at: int) -> int:
        """Put the tables at the first fitting byte from `at` on; returns the byte behind them."""
        self.at = at + -(at + self.lead) % self.align
        return self.at + -(-self.count // self.step) * self.bytes

    def positions(self, start: int, count: int) -> np.ndarray:
        index = np.arange(start, start + count)
        return self.at + index // self.step * self.bytes + index % self.step * 4

    def fill(self, out: bytearray, vtable_at: Mapping[bytes, int]) -> None:
        groups = -(-self.count // self.step)
        rows = np.concatenate(self.parts)
        if len(rows) < groups * self.step:
            rows = np.concatenate([rows, rows[-1:]])
        first = np.arange(groups) * self.bytes + self.at
        done = dict.fromkeys((name for name, _, _ in self.columns), 0)
        for name, dtype, offset in self.columns:
            k, done[name] = done[name], done[name] + 1
            target = np.ndarray((groups,), dtype, out, self.at + offset, (self.bytes,))
            target[:] = rows[name][k :: self.step] if name else first + 4 * k - vtable_at[self.vtables[k]]


def vtable_bytes(offsets: Mapping[int, int], size: int) -> bytes:
    """The vtable of a table of `size` bytes with these slot → offset."""
    slots = max(offsets, default=-1) + 1
    return struct.pack(f"<{slots + 2}H", 2 * slots + 4, size, *(offsets.get(k, 0) for k in range(slots)))


class _Writer:
    def __init__(self, schema: Schema, force: Collection[str]) -> None:
        self.schema, self.force = schema, force
        self.nodes: dict[Any, _Node] = {}  # by content
        self.records: dict[int, tuple[Any, _Node]] = {}  # by identity; the value is held so that its id stays its own
        self.pools: dict[tuple[str, tuple[str, ...]], _Pool] = {}
        self.payloads: list[_Node] = []
        self.large: dict[Any, list[_Node]] = {}  # candidates for sharing a payload

    def table(self, name: str, value: Any) -> _Node:
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
        kids: list[tuple[int, _Node]] = []
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

    def keep(self, data: bytes, align: int, kids: tuple[tuple[int, _Node], ...] = (), vtable: bytes = b"") -> _Node:
        """The node with this content, made once."""
        key = (data, align, vtable, tuple((at, id(kid)) for at, kid in kids)) if kids else (data, align, vtable)
        node = self.nodes.get(key)
        if node is None:
            node = self.nodes[key] = _Node(data, align, kids, vtable)
        return node

    def union(self, f: Field, value: Any) -> tuple[int, _Node]:
        name, fields = (value.table, value) if isinstance(value, Record) else value
        members = self.schema.unions[f.type]
        if name not in members or name == "NONE":
            raise _Unfit(f"{f.type} has no member {name}")
        return members[name], self.table(name, fields)

    def child(self, f: Field, value: Any) -> _Node:
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
        return self.keep(_U32.pack(len(kids)) + bytes(4 * len(kids)), 4, tuple(kids))

    def string(self, value: Any) -> _Node:
        if not isinstance(value, str):
            raise _Unfit(f"{type(value).__name__} is no string")
        text = value.encode("utf-8", "backslashreplace")
        return self.keep(_U32.pack(len(text)) + text + b"\0", 4)

    def vector(self, f: Field, value: Any) -> _Node:
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
                return _Node(data, align) if f.distinct else self.keep(data, align)
            except (struct.error, OverflowError, TypeError, ValueError):
                raise _Unfit(f"not every element fits in {f.type}") from None
        align = min(align, 16)
        if array.nbytes > LARGE:
            return self.payload(array, f.size, align, f.distinct)
        data = _U32.pack(array.nbytes // f.size) + array.tobytes()
        return _Node(data, align) if f.distinct else self.keep(data, align)

    def payload(self, array: np.ndarray, size: int, align: int, distinct: bool) -> _Node:
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
        node = _Node(_U32.pack(array.nbytes // size), align)
        node.payload = raw
        self.payloads.append(node)
        candidates.append(node)
        return node

    def rows(self, f: Field, value: Any) -> _Node:
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
            pool = self.pools[f.type, names] = _Pool(self.schema, f.type, names)
        node = self.nodes[key] = _Node(_U32.pack(len(array)), 4)
        if len(array):
            node.size = 4 + 4 * len(array)
            node.rows = (pool, pool.count, len(array))
            pool.parts.append(array)
            pool.count += len(array)
        return node

    def chunks(self, root: _Node, identifier: bytes) -> Iterator[bytes | bytearray | np.ndarray]:
        """The file in pieces: the structure, then each large vector with the word (and padding) before it."""
        pools = [pool for pool in self.pools.values() if pool.count]
        nodes = _reachable(root)
        vtables: dict[bytes, int] = {}
        at = 8
        for vtable in [n.vtable for n in nodes if n.vtable] + [v for pool in pools for v in pool.vtables]:
            if vtable not in vtables:
                vtables[vtable] = at
                at += len(vtable)
        at = _place(root, at + -at % 4)
        for pool in pools:
            at = pool.place(at)
        structure = end = at
        for node in self.payloads:
            node.at = end + -(end + 4) % node.align
            assert node.payload is not None
            end = node.at + 4 + node.payload.nbytes
            end += -end % 4
        if end > MAX_BYTES:
            raise OutputError(
                f"the file would have {end} bytes; a flatbuffer ends at 2 GiB", hint="to quantize the weights"
            )
        out = bytearray(structure)
        _U32.pack_into(out, 0, root.at)
        out[4 : 4 + len(identifier)] = identifier
        for vtable, where in vtables.items():
            out[where : where + len(vtable)] = vtable
        for node in nodes:
            if node.payload is not None:
                continue
            at = node.at
            out[at : at + len(node.data)] = node.data
            if node.vtable:
                struct.pack_into("<i", out, at, at - vtables[node.vtable])
            for offset, kid in node.kids:
                _U32.pack_into(out, at + offset, kid.at - at - offset)
            if node.rows:
                pool, start, count = node.rows
                words = np.ndarray((count,), "<u4", out, at + 4)
                words[:] = pool.positions(start, count) - np.arange(at + 4, at + 4 + 4 * count, 4)
        for pool in pools:
            pool.fill(out, vtables)
        yield out
        end = structure
        for node in self.payloads:
            assert node.payload is not None
            yield bytes(node.at - end) + node.data
            yield np.ascontiguousarray(node.payload).reshape(-1).view(np.uint8)
            end = node.at + 4 + node.payload.nbytes
        yield bytes(-end % 4)


def _reachable(root: _Node) -> list[_Node]:
    """All nodes in the order of a walk from the root; counts in each how many references must be placed before it."""
    found, seen = [root], {id(root)}
    for node in found:
        for _, kid in node.kids:
            kid.waiting += 1
            if id(kid) not in seen:
                seen.add(id(kid))
                found.append(kid)
    return found


def _place(root: _Node, at: int) -> int:
    """Give every node its byte, parents first, padding only when no waiting node fits; returns the byte behind."""
    by_align: dict[int, deque[_Node]] = {8: deque(), 16: deque()}
    even: deque[_Node] = deque()
    odd: deque[_Node] = deque()

    def ready(node: _Node) -> None:
        if node.payload is None:
            by_align.get(node.align, odd if node.size % 8 else even).append(node)

    ready(root)
    wide, widest = by_align[8], by_align[16]
    while even or odd or wide or widest:
        if widest and at % 16 == 12:
            node = widest.popleft()
        elif wide and at % 8 == 4:
            node = wide.popleft()
        elif even or odd:
            turn = (wide or widest) and at % 8 == 0
            node = odd.popleft() if odd and (turn or not even) else even.popleft()
        else:
            at += 4
            continue
        node.at = at
        at += node.size
        for _, kid in node.kids:
            kid.waiting -= 1
            if kid.waiting == 0:
                ready(kid)
    return at


def _fields(schema: Schema, table: str) -> dict[str, Field]:
    key = ("fields", table)
    found = schema.compiled.get(key)
    if found is None:
        found = schema.compiled[key] = {f.name: f for f in schema.fields(table)}
    return found


def _layout(schema: Schema, table: str, present: list[Field]) -> _Layout:
    key = (table, *[f.slot for f in present])
    found = schema.compiled.get(key)
    if found is None:
        found = schema.compiled[key] = _Layout(present)
    return found


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
    return writer.chunks(node, schema.identifier if identifier is None else identifier)


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
    for piece in _pieces(value, schema, root, identifier, force, file):
        total += out.write(piece) if len(piece) else 0
    return total
