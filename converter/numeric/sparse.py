"""MindSpore Lite's two other codecs for weight codes of b bits, and the choice of the smallest.

Both are streams of MSB-first fields that open with a table of the distinct values:
    INDEXING  count(b)  values(b each, offset by 2^(b-1), sorted)  an index per element
    SPARSE    gap_bits(8)  stored(32)  count(b)  values  an index per stored element  a gap per stored element
A count of 2^b is written as 0; an index takes ceil(log2(count)) bits, none when there is one value. SPARSE leaves out
elements that equal their channel's zero point, but stores one whenever the gap would reach 2^gap_bits; a gap is the
distance to the stored element before, less one. The channel of element i is i / (n / channels), so with zero points
that differ SPARSE is right only for a leading channel axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .packing import (
    Bytes,
    as_bytes,
    from_unsigned,
    get_fields,
    pack,
    packed_size,
    put_fields,
    storage_dtype,
    to_unsigned,
    unpack,
)

NONE, INDEXING, SPARSE, BITPACKING = "NONE", "INDEXING", "SPARSE", "BITPACKING"
_GAP_BITS = range(2, 11)
_BLOCK = 1 << 20


class Choice(NamedTuple):
    """The cheapest codec of a tensor: its name, exact bytes, and SPARSE's gap width."""

    kind: str
    size: int
    gap_bits: int = 0


def _values(q: NDArray, bits: int) -> NDArray[np.int64]:
    """The distinct codes, sorted."""
    half = 1 << (bits - 1)
    seen = np.zeros(1 << bits, bool)
    begin, size = 0, 1 << bits  # the first elements mostly have them all
    while begin < q.size and not seen.all():
        seen[q[begin : begin + size].astype(np.int32) + half] = True
        begin, size = begin + size, min(2 * size, _BLOCK)
    return np.flatnonzero(seen) - half


def _index_bits(count: int) -> int:
    return (count - 1).bit_length()


def _stored(q: NDArray, zero_points: NDArray) -> NDArray[np.int64]:
    """Positions of the elements that differ from their channel's zero point."""
    rows = q.reshape(len(zero_points), -1)
    return np.flatnonzero(rows != zero_points.astype(q.dtype)[:, None])


def _gaps(positions: NDArray, count: int) -> NDArray[np.int64]:
    """Elements left out before each position, and after the last."""
    return np.diff(positions, prepend=-1, append=count) - 1


def sparse_allowed(q: NDArray, bits: int, zero_points: NDArray, axis: int | None) -> bool:
    """Whether SPARSE's rule for the channel of an element finds the right zero point, and each is a code."""
    half = 1 << (bits - 1)
    if (zero_points < -half).any() or (zero_points >= half).any():
        return False
    equal = bool((zero_points == zero_points[0]).all())
    return q.size > 0 and (equal or (axis == 0 and q.shape[0] == len(zero_points)))


def _sparse_zero_points(q: NDArray, zero_points: NDArray) -> NDArray:
    return zero_points if q.size % len(zero_points) == 0 else zero_points[:1]


def choose(q: NDArray, bits: int, zero_points: NDArray, axis: int | None = 0) -> Choice:
    """The smallest of plain or packed, INDEXING and SPARSE for codes q, without encoding them; ties go to the former.

    zero_points int [1] or [channels] along `axis`.
    """
    plain = Choice(NONE if bits in (8, 16) else BITPACKING, packed_size(q.size, bits))
    if not q.size:
        return plain
    flat = q.reshape(-1)
    values = _values(flat, bits)
    index = _index_bits(len(values))
    table = bits * (1 + len(values))
    best = plain
    size = -(-(table + index * q.size) // 8)
    if size < best.size:
        best = Choice(INDEXING, size)
    if not sparse_allowed(q, bits, zero_points, axis):
        return best
    # The narrowest gaps bound the cost from below, so that dense tensors are dismissed by a count.
    points = _sparse_zero_points(q, zero_points)
    dense = np.count_nonzero(flat.reshape(len(points), -1) != points.astype(q.dtype)[:, None])
    if (40 + table + dense * (index + _GAP_BITS[0])) // 8 >= best.size:
        return best
    gaps = _gaps(_stored(flat, points), q.size)
    for gap_bits in _GAP_BITS:
        stored = dense + int((gaps >> gap_bits).sum())
        size = -(-(40 + table + stored * (index + gap_bits)) // 8)
        if size < best.size:
            best = Choice(SPARSE, size, gap_bits)
    return best


def encoded_size(q: NDArray, bits: int, zero_points: NDArray, axis: int | None = 0) -> int:
    """Bytes of the smallest codec."""
    return choose(q, bits, zero_points, axis).size


def smallest(q: NDArray, bits: int, zero_points: NDArray, axis: int | None = 0) -> tuple[str, Bytes]:
    """(kind, bytes) of the smallest codec: NONE, BITPACKING, INDEXING or SPARSE."""
    choice = choose(q, bits, zero_points, axis)
    if choice.kind == INDEXING:
        return INDEXING, encode_indexing(q, bits)
    if choice.kind == SPARSE:
        return SPARSE, encode_sparse(q, bits, zero_points, choice.gap_bits)
    return choice.kind, pack(q, bits)


def encode_indexing(q: NDArray, bits: int) -> Bytes:
    """The INDEXING stream of codes q."""
    flat = q.reshape(-1)
    values = _values(flat, bits)
    parts = [*_table(values, bits), (_lookup(flat, values, bits), _index_bits(len(values)))]
    return _join(parts)


def encode_sparse(q: NDArray, bits: int, zero_points: NDArray, gap_bits: int) -> Bytes:
    """The SPARSE stream of codes q with gaps of `gap_bits` bits (1..16)."""
    flat = q.reshape(-1)
    positions = _stored(flat, _sparse_zero_points(q, zero_points))
    gaps = _gaps(positions, flat.size)
    forced = gaps >> gap_bits  # zero points stored for the sake of the gap, 2^gap_bits apart from the one before
    begin = np.append(-1, positions)
    rank = np.arange(forced.sum()) - np.repeat(np.cumsum(forced) - forced, forced)
    extra = np.repeat(begin, forced) + ((rank + 1) << gap_bits)
    positions = np.sort(np.concatenate([positions, extra]))
    values = _values(flat, bits)
    count = np.array([len(positions) >> 16, len(positions) & 0xFFFF])
    parts = [
        (np.array([gap_bits]), 8),
        (count, 16),
        *_table(values, bits),
        (_lookup(flat[positions], values, bits), _index_bits(len(values))),
        (np.diff(positions, prepend=-1) - 1, gap_bits),
    ]
    return _join(parts)


def _table(values: NDArray, bits: int) -> list[tuple[NDArray, int]]:
    return [(np.array([len(values) % (1 << bits)]), bits), (values + (1 << (bits - 1)), bits)]


def _lookup(flat: NDArray, values: NDArray, bits: int) -> NDArray[np.uint16]:
    """The index of each code in the sorted `values`."""
    half = 1 << (bits - 1)
    table = np.zeros(1 << bits, np.uint16)
    table[values + half] = np.arange(len(values))
    return table[to_unsigned(flat, bits)]


def _join(parts: list[tuple[NDArray, int]]) -> Bytes:
    """MSB-first fields of several widths one after the other, zero-padded to a byte."""
    total = sum(len(u) * width for u, width in parts)
    out = np.zeros(-(-total // 8) + 1, np.uint8)
    at = 0
    for u, width in parts:
        piece = put_fields(u, width, msb=True)
        byte, skew = divmod(at, 8)
        out[byte : byte + len(piece)] |= piece >> np.uint8(skew)
        if skew:
            out[byte + 1 : byte + 1 + len(piece)] |= piece << np.uint8(8 - skew)
        at += len(u) * width
    return out[: -(-total // 8)]


class _Reader:
    """MSB-first fields from untrusted bytes."""

    def __init__(self, data: bytes | memoryview | NDArray, kind: str) -> None:
        self.raw, self.kind, self.at = as_bytes(data), kind, 0

    def take(self, count: int, width: int) -> NDArray[np.uint16]:
        if count * width > 8 * len(self.raw) - self.at:
            raise ModelError(f"{self.kind} weight ends early: {len(self.raw)} bytes cannot hold {count} more fields")
        byte, skew = divmod(self.at, 8)
        self.at += count * width
        piece = self.raw[byte : -(-self.at // 8)]
        if skew and len(piece):
            after = np.append(piece[1:], np.uint8(0))
            piece = (piece << np.uint8(skew)) | (after >> np.uint8(8 - skew))
        return get_fields(piece[: -(-count * width // 8)], count, width, msb=True)

    def table(self, bits: int) -> NDArray:
        count = int(self.take(1, bits)[0]) or 1 << bits
        return from_unsigned(self.take(count, bits), bits)

    def indices(self, count: int, table: NDArray) -> NDArray:
        index = self.take(count, _index_bits(len(table)))
        if count and int(index.max()) >= len(table):
            raise ModelError(f"{self.kind} weight has index {int(index.max())} into {len(table)} values")
        return table[index]


def decode_indexing(data: bytes | memoryview | NDArray, count: int, bits: int) -> NDArray:
    """The codes of an INDEXING stream: int8[count] or int16[count]. Raises ModelError on a stream that is not one."""
    storage_dtype(bits)
    reader = _Reader(data, INDEXING)
    table = reader.table(bits)
    return reader.indices(count, table)


def decode_sparse(data: bytes | memoryview | NDArray, count: int, bits: int, zero_points: NDArray) -> NDArray:
    """The codes of a SPARSE stream: int8[count] or int16[count]. zero_points int [1] or [channels].

    Raises ModelError on a stream that is not one.
    """
    dtype = storage_dtype(bits)
    reader = _Reader(data, SPARSE)
    gap_bits = int(reader.take(1, 8)[0])
    if not 1 <= gap_bits <= 16:
        raise ModelError(f"SPARSE weight has gaps of {gap_bits} bits; allowed: 1..16")
    high, low = reader.take(2, 16).tolist()
    stored = high << 16 | low
    if stored > count:
        raise ModelError(f"SPARSE weight stores {stored} of {count} elements")
    table = reader.table(bits)
    codes = reader.indices(stored, table)
    positions = np.cumsum(reader.take(stored, gap_bits).astype(np.int64) + 1) - 1
    if stored and positions[-1] >= count:
        raise ModelError(f"SPARSE weight has element {positions[-1]} of {count}")
    zero_points = np.asarray(zero_points).reshape(-1)
    if len(zero_points) == 0 or count % len(zero_points):
        raise ModelError(f"SPARSE weight of {count} elements has {len(zero_points)} zero points")
    half = 1 << (bits - 1)
    if (zero_points < -half).any() or (zero_points >= half).any():
        raise ModelError(f"SPARSE weight has zero points outside {-half}..{half - 1}")
    out = np.repeat(zero_points.astype(dtype), count // len(zero_points))
    out[positions] = codes
    return out


def decode(kind: str, data: bytes | memoryview | NDArray, count: int, bits: int, zero_points: NDArray) -> NDArray:
    """The codes of a tensor stored as `kind` (NONE and BITPACKING alike are told apart by the width alone)."""
    if kind == INDEXING:
        return decode_indexing(data, count, bits)
    if kind == SPARSE:
        return decode_sparse(data, count, bits, zero_points)
    return unpack(data, count, bits)
