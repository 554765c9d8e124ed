"""FSE streams of mixed-bit files: read as written by an encoder made from the definition, refused when damaged."""

import contextlib
import struct

import numpy as np
import pytest
from bitlite.converter.errors import ModelError
from bitlite.converter.numeric.fse import decode_fse
from hypothesis import given
from hypothesis import strategies as st


def normalised(counts, log):
    """Frequencies, each at least 1, that add up to 2^log."""
    frequency = np.maximum(1, np.floor(counts / counts.sum() * (1 << log)).astype(int))
    while frequency.sum() > 1 << log:
        frequency[frequency.argmax()] -= 1
    frequency[frequency.argmax()] += (1 << log) - frequency.sum()
    return frequency


def encode(values, log, code="f"):
    """tANS, symbol by symbol; bits are pushed as text, so that their order can be seen."""
    centroids, index = np.unique(values, return_inverse=True)
    frequency = normalised(np.bincount(index).astype(float), log)
    size = 1 << log
    spread, at = [0] * size, 0
    for symbol, f in enumerate(frequency):
        for _ in range(f):
            spread[at] = symbol
            at = (at + size // 2 + size // 8 + 3) % size
    states = [[i for i in range(size) if spread[i] == symbol] for symbol in range(len(frequency))]
    bits, x = "", size
    for symbol in index.tolist():
        f = int(frequency[symbol])
        out = 0
        while x >> out >= 2 * f:
            out += 1
        bits += format(x, "b")[-out:] if out else ""
        x = states[symbol][(x >> out) - f] + size
    bits += format(x - size, f"0{log}b")
    words = [bits[i : i + 64] for i in range(0, len(bits), 64)]
    head = struct.pack("<HHI", len(frequency), log, len(words)) + frequency.astype("<u4").tobytes()
    head += b"\0" * (-len(head) % 8)
    head += b"".join(struct.pack("<" + code, c) for c in centroids.tolist())
    head += b"\0" * (-len(head) % 8)
    return head + b"".join(struct.pack("<Q", int(w.ljust(64, "0"), 2)) for w in words) + bytes([len(words[-1])])


@given(st.lists(st.sampled_from([-1.5, 0.0, 0.25, 3.0, 9.0]), min_size=1, max_size=400), st.integers(4, 9))
def test_floats_come_back(values, log):
    values = np.float32(values)
    got = decode_fse(encode(values, log), len(values))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, values)


def test_integers_come_back():
    q = np.random.default_rng(0).normal(0, 30, 3000).round().astype(np.int32)
    stream = encode(q, 12, "i")
    assert len(stream) < 3000 + 8 * len(np.unique(q)) + 40
    np.testing.assert_array_equal(decode_fse(stream, q.size, integer=True), q)


def test_shortened_streams_are_refused():
    values = np.random.default_rng(1).integers(0, 9, 200).astype(np.float32)
    stream = encode(values, 6)
    for size in range(len(stream)):
        with pytest.raises(ModelError, match="FSE"):
            decode_fse(stream[:size], 200)
    with pytest.raises(ModelError, match="ends after"):
        decode_fse(stream, 2000)


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (0, b"\0\0", "0 symbols"),
        (2, b"\x1f\0", r"2\^31"),
        (4, b"\xff\xff\xff\xff", "4294967295 words"),
        (8, b"\xff\xff\0\0", "add up"),
        (-1, b"\x60", "96 bits"),
    ],
)
def test_lies_are_named(at, value, said):
    stream = bytearray(encode(np.float32([1, 2, 2, 3] * 20), 5))
    stream[at : at + len(value) or None] = value
    with pytest.raises(ModelError, match=said):
        decode_fse(bytes(stream), 80)


@given(st.binary(max_size=100), st.integers(0, 50))
def test_hostile_streams_are_decoded_or_refused(data, count):
    with contextlib.suppress(ModelError):
        assert decode_fse(b"\2\0\4\0\1\0\0\0\7\0\0\0\x09\0\0\0" + data, count).shape == (count,)
