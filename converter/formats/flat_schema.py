"""A flatbuffer schema as data, and `Record`, the value of one table.

Notation, one table a line (an indented line goes on with the one before):

    Name field:type=default@align! field:type …

The position of a field is its slot (a union takes two: its number, then its table). Types are the scalars of
`SCALARS`, an enumeration, a table, a union, `string`, and `[type]` for a vector; there are no structs and no vectors
of unions, as no model format here has them. An absent default is 0. `@align` is the schema's force_align of a
vector's data; `!` keeps the writer from storing equal vectors once. Enumerations: `Name:type MEMBER MEMBER=7 …`;
unions: `Name Table Table …`, numbered from 1, or tables whose line opens with their number (`numbered`). Tables named
in `rows` hold only scalars: a vector of them is one structured array.

Lines are parsed when a table is first used, so that importing a schema costs nothing to speak of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

# type name: (struct character, numpy dtype)
SCALARS = {
    **dict.fromkeys(("int", "int32"), ("i", "<i4")),
    **dict.fromkeys(("long", "int64"), ("q", "<i8")),
    "bool": ("?", "|b1"),
    "byte": ("b", "|i1"),
    "ubyte": ("B", "|u1"),
    "short": ("h", "<i2"),
    "ushort": ("H", "<u2"),
    "uint": ("I", "<u4"),
    "ulong": ("Q", "<u8"),
    "float": ("f", "<f4"),
    "double": ("d", "<f8"),
}


class Enum:
    """Names and numbers of an enumeration: `types.INT8` → 9, `types["INT8"]` → 9, `types.name(9)` → "INT8"."""

    def __init__(self, title: str, base: str, members: dict[str, int]) -> None:
        self.title, self.base, self.members = title, base, members
        self._names = {number: name for name, number in members.items()}

    def __getattr__(self, name: str) -> int:
        try:
            return self.__dict__["members"][name]
        except KeyError:
            raise AttributeError(f"{self.__dict__.get('title')} has no member {name}") from None

    def __getitem__(self, name: str) -> int:
        return self.members[name]

    def __contains__(self, name: object) -> bool:
        return name in self.members

    def name(self, number: int) -> str:
        """The member with this number; `"#41"` for one that this schema does not know."""
        return self._names.get(number, f"#{number}")


class Record:
    """One table's value: fields as attributes, or as items where the name is a Python keyword (`record["global"]`).

    A decoded Record has every field of its table: an absent scalar holds its default, an absent string, vector or table
    None. One made by hand (`Record("Tensor", name="x")`) has the fields given; what is not given is absent. `table` is
    the table's name; in a union it tells the member (`"#230"`, without fields, for a number the schema does not know).
    Parts that a file shares are the same object.
    """

    __slots__ = ("__dict__", "table")

    def __init__(self, table: str, /, **fields: Any) -> None:
        self.table = table
        self.__dict__.update(fields)

    if TYPE_CHECKING:  # a table's fields are what its schema says at run time

        def __getattr__(self, name: str) -> Any: ...

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def get(self, name: str, default: Any = None) -> Any:
        return self.__dict__.get(name, default)

    def fields(self) -> dict[str, Any]:
        """The fields by name (the Record's own dict)."""
        return self.__dict__

    def __repr__(self) -> str:
        return f"{self.table}({', '.join(self.__dict__)})"


class Field(NamedTuple):
    """One field. `kind`: scalar, string, vector (of scalars), strings, table, tables, rows or union."""

    name: str
    slot: int
    kind: str
    type: str  # without brackets; for enumerations the enumeration's name
    default: Any
    code: str  # struct character of a scalar (or of a vector's element)
    size: int  # bytes of that scalar; 4 for offsets
    align: int  # of a vector's data
    distinct: bool  # every value gets its own bytes


class Schema:
    """Tables, enumerations and unions of one format. See the module's docstring for the notation."""

    def __init__(
        self,
        tables: str,
        enums: str = "",
        unions: str = "",
        *,
        numbered: Mapping[str, str] | None = None,
        rows: tuple[str, ...] = (),
        root: str,
        identifier: bytes,
    ) -> None:
        self.root, self.identifier, self.rows = root, identifier, rows
        self._lines = {line.split(maxsplit=1)[0]: line for line in _lines(tables)}
        self._parsed: dict[str, tuple[Field, ...]] = {}
        self._dtypes: dict[str, np.dtype] = {}
        self.compiled: dict[Any, Any] = {}  # what the decoder and the encoder derive from the tables, by their own keys
        self.enums = {}
        for line in _lines(enums):
            title, *members = line.split()
            name, base = title.split(":")
            self.enums[name] = Enum(name, base, _numbers(members))
        self.unions = {}
        for line in _lines(unions):
            name, *members = line.split()
            self.unions[name] = Enum(name, "ubyte", {"NONE": 0, **{m: k for k, m in enumerate(members, 1)}})
        for name, text in (numbered or {}).items():
            members = {"NONE": 0}
            for line in _lines(text):
                number, member, rest = (*line.split(maxsplit=2), "")[:3]
                members[member] = int(number)
                self._lines[member] = f"{member} {rest}"
            self.unions[name] = Enum(name, "ubyte", members)

    def __contains__(self, table: object) -> bool:
        return table in self._lines

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of all tables."""
        return tuple(self._lines)

    def fields(self, table: str) -> tuple[Field, ...]:
        """Fields of a table in slot order. Raises KeyError for an unknown table."""
        parsed = self._parsed.get(table)
        if parsed is None:
            parsed = self._parsed[table] = self._parse(self._lines[table])
        return parsed

    def new(self, table: str, /, **fields: Any) -> Record:
        """A Record with every field of the table: the given ones, and defaults (or None) for the rest."""
        values = {f.name: f.default for f in self.fields(table)}
        unknown = fields.keys() - values.keys()
        if unknown:
            raise KeyError(f"{table} has no field {', '.join(sorted(unknown))}")
        return Record(table, **{**values, **fields})

    def dtype(self, table: str) -> np.dtype:
        """The structured dtype, one column a field, of a table of `rows`."""
        record_type = self._dtypes.get(table)
        if record_type is None:
            columns = [(f.name, SCALARS[self._base(f.type)][1]) for f in self.fields(table)]
            record_type = self._dtypes[table] = np.dtype(columns)
        return record_type

    def row_array(self, table: str, count: int, **columns: Any) -> np.ndarray:
        """[count] structured array of a table of `rows`: the given columns (scalars or [count]), defaults elsewhere."""
        array = np.empty(count, self.dtype(table))
        for f in self.fields(table):
            array[f.name] = columns.pop(f.name, f.default)
        if columns:
            raise KeyError(f"{table} has no field {', '.join(sorted(columns))}")
        return array

    def _base(self, type_name: str) -> str:
        return self.enums[type_name].base if type_name in self.enums else type_name

    def _parse(self, line: str) -> tuple[Field, ...]:
        fields, slot = [], 0
        for text in line.split()[1:]:
            name, rest = text.rstrip("!").split(":", 1)
            rest, _, align = rest.partition("@")
            rest, _, default = rest.partition("=")
            vector, kind_name = rest[0] == "[", rest.strip("[]")
            base = self._base(kind_name)
            code, size, value = "I", 4, None
            if base in SCALARS:
                code, dtype = SCALARS[base]
                size = np.dtype(dtype).itemsize
                kind = "vector" if vector else "scalar"
                if not vector:
                    number = float(default or 0)
                    value = number if code in "fd" else bool(number) if code == "?" else int(number)
            elif kind_name == "string":
                kind = "strings" if vector else "string"
            elif kind_name in self.unions:
                kind = "union"
            else:
                kind = "rows" if kind_name in self.rows else "tables" if vector else "table"
            aligned = max(int(align or 0), size, 4)
            fields.append(Field(name, slot, kind, kind_name, value, code, size, aligned, text[-1] == "!"))
            slot += 2 if kind == "union" else 1
        return tuple(fields)


def same(a: Any, b: Any) -> bool:
    """Deep equality of Records, lists, arrays and scalars; NaN equals NaN, and dtypes must agree."""
    if isinstance(a, Record):
        return isinstance(b, Record) and a.table == b.table and same(a.fields(), b.fields())
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and (a == b or (a != a and b != b))


def dump(value: Any, *, limit: int = 16, indent: str = "") -> str:
    """JSON-like text of a Record for people: defaults of None left out, vectors cut after `limit` elements."""
    inner = indent + "  "
    if isinstance(value, Record):
        lines = [
            f"{inner}{name}: {dump(v, limit=limit, indent=inner)}"
            for name, v in value.fields().items()
            if v is not None
        ]
        return f"{value.table} {{\n" + "\n".join(lines) + f"\n{indent}}}" if lines else f"{value.table} {{}}"
    if isinstance(value, (list, np.ndarray)):
        shown = value[:limit] if isinstance(value, list) else value[:limit].tolist()
        rest = f", … {len(value)} in all" if len(value) > limit else ""
        if any(isinstance(v, Record) for v in shown):
            return "[\n" + "".join(f"{inner}{dump(v, limit=limit, indent=inner)}\n" for v in shown) + f"{indent}{rest}]"
        return "[" + ", ".join(map(repr, shown)) + rest + "]"
    return repr(value)


def _lines(text: str) -> list[str]:
    return [line for line in text.replace("\n  ", " ").split("\n") if line]


def _numbers(members: list[str]) -> dict[str, int]:
    numbers, following = {}, 0
    for member in members:
        name, _, number = member.partition("=")
        numbers[name] = int(number) if number else following
        following = numbers[name] + 1
    return numbers
