"""Reads the entropy-coded weights of MindSpore Lite's mixed-bit quantization (bit_num=0): tANS, one state.

Layout, little-endian: symbols u16, table_log u16, words u32, frequencies u32[symbols], padding to 8, centroids 4 bytes
each (float32, or int32 codes), padding to 8, words - 1 full u64, the last u64, how many of its upper bits count u8.
The u64, highest bit first, are one string of bits that is read from its end; so are the elements, last one first
(Duda 2013, arXiv 1311.2540; table layout as in Collet's FSE).
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .packing import as_bytes

_MAX_LOG = 16


def decode_fse(data: bytes | memoryview | NDArray, count: int, *, integer: bool = False) -> NDArray:
    """The `count` elements of an FSE stream: float32, or with `integer` (FSE_INT) int32 codes.

    Raises ModelError on a stream that is not one.
    """
    raw = as_bytes(data).tobytes()
    if len(raw) < 8:
        raise ModelError(f"FSE weight has {len(raw)} bytes")
    symbols, log, words = struct.unpack_from("<HHI", raw)
    centroids_at = -(-(8 + 4 * symbols) // 8) * 8
    words_at = -(-(centroids_at + 4 * symbols) // 8) * 8
    end = words_at + 8 * words + 1
    if not symbols or not words or not 1 <= log <= _MAX_LOG or end > len(raw):
        raise ModelError(f"FSE weight of {len(raw)} bytes claims {symbols} symbols, tables of 2^{log}, {words} words")
    frequency = np.frombuffer(raw, "<u4", symbols, 8).astype(np.int64)
    symbol, bits, base = _tables(frequency, log)
    centroids = np.frombuffer(raw, "<i4" if integer else "<f4", symbols, centroids_at)
    stream = np.frombuffer(raw, "<u8", words, words_at).tolist()
    used = raw[end - 1]
    if used > 64:
        raise ModelError(f"FSE weight uses {used} bits of its last word")
    states = _walk(stream, used, count, log, bits, base)
    return centroids[symbol[states[::-1]]]


def _tables(frequency: NDArray[np.int64], log: int) -> tuple[NDArray, list[int], list[int]]:
    """Per state: its symbol, how many bits lead to the next state, and what they are added to."""
    size = 1 << log
    if frequency.sum() != size or (frequency < 0).any():
        raise ModelError(f"FSE frequencies add up to {frequency.sum()}, not {size}")
    step = (size >> 1) + (size >> 3) + 3
    place = np.arange(size, dtype=np.int64) * step & (size - 1)
    symbol = np.full(size, -1)
    symbol[place] = np.repeat(np.arange(len(frequency)), frequency)
    if (symbol < 0).any():
        raise ModelError(f"FSE tables of 2^{log} cannot be filled")
    order = np.argsort(symbol, kind="stable")
    first = np.cumsum(frequency) - frequency
    rank = np.empty(size, np.int64)
    rank[order] = np.arange(size) - first[symbol[order]]
    x = frequency[symbol] + rank
    bits = log - (np.frexp(x.astype(np.float64))[1] - 1)
    return symbol, bits.tolist(), ((x << bits) - size).tolist()


def _walk(stream: list[int], used: int, count: int, log: int, bits: list[int], base: list[int]) -> NDArray[np.int64]:
    """The states from the stream's end on, int64[count]."""
    word = len(stream) - 1
    window, held = (stream[word] >> (64 - used), used) if used else (0, 0)
    masks = [(1 << need) - 1 for need in range(log + 1)]
    states = [0] * count
    state, need = 0, log
    for i in range(count):
        if held < need:
            if not word:
                raise ModelError(f"FSE weight ends after {i} of {count} elements")
            word -= 1
            window |= stream[word] << held
            held += 64
        state = (window & masks[need]) + state
        window >>= need
        held -= need
        states[i] = state
        need = bits[state]
        state = base[state]
    return np.array(states, np.int64)
