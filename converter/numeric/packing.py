"""Bit packing of codes as MindSpore Lite stores them: offset by 2^(b-1), LSB first, in element order.

Widths 1..7 fill bytes, 9..15 little-endian 16-bit words, both zero-padded at the end; 8 and 16 are stored plain. The
fields below them (fixed width, LSB or MSB first) serve the other codecs too: eight fields of b bits fill exactly b
bytes, so they are put together by shifts over columns, in blocks that bound the scratch memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

Bytes = NDArray[np.uint8]
_BLOCK = 1 << 18  # fields per block, a multiple of 8


def put_fields(u: NDArray, width: int, *, msb: bool = False) -> Bytes:
    """Unsigned fields of `width` bits (0..16) as bytes, zero-padded to a whole byte. u holds values below 2^width."""
    u = u.reshape(-1)
    out = np.empty(-(-u.size * width // 8), np.uint8)
    if width == 0:
        return out
    for begin in range(0, u.size, _BLOCK):
        piece = _put_block(u[begin : begin + _BLOCK], width, msb)
        at = begin * width // 8
        out[at : at + len(piece)] = piece[: len(out) - at]
    return out


def _put_block(u: NDArray, width: int, msb: bool) -> Bytes:
    groups = -(-u.size // 8)
    lanes = np.zeros((groups, 8), np.uint16)
    lanes.reshape(-1)[: u.size] = u
    out = np.zeros((groups, width), np.uint8)
    # Up to 8 bits all eight fit a 64-bit word; wider ones go four by four, the second four perhaps from mid-byte.
    together = 8 if width <= 8 else 4
    for first in range(0, 8, together):
        start = first * width
        skew = start % 8
        word = np.zeros(groups, np.uint64)
        for lane in range(together):
            shift = 64 - skew - (lane + 1) * width if msb else skew + lane * width
            word |= lanes[:, first + lane].astype(np.uint64) << np.uint64(shift)
        piece = word.astype(">u8" if msb else "<u8").view(np.uint8).reshape(-1, 8)
        used = min(8, width - start // 8)
        out[:, start // 8 : start // 8 + used] |= piece[:, :used]
    return out.reshape(-1)


def get_fields(data: Bytes, count: int, width: int, *, msb: bool = False) -> NDArray[np.uint16]:
    """The inverse of `put_fields`: uint16[count]. `data` must hold count * width bits."""
    out = np.zeros(count, np.uint16)
    if width == 0:
        return out
    for begin in range(0, count, _BLOCK):
        size = min(_BLOCK, count - begin)
        at = begin * width // 8
        out[begin : begin + size] = _get_block(data[at : at + -(-size * width // 8)], size, width, msb)
    return out


def _get_block(data: Bytes, count: int, width: int, msb: bool) -> NDArray[np.uint16]:
    groups = -(-count // 8)
    padded = np.zeros((groups, width), np.uint8)
    padded.reshape(-1)[: len(data)] = data
    out = np.empty((groups, 8), np.uint16)
    mask = np.uint64((1 << width) - 1)
    together = 8 if width <= 8 else 4
    for first in range(0, 8, together):
        start = first * width
        skew = start % 8
        used = min(8, width - start // 8)
        piece = np.zeros((groups, 8), np.uint8)
        piece[:, :used] = padded[:, start // 8 : start // 8 + used]
        word = piece.view(">u8" if msb else "<u8").reshape(-1).astype(np.uint64)
        for lane in range(together):
            shift = 64 - skew - (lane + 1) * width if msb else skew + lane * width
            out[:, first + lane] = (word >> np.uint64(shift)) & mask
    return out.reshape(-1)[:count]


def storage_dtype(bits: int) -> np.dtype:
    """The dtype that holds unpacked codes: int8 up to 8 bits, int16 up to 16."""
    if not 1 <= bits <= 16:
        raise ValueError(f"{bits} bits; allowed: 1..16")
    return np.dtype(np.int8 if bits <= 8 else np.int16)


def packed_size(count: int, bits: int) -> int:
    """Bytes that `pack` writes for `count` codes."""
    unit = 8 * storage_dtype(bits).itemsize
    return -(-count * bits // unit) * (unit // 8)


def to_unsigned(q: NDArray, bits: int) -> NDArray[np.uint16]:
    """Codes plus 2^(b-1). Codes outside [-2^(b-1), 2^(b-1)-1] raise ValueError."""
    half = 1 << (bits - 1)
    if q.size and (q.min() < -half or q.max() >= half):
        raise ValueError(f"codes {q.min()}..{q.max()} do not fit {bits} bits; allowed: {-half}..{half - 1}")
    return q.astype(np.uint16) + np.uint16(half)  # wraps as meant


def from_unsigned(u: NDArray[np.uint16], bits: int) -> NDArray:
    """The inverse of `to_unsigned`: int8 or int16."""
    return (u - np.uint16(1 << (bits - 1))).view(np.int16).astype(storage_dtype(bits), copy=False)


def as_bytes(data: bytes | bytearray | memoryview | NDArray) -> Bytes:
    """A flat uint8 view of any buffer."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


def pack(q: NDArray, bits: int) -> Bytes:
    """Codes in [-2^(b-1), 2^(b-1)-1] to bytes, uint8[packed_size]. Codes out of range raise ValueError."""
    dtype = storage_dtype(bits)
    q = np.asarray(q).reshape(-1)
    if bits in (8, 16):
        if q.dtype != dtype:
            to_unsigned(q, bits)  # for its check
        return np.ascontiguousarray(q, dtype.newbyteorder("<")).view(np.uint8)
    out = put_fields(to_unsigned(q, bits), bits)
    if len(out) < packed_size(q.size, bits):  # the fields end on a byte, the form on a 16-bit word
        out = np.append(out, np.uint8(0))
    return out


def unpack(data: bytes | memoryview | NDArray, count: int, bits: int) -> NDArray:
    """The inverse of `pack`: int8[count] or int16[count].

    Raises ModelError when the data are shorter than `count` codes take.
    """
    dtype = storage_dtype(bits)
    raw = as_bytes(data)
    size = packed_size(count, bits)
    if len(raw) < size:
        raise ModelError(f"packed weight has {len(raw)} bytes, but {count} codes of {bits} bits take {size}")
    if bits in (8, 16):
        return raw[:size].view(dtype.newbyteorder("<")).astype(dtype)
    return from_unsigned(get_fields(raw, count, bits), bits)
