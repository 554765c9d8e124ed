"""What the official flatbuffer verifier insists on, written from its rules and without the project's decoder."""

from __future__ import annotations

import struct

ROOM = {"b": 1, "B": 1, "?": 1, "h": 2, "H": 2, "i": 4, "I": 4, "f": 4, "q": 8, "Q": 8, "d": 8}


def verify(data: bytes, schema) -> int:
    """Checks alignment, bounds, vtables and string ends of every object reached; returns the number of tables."""
    seen: set[tuple[str, int]] = set()

    def word(at: int, code: str = "I") -> int:
        size = ROOM[code]
        assert at % size == 0, f"{code} at {at} is not aligned"
        assert at + size <= len(data), f"{code} at {at} is outside"
        return struct.unpack_from("<" + code, data, at)[0]

    def vector(at: int, size: int, align: int) -> int:
        count = word(at)
        assert (at + 4) % align == 0, f"vector data at {at + 4} is not aligned to {align}"
        assert at + 4 + count * size <= len(data)
        return count

    def string(at: int) -> None:
        count = vector(at, 1, 1)
        assert data[at + 4 + count] == 0, f"string at {at} does not end in NUL"

    def table(name: str, at: int) -> None:
        if (name, at) in seen:
            return
        seen.add((name, at))
        vtable = at - word(at, "i")
        length, size = word(vtable, "H"), word(vtable + 2, "H")
        assert length % 2 == 0 and length >= 4 and vtable + length <= len(data)
        assert at + size <= len(data)

        def place(slot: int, room: int) -> int:
            offset = word(vtable + 4 + 2 * slot, "H") if 4 + 2 * slot < length else 0
            assert offset == 0 or 4 <= offset <= size - room, f"{name} slot {slot} lies outside its table"
            return at + offset if offset else 0

        def follow(slot: int) -> int:
            where = place(slot, 4)
            if not where:
                return 0
            assert word(where), f"{name} slot {slot} has a null offset"
            return where + word(where)

        for f in schema.fields(name):
            if f.kind == "scalar":
                where = place(f.slot, f.size)
                if where:
                    word(where, f.code)
                continue
            if f.kind == "union":
                number, value = place(f.slot, 1), follow(f.slot + 1)
                assert bool(number) == bool(value)
                if value:
                    table(schema.unions[f.type].name(data[number]), value)
                continue
            where = follow(f.slot)
            if not where:
                continue
            if f.kind == "string":
                string(where)
            elif f.kind == "vector":
                vector(where, f.size, f.align)
            elif f.kind == "table":
                table(f.type, where)
            else:
                for i in range(vector(where, 4, 4)):
                    item = where + 4 + 4 * i
                    assert word(item)
                    if f.kind == "strings":
                        string(item + word(item))
                    else:
                        table(f.type, item + word(item))

    assert data[4:8] == schema.identifier
    table(schema.root, word(0))
    return len(seen)
