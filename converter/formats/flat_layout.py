"""Where the pieces of a flatbuffer stand, and their bytes.

Offsets point forward only, so a parent stands before its children. Layout of a file:

    root offset, identifier | vtables | tables, small vectors, strings | row tables | large vectors, not copied

A table's 8-byte scalars follow its first word directly, so it begins at 4 mod 8; other nodes of an odd number of words
are used to get there without padding.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..errors import OutputError
from .flat_schema import Field, Schema

MAX_BYTES = 2**31 - 1
U32 = struct.Struct("<I")


class Node:
    """A piece of the file. `kids`: (byte in the piece, node its offset leads to). `align` holds for the byte at +4."""

    __slots__ = ("align", "at", "data", "kids", "payload", "rows", "size", "vtable", "waiting")

    def __init__(self, data: bytes, align: int, kids: tuple[tuple[int, Node], ...] = (), vtable: bytes = b"") -> None:
        self.data, self.align, self.kids, self.vtable = data, align, kids, vtable
        self.size = -len(data) % 4 + len(data)
        self.rows: tuple[Pool, int, int] | None = None
        self.payload: np.ndarray | None = None
        self.at = self.waiting = 0


class Layout:
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


class Pool:
    """All row tables of one type with the same fields, laid out in one go by numpy; equal rows are one table."""

    def __init__(self, schema: Schema, table: str, names: tuple[str, ...]) -> None:
        self.names = names
        self.parts: list[np.ndarray] = []
        self.count = 0  # rows
        self.rows = np.empty(0, schema.dtype(table))  # the tables, once they are placed
        self.table_of = np.empty(0, np.int64)  # of each row
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
        rows = np.concatenate(self.parts)
        first, self.table_of = _distinct([rows[name] for name in self.names], len(rows))
        self.rows = rows[first]
        self.at = at + -(at + self.lead) % self.align
        return self.at + -(-len(first) // self.step) * self.bytes

    def positions(self, start: int, count: int) -> np.ndarray:
        index = self.table_of[start : start + count]
        return self.at + index // self.step * self.bytes + index % self.step * 4

    def fill(self, out: bytearray, vtable_at: Mapping[bytes, int]) -> None:
        rows = self.rows
        groups = -(-len(rows) // self.step)
        if len(rows) < groups * self.step:
            rows = np.concatenate([rows, rows[-1:]])
        first = np.arange(groups) * self.bytes + self.at
        done = dict.fromkeys((name for name, _, _ in self.columns), 0)
        for name, dtype, offset in self.columns:
            k, done[name] = done[name], done[name] + 1
            target = np.ndarray((groups,), dtype, out, self.at + offset, (self.bytes,))
            target[:] = rows[name][k :: self.step] if name else first + 4 * k - vtable_at[self.vtables[k]]


def _distinct(columns: Sequence[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of rows whose columns these are: the first of each that differs from all before it, in their order, and which of
    those each row is. Numbers are told apart by their bits."""
    if not columns:
        return np.zeros(min(count, 1), np.int64), np.zeros(count, np.int64)
    kinds = [(str(k), np.void, column.itemsize) for k, column in enumerate(columns)]
    packed = np.empty(count, kinds)
    for (name, *_), column in zip(kinds, columns):
        packed[name] = np.ascontiguousarray(column).view((np.void, column.itemsize))
    whole = packed.view((np.void, packed.itemsize))
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[order] = np.arange(len(first))
    return first[order], rank[inverse.reshape(-1)]


def vtable_bytes(offsets: Mapping[int, int], size: int) -> bytes:
    """The vtable of a table of `size` bytes with these slot → offset."""
    slots = max(offsets, default=-1) + 1
    return struct.pack(f"<{slots + 2}H", 2 * slots + 4, size, *(offsets.get(k, 0) for k in range(slots)))


def chunks(
    root: Node, pools: Iterable[Pool], payloads: list[tuple[Node, np.ndarray]], identifier: bytes
) -> Iterator[bytes | bytearray | np.ndarray]:
    """The file in pieces: the structure, then each large vector with the word (and padding) before it."""
    pools = [pool for pool in pools if pool.count]
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
    for node, payload in payloads:
        node.at = end + -(end + 4) % node.align
        end = node.at + 4 + payload.nbytes
        end += -end % 4
    if end > MAX_BYTES:
        raise OutputError(
            f"the file would have {end} bytes; a flatbuffer ends at 2 GiB", hint="to quantize the weights"
        )
    out = bytearray(structure)
    U32.pack_into(out, 0, root.at)
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
            U32.pack_into(out, at + offset, kid.at - at - offset)
        if node.rows:
            pool, start, count = node.rows
            words = np.ndarray((count,), "<u4", out, at + 4)
            words[:] = pool.positions(start, count) - np.arange(at + 4, at + 4 + 4 * count, 4)
    for pool in pools:
        pool.fill(out, vtables)
    yield out
    end = structure
    for node, payload in payloads:
        yield bytes(node.at - end) + node.data
        yield np.ascontiguousarray(payload).reshape(-1).view(np.uint8)
        end = node.at + 4 + payload.nbytes
    yield bytes(-end % 4)


def _reachable(root: Node) -> list[Node]:
    """All nodes in the order of a walk from the root; counts in each how many references must be placed before it."""
    nodes, seen = [root], {id(root)}
    for node in nodes:
        for _, kid in node.kids:
            kid.waiting += 1
            if id(kid) not in seen:
                seen.add(id(kid))
                nodes.append(kid)
    return nodes


def _place(root: Node, at: int) -> int:
    """Give every node its byte, parents first, padding only when no waiting node fits; returns the byte behind."""
    by_align: dict[int, deque[Node]] = {8: deque(), 16: deque()}
    even: deque[Node] = deque()
    odd: deque[Node] = deque()

    def ready(node: Node) -> None:
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
