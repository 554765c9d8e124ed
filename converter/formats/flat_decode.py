"""Bytes → Records: the checked flatbuffer reader. See `flat`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ModelError
from .flat_schema import SCALARS, Field, Record, Schema

MAX_TABLES = 1_000_000
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_FEW_ROWS = 3
_MANY_VTABLES = 64


class _Damage(Exception):
    """A refusal on its way up; every level puts its own name in front of the path."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at, self.why, self.path = at, why, ""


class _Session:
    """One decode: the bytes, what is decoded already, and what may still be."""

    __slots__ = ("buf", "left", "memo", "n", "plans", "tables_left", "views")

    def __init__(self, buf: memoryview) -> None:
        self.buf, self.n = buf, len(buf)
        self.left = len(buf)
        self.tables_left = MAX_TABLES
        self.memo: dict[tuple[Any, int], Any] = {}
        self.plans: dict[tuple[Any, int], _Plan] = {}
        self.views: dict[str, np.ndarray] = {}

    def charge(self, at: int, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _Damage(at, "objects overlap: more is reached than the file has bytes")

    def count(self, at: int, size: int) -> int:
        """Length of the vector at `at`, its elements of `size` bytes inside the buffer."""
        if at + 4 > self.n:
            raise _Damage(at, f"its length lies behind the end of the file ({self.n} bytes)")
        (n,) = _U32.unpack_from(self.buf, at)
        if n * size > self.n - at - 4:
            raise _Damage(at, f"{n} elements of {size} bytes do not fit in {self.n - at - 4} bytes")
        return n


class _Plan:
    """How tables with one vtable are read: a single struct for all present fields."""

    __slots__ = ("absent", "need", "present", "unpack")

    def __init__(self, s: _Session, table: _Table, at: int) -> None:
        buf, n = s.buf, s.n
        if at < 0 or at + 4 > n:
            raise _Damage(max(at, 0), "its vtable lies outside the file")
        length, _ = struct.unpack_from("<HH", buf, at)
        if length < 4 or length % 2 or at + length > n:
            raise _Damage(at, f"a vtable of {length} bytes is not possible here")
        s.charge(at, length)
        slots = struct.unpack_from(f"<{length // 2 - 2}H", buf, at + 4)
        fields: list[tuple[int, int, str, str, Reader | None]] = []
        for name, slot, code, size, reader in table.slots:
            offset = slots[slot] if slot < len(slots) else 0
            if offset:
                fields.append((offset, size, code, name, reader))
        fields.sort(key=lambda item: item[0])
        end, form = 4, ["<4x"]
        for offset, size, code, name, _reader in fields:
            if offset < end:
                raise _Damage(at, f"{name} overlaps the field before it")
            form.append(f"{offset - end}x{code}" if offset > end else code)
            end = offset + size
        self.need = end
        self.unpack = struct.Struct("".join(form)).unpack_from
        self.present = [(name, offset, reader) for offset, _, _, name, reader in fields]
        self.absent = table.absent


Reader = Callable[[_Session, int], Any]


class _Table:
    """Reader of one table type."""

    def __init__(self, schema: Schema, name: str) -> None:
        self.name = name
        self.fields = schema.fields(name) if name in schema else ()
        self.absent = {f.name: f.default for f in self.fields}
        self.unions: list[tuple[str, str, Callable[[int], _Table]]] = []
        # (name, slot, struct code, size, reader of what an offset leads to)
        self.slots: list[tuple[str, int, str, int, Reader | None]] = []
        for f in self.fields:
            if f.kind == "union":
                number = f"{f.name}_type"  # read like a scalar, taken out again by finish()
                self.unions.append((f.name, number, _member(schema, f.type)))
                self.slots += [(number, f.slot, "B", 1, None), (f.name, f.slot + 1, "I", 4, _position)]
            elif f.kind == "scalar":
                self.slots.append((f.name, f.slot, f.code, f.size, None))
            else:
                self.slots.append((f.name, f.slot, "I", 4, _reader(schema, f)))

    def values(self, s: _Session, at: int) -> dict[str, Any]:
        """Field values of the table at `at`, in slot order."""
        if at + 4 > s.n:
            raise _Damage(at, f"it lies behind the end of the file ({s.n} bytes)")
        vtable = at - _I32.unpack_from(s.buf, at)[0]
        plan = s.plans.get((self, vtable))
        if plan is None:
            plan = s.plans[self, vtable] = _Plan(s, self, vtable)
        if at + plan.need > s.n:
            raise _Damage(at, f"{plan.need} bytes of fields do not fit in {s.n - at} bytes")
        values = plan.absent.copy()
        for (name, offset, reader), value in zip(plan.present, plan.unpack(s.buf, at)):
            if reader is not None:
                if value == 0:
                    raise _Damage(at + offset, f"{name} has a null offset")
                try:
                    value = reader(s, at + offset + value)
                except _Damage as damage:
                    damage.path = f".{name}{damage.path}"
                    raise
            values[name] = value
        for name, number, member in self.unions:
            kind, where = values.pop(number, 0), values[name]
            if kind == 0:
                values[name] = None
                continue
            try:
                values[name] = (
                    Record(member(kind).name, **member(kind).absent) if where is None else member(kind)(s, where)
                )
            except _Damage as damage:
                damage.path = f".{name}{damage.path}"
                raise
        return values

    def __call__(self, s: _Session, at: int) -> Record:
        key = (self, at)
        known = s.memo.get(key)
        if known is not None:
            return known
        s.left -= 4
        s.tables_left -= 1
        if s.left < 0 or s.tables_left < 0:
            raise _Damage(at, f"more than {MAX_TABLES} tables, or overlapping ones")
        record = Record(self.name)
        record.__dict__ = self.values(s, at)
        s.memo[key] = record
        return record


def _position(_: _Session, at: int) -> int:
    return at


def _string(s: _Session, at: int) -> str:
    key = ("string", at)
    text = s.memo.get(key)
    if text is None:
        n = s.count(at, 1)
        s.charge(at, n + 4)
        text = s.memo[key] = str(s.buf[at + 4 : at + 4 + n], "utf-8", "backslashreplace")
    return text


def _vector(code: str, size: int) -> Reader:
    dtype = np.dtype(next(d for c, d in SCALARS.values() if c == code))

    def read(s: _Session, at: int) -> np.ndarray:
        n = s.count(at, size)
        return np.frombuffer(s.buf, dtype, n, at + 4) if n else np.empty(0, dtype)

    def read_bool(s: _Session, at: int) -> np.ndarray:
        s.charge(at, 4 + s.count(at, 1))
        return np.frombuffer(s.buf, np.uint8, s.count(at, 1), at + 4) != 0  # a byte of 2 is no valid numpy bool

    return read_bool if code == "?" else read


def _list(element: Reader) -> Reader:
    """Vector of offsets to strings or tables."""

    def read(s: _Session, at: int) -> list[Any]:
        key = (read, at)
        elements = s.memo.get(key)
        if elements is not None:
            return elements
        n = s.count(at, 4)
        s.charge(at, 4 + 4 * n)
        elements, where = [], at + 4
        try:
            for offset in np.frombuffer(s.buf, "<u4", n, where).tolist() if n else ():
                if offset == 0:
                    raise _Damage(where, "a null offset")
                elements.append(element(s, where + offset))
                where += 4
        except _Damage as damage:
            damage.path = f"[{len(elements)}]{damage.path}"
            raise
        s.memo[key] = elements
        return elements

    return read


def _rows(table: _Table, dtype: np.dtype) -> Reader:
    """Vector of tables that hold only scalars, as one structured array."""
    defaults = tuple(table.absent.values())

    def column(s: _Session, kind: np.dtype, at: np.ndarray) -> np.ndarray:
        view = s.views.get(kind.str)
        if view is None:  # element i begins at byte i
            view = np.ndarray((s.n - kind.itemsize + 1,), kind, s.buf, 0, (1,))
            s.views[kind.str] = view
        return view[at]

    def gather(s: _Session, tables: np.ndarray) -> np.ndarray:
        array = np.empty(len(tables), dtype)
        array[:] = defaults
        last = int(tables.max())
        if last + 4 > s.n:
            raise _Damage(last, f"it lies behind the end of the file ({s.n} bytes)")
        vtables = tables - column(s, np.dtype("<i4"), tables)
        groups: list[tuple[int, Any]] = [(int(vtables[0]), slice(None))]
        if (vtables != vtables[0]).any():
            several = np.unique(vtables)
            if len(several) > _MANY_VTABLES:  # no writer's work, and slow by groups
                return one_by_one(s, tables.tolist())
            groups = [(int(v), np.flatnonzero(vtables == v)) for v in several]
        for vtable, rows in groups:
            plan = s.plans.get((table, vtable))
            if plan is None:
                plan = s.plans[table, vtable] = _Plan(s, table, vtable)
            where = tables[rows]
            last = int(where.max())
            if last + plan.need > s.n:
                raise _Damage(last, f"{plan.need} bytes of fields do not fit in {s.n - last} bytes")
            for name, offset, _ in plan.present:
                kind = dtype[name]
                if kind == np.bool_:
                    array[name][rows] = column(s, np.dtype("|u1"), where + offset) != 0
                else:
                    array[name][rows] = column(s, kind, where + offset)
        return array

    def one_by_one(s: _Session, tables: list[int]) -> np.ndarray:
        return np.array([tuple(table.values(s, at).values()) for at in tables], dtype)

    def read(s: _Session, at: int) -> np.ndarray:
        key = (read, at)
        values = s.memo.get(key)
        if values is not None:
            return values
        n = s.count(at, 4)
        s.charge(at, 4 + 4 * n)
        if n == 0:
            values = np.empty(0, dtype)
        elif n <= _FEW_ROWS:
            offsets = struct.unpack_from(f"<{n}I", s.buf, at + 4)
            if 0 in offsets:
                raise _Damage(at, "a null offset")
            values = one_by_one(s, [at + 4 + 4 * i + offset for i, offset in enumerate(offsets)])
        else:
            offsets = np.frombuffer(s.buf, "<u4", n, at + 4).astype(np.int64)
            if not offsets.all():
                raise _Damage(at, "a null offset")
            values = gather(s, offsets + np.arange(at + 4, at + 4 + 4 * n, 4))
        s.memo[key] = values
        return values

    return read


def _table(schema: Schema, name: str) -> _Table:
    key = ("decode", name)
    table = schema.compiled.get(key)
    if table is None:
        table = schema.compiled[key] = _Table(schema, name)
    return table


def _member(schema: Schema, union: str) -> Callable[[int], _Table]:
    names = schema.unions[union]
    tables: dict[int, _Table] = {}

    def member(number: int) -> _Table:
        if number not in tables:
            tables[number] = _table(schema, names.name(number))
        return tables[number]

    return member


def _reader(schema: Schema, f: Field) -> Reader | None:
    if f.kind == "scalar":
        return None
    if f.kind == "string":
        return _string
    if f.kind == "vector":
        return _vector(f.code, f.size)
    if f.kind == "strings":
        return _list(_string)
    if f.kind == "table":
        return _table(schema, f.type)
    if f.kind == "tables":
        return _list(_table(schema, f.type))
    return _rows(_table(schema, f.type), schema.dtype(f.type))


def decode(
    buffer: Any, schema: Schema, root: str | None = None, identifier: bytes | None = None, *, file: str = ""
) -> Record:
    """The root table of a flatbuffer as a Record.

    Args:
        buffer: bytes, mmap, or anything with a contiguous buffer; numeric vectors of the result are views of it.
        schema: the format; `root` and `identifier` default to the schema's own, an identifier of b"" is not checked.
        file: name for error messages.

    Raises:
        ModelError: wrong identifier, or anything truncated or damaged, with path and byte.
    """
    root = root or schema.root
    identifier = schema.identifier if identifier is None else identifier
    view = memoryview(buffer)
    if view.format != "B" or view.ndim != 1:
        view = view.cast("B")
    if len(view) < 8:
        raise ModelError(f"a file of {len(view)} bytes is not a {root}", file=file)
    if identifier and bytes(view[4:8]) != identifier:
        raise ModelError(
            f"not a {identifier.decode()} file: bytes 4 to 7 are {bytes(view[4:8])!r} instead of {identifier!r}",
            file=file,
        )
    session = _Session(view)
    try:
        return _table(schema, root)(session, _U32.unpack_from(view)[0])
    except _Damage as damage:
        raise ModelError(
            f"truncated or damaged: {root}{damage.path} at byte {damage.at}: {damage.why}", file=file
        ) from None


def file_slice(buffer: Any, offset: int, size: int, *, file: str = "", what: str = "data") -> np.ndarray:
    """View of `buffer[offset:offset + size]`: data behind the flatbuffer part (TFLite `Buffer.offset`, `size`)."""
    n = len(buffer)
    if offset < 0 or size < 0 or offset + size > n:
        why = f"{what} at byte {offset}: {size} bytes do not fit in {n} bytes"
        raise ModelError(f"truncated or damaged: {why}", file=file)
    return np.frombuffer(buffer, np.uint8, size, offset)
