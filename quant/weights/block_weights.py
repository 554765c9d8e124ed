"""Weights of matrix products in blocks along their inputs, each with a scale of its own: finer than one per output.

An outlier spoils the grid of its block alone, which 4 bits of large matrices need: transformers above all. Each block
takes the scale, and with zero points the range, whose codes have the least squared error. A .tflite has 4 bits in whole
blocks with scales in float16, and no zero points.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from ...converter.formats.files import sweep
from ...converter.ir import Graph, NameScope, Node, Tensor
from ...converter.numeric.blocks import packed_blocks
from ...converter.numeric.qparams import code_range

BITS = (4, 8)
_SHARES = {4: (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7), 8: (1.0,)}  # of a block's range
_AT_ONCE = 1 << 20  # elements


def block_codes(
    w: NDArray, bits: int, block: int, zero_points: bool, *, half: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int8] | None]:
    """Codes uint8 [O, blocks, bytes] of a weight [O, K] as `packed_blocks` stores them, scales float32 [O, blocks], and
    zero points int8 of that shape or None. half: scales are what float16 holds."""
    outputs, inputs = w.shape
    blocks = -(-inputs // block)
    codes = np.empty((outputs, blocks, block * bits // 8), np.uint8)
    scale = np.empty((outputs, blocks), np.float32)
    zero = np.zeros((outputs, blocks), np.int8) if zero_points else None
    rows = max(1, _AT_ONCE // max(inputs, 1))
    for begin in range(0, outputs, rows):
        at = slice(begin, begin + rows)
        part = np.zeros((len(codes[at]), blocks * block), np.float32)
        part[:, :inputs] = w[at]
        q, s, z = _best(part.reshape(-1, block), bits, zero_points, np.float16 if half else np.float32)
        codes[at] = packed_blocks(q.reshape(len(part), -1)[:, :inputs].astype(np.int8), block, bits)
        scale[at] = s.reshape(-1, blocks)
        if zero is not None:
            zero[at] = z.reshape(-1, blocks)
    return codes, scale, zero


def _best(w: NDArray, bits: int, zero_points: bool, kind: type[np.floating]) -> tuple[NDArray, NDArray, NDArray]:
    """Codes of blocks [n, block], and each one's scale, a normal number of `kind`, and zero point [n]."""
    qmin, qmax = code_range(bits, narrow=not zero_points)
    low = np.minimum(w.min(axis=1, keepdims=True), 0.0)
    high = np.maximum(w.max(axis=1, keepdims=True), 0.0)
    if not zero_points:
        high = np.maximum(-low, high)
        low = -high
    best = [np.zeros_like(w), np.ones_like(low), np.zeros_like(low)]
    least = np.full(low.shape, np.inf, np.float32)
    for share in _SHARES[bits]:
        s = ((high - low) * np.float32(share) / np.float32(qmax - qmin)).astype(kind).astype(np.float32)
        s[s < np.finfo(kind).tiny] = 1.0
        z = np.clip(np.rint(qmin - low * np.float32(share) / s), qmin, qmax) if zero_points else np.zeros_like(s)
        q = np.clip(np.rint(w / s) + z, qmin, qmax)
        error = np.square((q - z) * s - w).sum(axis=1, keepdims=True)
        better = error < least
        least = np.where(better, error, least)
        for kept, found in zip(best, (q, s, z)):
            np.copyto(kept, found, where=better)
    return best[0], best[1], best[2]


def _fits_float16(w: NDArray, block: int) -> bool:
    """Whether blocks of w [O, K] are whole and float16 has their scales, but for a hundredth that would be zeros."""
    if w.shape[1] % block:
        return False
    scale = np.abs(w).reshape(-1, block).max(axis=1) / 7
    limits = np.finfo(np.float16)
    return bool(scale.max() < limits.max and ((scale > 0) & (scale < limits.tiny)).mean() <= 0.01)


def store_in_blocks(
    graph: Graph, block: int, zero_points: bool, widths: Mapping[Node, int], kept: Collection[Node], container: str = ""
) -> dict[Node, Tensor]:
    """Turns matrix products with a constant float weight into BlockFullyConnected, in place.

    widths: the bits of nodes. kept: those that stay. container: a weight that has no such form in it stays, too.
    Returns the float weight of each node that has changed.
    """
    half = container == "tflite"
    changed: dict[Node, Tensor] = {}
    stored: dict[tuple[Tensor, int], tuple[Tensor, Tensor, Tensor | None]] = {}
    found = [n for n in graph.nodes if n.op == "FullyConnected" and n not in kept and widths[n] in BITS]
    for node, w in sweep([(n, n.required(1)) for n in found], lambda item: item[1].nbytes):
        x, bits = node.required(0), widths[node]
        rows = node.attrs["keep_dims"] or x.rank == 2
        if not rows or x.dtype != np.float32 or w.data is None or w.dtype.kind != "f" or w.quant is not None:
            continue
        if not w.data.size or not np.isfinite(w.data).all():
            continue
        if half and (bits != 4 or not _fits_float16(w.data, block)):
            continue
        if (w, bits) not in stored:
            codes, scale, zero = block_codes(w.data, bits, block, zero_points, half=half)
            stored[w, bits] = (
                Tensor(w.name, codes.dtype, codes.shape, codes),
                Tensor(f"{w.name}/scale", scale.dtype, scale.shape, scale),
                None if zero is None else Tensor(f"{w.name}/zero_point", zero.dtype, zero.shape, zero),
            )
        codes, scale, zero = stored[w, bits]
        node.op, node.inputs = "BlockFullyConnected", [x, codes, node.input(2), scale, *([zero] if zero else [])]
        node.attrs = {"bits": bits, "block": block, "depth": w.size(-1), "act": node.attrs["act"]}
        changed[node] = w
    # A weight may stand beside its blocks: for another reader, or in blocks of another width.
    made = {t: None for group in stored.values() for t in group if t is not None}
    names = NameScope(t.name for t in graph.tensors() if t not in made)
    for tensor in made:
        tensor.name = names.take(tensor.name)
    return changed
