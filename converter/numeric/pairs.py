"""Weight codes whose products stay within 16 bits in pairs, as onnxruntime adds them on x86 without VNNI.

vpmaddubsw multiplies uint8 activations by int8 weights and adds each product to its neighbour's in saturating int16.
255 (v + w) fits whenever neighbours of one sign add up to at most 128. Neighbours are the codes 2i and 2i + 1 of the K
that one sum takes; rows are [..., K] here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 128
"""What two neighbours of one sign may add up to: 255 · 128 < 2^15 < 255 · 129."""


def largest_sum(rows: NDArray) -> NDArray:
    """The largest magnitude that neighbours add up to, of each row: [..., K] → [...]. Codes of two signs never exceed
    MOST."""
    pairs = _paired(rows)
    return np.abs(pairs[..., 0] + pairs[..., 1]).max(axis=-1, initial=0)


def saturate(rows: NDArray) -> bool:
    """Whether activations exist with which a pair of products leaves 16 bits."""
    return bool(largest_sum(rows).max(initial=0.0) > MOST)


def rounded(rows: NDArray, limit: int) -> NDArray:
    """Codes within ±limit near the real ones, [..., K], whose neighbours of one sign add up to at most MOST.

    Where two add up to more, both give way by half of the excess: the nearest point on the line v + w = ±MOST.
    """
    real = _paired(np.clip(rows, -limit, limit))
    pairs = np.rint(real)
    v, w = pairs[..., 0], pairs[..., 1]
    over = np.abs(v + w) > MOST
    if over.any():  # few of them, as a rule
        sign, real = np.sign(v[over]), np.abs(real[over])
        first = np.rint((real[:, 0] - real[:, 1] + MOST) / 2).clip(MOST - limit, limit)
        pairs[over] = np.stack([sign * first, sign * (MOST - first)], axis=-1)
    return pairs.reshape(*rows.shape[:-1], -1)[..., : rows.shape[-1]]


def _paired(rows: NDArray) -> NDArray:
    """[..., ceil(K / 2), 2], integers as int16; an odd last one stands beside 0."""
    rows = rows if rows.dtype.kind == "f" else rows.astype(np.int16)
    if rows.shape[-1] % 2:
        rows = np.concatenate([rows, np.zeros((*rows.shape[:-1], 1), rows.dtype)], axis=-1)
    return rows.reshape(*rows.shape[:-1], -1, 2)
