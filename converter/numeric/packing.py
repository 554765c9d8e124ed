"""Bit packing of codes as MindSpore Lite stores them: offset by 2^(b-1), LSB first, in element order.

Widths 1..7 fill bytes, 9..15 little-endian 16-bit words, both zero-padded at the end; 8 and 16 are stored plain. Eight
codes of b bits fill exactly b bytes, so groups of eight are put together by shifts over columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError


def storage_dtype(bits: int) -> np.dtype:
    """The dtype that holds unpacked codes: int8 up to 8 bits, int16 up to 16."""
    if not 1 <= bits <= 16:
        raise ValueError(f"{bits} bits; allowed: 1..16")
    return np.dtype(np.int8 if bits <= 8 else np.int16)


def packed_size(count: int, bits: int) -> int:
    """Bytes that `pack` writes for `count` codes."""
    unit = 8 * storage_dtype(bits).itemsize
    return -(-count * bits // unit) * (unit // 8)


def pack(q: NDArray, bits: int) -> NDArray[np.uint8]:
    """Codes in [-2^(b-1), 2^(b-1)-1] to bytes, uint8[packed_size]. Codes out of range raise ValueError."""
    dtype = storage_dtype(bits)
    q = np.asarray(q).reshape(-1)
    half = 1 << (bits - 1)
    if q.size and (q.min() < -half or q.max() >= half):
        raise ValueError(f"codes {q.min()}..{q.max()} do not fit {bits} bits; allowed: {-half}..{half - 1}")
    if bits in (8, 16):
        return np.ascontiguousarray(q, dtype.newbyteorder("<")).view(np.uint8)
    if bits < 8:
        out = _pack_small(q, bits, half)
    else:
        out = _pack_wide(q, bits, half)
    size = packed_size(q.size, bits)
    if len(out) < size:  # a group of eight ends on a byte, a file on a 16-bit word
        out = np.concatenate([out, np.zeros(size - len(out), np.uint8)])
    return out[:size]


def _pack_small(q: NDArray, bits: int, half: int) -> NDArray[np.uint8]:
    groups = -(-q.size // 8)
    u = np.zeros((groups, 8), np.uint8)
    np.add(q.astype(np.int8, copy=False), half, out=u.reshape(-1)[: q.size], casting="unsafe")
    word = np.zeros(groups, np.uint64)
    for lane in range(8):
        word |= u[:, lane].astype(np.uint64) << np.uint64(lane * bits)
    return np.ascontiguousarray(word.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :bits]).reshape(-1)


def _pack_wide(q: NDArray, bits: int, half: int) -> NDArray[np.uint8]:
    groups = -(-q.size // 8)
    u = np.zeros((groups, 8), np.uint16)
    np.add(q, half, out=u.reshape(-1)[: q.size], casting="unsafe")
    out = np.zeros((groups, bits), np.uint8)
    # Four codes of 9..15 bits fit one 64-bit word; the second four start in the middle of a byte when bits is odd.
    for half_group in range(2):
        word = np.zeros(groups, np.uint64)
        for lane in range(4):
            word |= u[:, 4 * half_group + lane].astype(np.uint64) << np.uint64(lane * bits)
        start = 4 * bits * half_group
        word <<= np.uint64(start % 8)  # at most 60 + 4 bits
        piece = word.astype("<u8").view(np.uint8).reshape(-1, 8)
        width = min(8, bits - start // 8)
        out[:, start // 8 : start // 8 + width] |= piece[:, :width]
    return out.reshape(-1)


def unpack(data: bytes | memoryview | NDArray[np.uint8], count: int, bits: int) -> NDArray:
    """The inverse of `pack`: int8[count] or int16[count].

    Raises ModelError when the data are shorter than `count` codes take.
    """
    dtype = storage_dtype(bits)
    raw = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data.view(np.uint8).reshape(-1)
    size = packed_size(count, bits)
    if len(raw) < size:
        raise ModelError(f"packed weight has {len(raw)} bytes, {count} codes of {bits} bits take {size}")
    raw = raw[:size]
    if bits in (8, 16):
        return raw.view(dtype.newbyteorder("<")).astype(dtype)
    groups = -(-count // 8)
    padded = np.zeros((groups, bits), np.uint8)
    used = min(raw.size, groups * bits)
    padded.reshape(-1)[:used] = raw[:used]
    out = np.empty((groups, 8), dtype)
    mask, half = np.uint64((1 << bits) - 1), 1 << (bits - 1)
    lanes = 8 if bits < 8 else 4
    for first in range(0, 8, lanes):
        start = first * bits
        width = min(8, bits - start // 8)
        piece = np.zeros((groups, 8), np.uint8)
        piece[:, :width] = padded[:, start // 8 : start // 8 + width]
        word = piece.view("<u8").reshape(-1).astype(np.uint64, copy=False) >> np.uint64(start % 8)
        for lane in range(lanes):
            code = (word >> np.uint64(lane * bits)) & mask
            out[:, first + lane] = code.astype(np.int32) - half
    return out.reshape(-1)[:count]
