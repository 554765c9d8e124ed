"""Codes of a matrix in blocks of a row, each with a scale and perhaps a zero point of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread(values: NDArray, block: int, inputs: int) -> NDArray:
    """Of each block [O, blocks] what its elements have, [O, inputs]."""
    return np.repeat(values, block, axis=1)[:, :inputs]


def block_reals(codes: NDArray, scale: NDArray, zero: NDArray | None, block: int) -> NDArray[np.float32]:
    """(codes - zero) · scale of codes [O, K], float32."""
    real = codes.astype(np.float32)
    if zero is not None:
        real -= spread(zero, block, codes.shape[1])
    real *= spread(scale, block, codes.shape[1])
    return real


def packed_blocks(codes: NDArray, block: int, bits: int) -> NDArray[np.uint8]:
    """Signed codes [O, K] of 4 or 8 bits as unsigned ones, [O, blocks, block · bits / 8], the lower half first."""
    outputs, inputs = codes.shape
    blocks = -(-inputs // block)
    half = 2 ** (bits - 1)
    raised = np.full((outputs, blocks * block), half, np.uint8)
    np.add(codes.view(np.uint8), np.uint8(half), out=raised[:, :inputs])  # modulo 256
    if bits == 4:
        raised = np.bitwise_or(raised[:, 0::2], raised[:, 1::2] << 4, dtype=np.uint8)
    return raised.reshape(outputs, blocks, -1)


def unpacked_blocks(packed: NDArray[np.uint8], inputs: int, bits: int) -> NDArray[np.int8]:
    """The inverse of `packed_blocks`."""
    rows = packed.reshape(len(packed), -1)
    codes = np.empty((len(rows), inputs), np.uint8)
    if bits == 4:
        np.bitwise_and(rows[:, : (inputs + 1) // 2], 15, out=codes[:, 0::2])
        np.right_shift(rows[:, : inputs // 2], 4, out=codes[:, 1::2])
    else:
        codes[:] = rows[:, :inputs]
    codes -= np.uint8(2 ** (bits - 1))  # modulo 256
    return codes.view(np.int8)
