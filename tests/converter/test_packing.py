"""Bit packing: LSB first, offset by 2^(b-1), bytes below 8 bits and 16-bit words above."""

import numpy as np
import pytest
from bitlite.converter.errors import ModelError
from bitlite.converter.numeric.packing import get_fields, pack, packed_size, put_fields, storage_dtype, unpack
from hypothesis import given
from hypothesis import strategies as st

PACKED = [b for b in range(1, 16) if b != 8]


def codes(bits, count, seed=0):
    half = 1 << (bits - 1)
    return np.random.default_rng(seed).integers(-half, half, count).astype(storage_dtype(bits))


def bit_by_bit(q, bits):
    """The same form, written from its definition."""
    text = "".join(format(int(v) + (1 << (bits - 1)), f"0{bits}b")[::-1] for v in q)
    unit = 8 if bits < 8 else 16
    text += "0" * (-len(text) % unit)
    return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


@pytest.mark.parametrize("bits", PACKED)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 17, 1001])
def test_packs_as_defined(bits, count):
    q = codes(bits, count)
    packed = pack(q, bits)
    assert packed.tobytes() == bit_by_bit(q, bits)
    assert len(packed) == packed_size(count, bits)


def test_known_bytes():
    # -4, -1, 3 are 000, 011, 111 from the least bit up; 9 bits fill a little-endian word and start the next.
    assert pack(np.int8([-4, -1, 3]), 3).tobytes() == bytes([0b11011000, 0b1])
    assert pack(np.int16([-256, 255]), 9).tobytes() == bytes([0, 0b11111110, 0b11, 0])
    assert pack(np.int8([-128, 127]), 8).tobytes() == b"\x80\x7f"
    assert pack(np.int16([-2]), 16).tobytes() == b"\xfe\xff"


@given(st.integers(1, 16), st.integers(0, 300), st.integers(0, 2**32))
def test_unpack_undoes_pack(bits, count, seed):
    q = codes(bits, count, seed)
    back = unpack(pack(q, bits).tobytes(), count, bits)
    assert back.dtype == storage_dtype(bits)
    np.testing.assert_array_equal(back, q)


@pytest.mark.parametrize("msb", [False, True])
@pytest.mark.parametrize("width", [0, 1, 3, 8, 10, 13, 16])
def test_fields_longer_than_a_block_survive(width, msb):
    u = np.random.default_rng(1).integers(0, 1 << width, (1 << 18) + 5).astype(np.uint16)
    data = put_fields(u, width, msb=msb)
    assert len(data) == -(-u.size * width // 8)
    np.testing.assert_array_equal(get_fields(data, u.size, width, msb=msb), u)


def test_msb_fields_read_from_the_top():
    assert put_fields(np.array([1, 0, 3]), 2, msb=True).tobytes() == bytes([0b01001100])


@pytest.mark.parametrize("bits", [1, 4, 8, 11, 16])
def test_short_data_are_refused(bits):
    with pytest.raises(ModelError, match="100 codes"):
        unpack(pack(codes(bits, 100), bits)[:-1], 100, bits)


@pytest.mark.parametrize(("bits", "bad"), [(3, 4), (3, -5), (9, 256)])
def test_codes_out_of_range_are_refused(bits, bad):
    with pytest.raises(ValueError, match="do not fit"):
        pack(np.array([0, bad]), bits)


def test_widths_out_of_range_are_refused():
    for bits in (0, 17):
        with pytest.raises(ValueError, match=r"1\.\.16"):
            pack(np.int8([0]), bits)
