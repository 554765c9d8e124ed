"""INDEXING and SPARSE: byte for byte what the MindSpore Lite 2.0.0 converter writes, and safe with hostile streams."""

import numpy as np
import pytest
from bitlite.converter.errors import ModelError
from bitlite.converter.numeric import sparse
from bitlite.converter.numeric.packing import pack, storage_dtype
from hypothesis import given
from hypothesis import strategies as st

# Streams that the real converter wrote for a 3×3 convolution of these weights, [17, 3, 3, 2] after its layout change.
GOLDEN = {
    (
        "tails",
        2,
    ): "030000005606c97fe182ed07e07db420bd0be11f6d07e07df860bd087020c380d0830e06a38e204c701a107e05c38184098e06a3"
    "8e204c701a107e05",
    (
        "tails",
        4,
    ): "0200000095d03456789abcdf079a148bc46ac55702680159c349c46601571469c5570578026ac39c4660180159c346c3560146"
    "946ac5570278026ac359c4660157257ac56805780269c3ac5570280159c346c4660157a248c1c21888c22248c4c21948c2c9238c21648c1c2"
    "1888c22248c4c21948c2c8638c21648c0",
    ("three", 8): "0300aaff" + "05a" * 51 + "0",
    ("three", 4): "30af" + "05a" * 51 + "0",
}


def golden_weights(kind):
    i = np.arange(17 * 2 * 3 * 3)
    w = 32 * ((i * 2654435761 % 2**32) / 2**32 - 0.5) ** 5 if kind == "tails" else np.array([-1.0, 0.0, 0.5])[i * 7 % 3]
    return np.moveaxis(w.astype(np.float32).reshape(17, 2, 3, 3), 1, -1)


def golden_codes(kind, bits):
    """The real converter's codes and zero points: min..max with 0, float32 step, halves away from zero."""
    w = golden_weights(kind).reshape(17, -1)
    low, high = np.minimum(w.min(1), 0), np.maximum(w.max(1), 0)
    step = ((high - low) / np.float32(2**bits - 1)).astype(np.float64)
    zero = np.round(-(2 ** (bits - 1)) - low / step).astype(int)
    t = w / step[:, None] + zero[:, None]
    q = np.trunc(t + np.copysign(0.5, t))
    return np.clip(q, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int8).reshape(17, 3, 3, 2), zero


@pytest.mark.parametrize(("kind", "bits"), GOLDEN)
def test_streams_of_the_real_converter(kind, bits):
    stream = bytes.fromhex(GOLDEN[kind, bits])
    q, zero = golden_codes(kind, bits)
    name = "SPARSE" if kind == "tails" else "INDEXING"
    np.testing.assert_array_equal(sparse.decode(name, stream, q.size, bits, zero), q.reshape(-1))
    chosen, data = sparse.smallest(q, bits, zero)
    assert chosen == name
    assert data.tobytes() == stream


def sparse_codes(bits, shape, density, seed):
    """Codes that mostly equal their channel's zero point, and those points."""
    rng, half = np.random.default_rng(seed), 1 << (bits - 1)
    zero = rng.integers(-half, half, shape[0])
    q = np.broadcast_to(zero.reshape(-1, *[1] * (len(shape) - 1)), shape).copy()
    other = rng.random(shape) < density
    q[other] = rng.integers(-half, half, other.sum())
    return q.astype(storage_dtype(bits)), zero


def bits_of(values, width):
    return "".join(format(int(v), f"0{width}b") if width else "" for v in values)


def sparse_by_definition(q, bits, zero, gap_bits):
    """SPARSE written element by element."""
    flat, half = q.reshape(-1).tolist(), 1 << (bits - 1)
    values = sorted(set(flat))
    last, stored, gaps = -1, [], []
    for i, v in enumerate(flat):
        if v != zero[i // (len(flat) // len(zero))] or i - last >= 1 << gap_bits:
            stored.append(values.index(v))
            gaps.append(i - last - 1)
            last = i
    text = bits_of([gap_bits], 8) + bits_of([len(stored)], 32) + bits_of([len(values) % (1 << bits)], bits)
    text += bits_of([v + half for v in values], bits) + bits_of(stored, (len(values) - 1).bit_length())
    text += bits_of(gaps, gap_bits)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


@given(st.integers(1, 12), st.integers(2, 10), st.floats(0, 1), st.integers(0, 1000))
def test_sparse_is_written_as_defined(bits, gap_bits, density, seed):
    q, zero = sparse_codes(bits, (3, 5, 20), density, seed)
    data = sparse.encode_sparse(q, bits, zero, gap_bits)
    assert data.tobytes() == sparse_by_definition(q, bits, zero, gap_bits)
    np.testing.assert_array_equal(sparse.decode_sparse(data, q.size, bits, zero), q.reshape(-1))


@given(st.integers(1, 16), st.sampled_from([0.0, 0.01, 0.1, 0.6]), st.integers(0, 1000), st.sampled_from([0, 1, None]))
def test_smallest_is_exact_and_reversible(bits, density, seed, axis):
    q, zero = sparse_codes(bits, (4, 6, 30), density, seed)
    if axis is None:
        zero = zero[:1]
    if axis == 1:
        zero = np.arange(6) % 2 - 1
    kind, data = sparse.smallest(q, bits, zero, axis)
    assert len(data) == sparse.encoded_size(q, bits, zero, axis)
    assert len(data) <= len(pack(q, bits))
    np.testing.assert_array_equal(sparse.decode(kind, data, q.size, bits, zero), q.reshape(-1))


def test_sparse_is_kept_from_channels_it_cannot_find():
    q = np.tile(np.int8([3, -2]), 500).reshape(500, 2)
    q[0, 0] = 1
    assert sparse.smallest(q, 8, np.array([3, -2]), 1)[0] == "INDEXING"
    assert sparse.smallest(np.ascontiguousarray(q.T), 8, np.array([3, -2]), 0)[0] == "SPARSE"


def test_one_value_takes_no_index_bits():
    kind, data = sparse.smallest(np.full(1000, 5, np.int8), 8, np.array([0]), None)
    assert (kind, data.tobytes()) == ("INDEXING", bytes([1, 128 + 5]))


def test_a_full_table_counts_as_zero():
    q = np.arange(-8, 8, dtype=np.int8)
    data = sparse.encode_indexing(q, 4)
    assert data[0] >> 4 == 0
    np.testing.assert_array_equal(sparse.decode_indexing(data, 16, 4), q)


@pytest.mark.parametrize("kind", ["INDEXING", "SPARSE"])
def test_truncated_streams_are_refused(kind):
    q, zero = sparse_codes(4, (2, 50), 0.2, 0)
    data = sparse.encode_indexing(q, 4) if kind == "INDEXING" else sparse.encode_sparse(q, 4, zero, 3)
    for size in range(len(data) - 1):
        with pytest.raises(ModelError):
            sparse.decode(kind, data[:size], q.size, 4, zero)


@given(st.binary(max_size=80), st.integers(1, 16), st.integers(0, 500), st.sampled_from(["INDEXING", "SPARSE"]))
def test_hostile_streams_are_decoded_or_refused(data, bits, count, kind):
    try:
        q = sparse.decode(kind, data, count, bits, np.zeros(1, int))
    except ModelError:
        return
    half = 1 << (bits - 1)
    assert q.shape == (count,)
    assert ((q >= -half) & (q < half)).all()


def test_lies_are_named():
    with pytest.raises(ModelError, match="gaps of 77 bits"):
        sparse.decode_sparse(bytes([77] + 20 * [0]), 10, 8, np.array([0]))
    with pytest.raises(ModelError, match="stores 4294967295 of 10"):
        sparse.decode_sparse(bytes([4] + 20 * [255]), 10, 8, np.array([0]))
    with pytest.raises(ModelError, match="3 zero points"):
        sparse.decode_sparse(sparse.encode_sparse(np.zeros(10, np.int8), 8, np.array([0]), 4), 10, 8, np.zeros(3, int))


@pytest.mark.parametrize("beyond", [-9, 8, 100])
def test_codes_with_a_zero_point_that_is_no_code_are_not_sparse(beyond):
    """A mean may be part of the zero point; what is left out must be a code."""
    q, zero = np.full((4, 64), 3, np.int8), np.array([3, 3, 3, 3])
    q[:, ::9] = np.arange(32).reshape(4, 8) % 8 - 4
    assert sparse.choose(q, 4, zero).kind == "SPARSE"
    zero[2] = beyond
    kind, data = sparse.smallest(q, 4, zero)
    assert kind != "SPARSE"
    np.testing.assert_array_equal(sparse.decode(kind, data, q.size, 4, zero), q.reshape(-1))
