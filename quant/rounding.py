"""Weight codes that keep a layer's output, not each weight: coordinate descent on ‖X (ŵ - w)‖² over calibration rows.

X are the codes that reach the layer through the already quantized prefix. The mean is left out (the bias corrects it),
and a ridge keeps ŵ near w where the rows say nothing. Each step sets one input's weight, in all output channels at
once, to the best code given the others (as COMQ, Zhang et al. 2024). X'X is a sum of integers, exact in any order, so
BLAS gives the same bits everywhere; the rest is elementwise float64 in a fixed order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..converter.ir import Node
from ..converter.ops.spatial import pad_spatial, windows
from .walk import Walk

ROWS = 2048
SWEEPS = 3
RIDGE = 0.01
_EXACT = 256  # rows whose products of 9-bit numbers float32 sums without rounding


def refine(walk: Walk, node: Node, *, ridge: float = RIDGE, sweeps: int = SWEEPS) -> None:
    """Replaces the codes of the layer's weight, in place; what has no rows (transposed convolutions) stays."""
    layer = walk.made.layers[node]
    w, codes, quant = node.inputs[1], layer.weight.data, layer.weight.quant
    if w is None or w.data is None or codes is None or quant is None or quant.axis not in (0, None):
        return
    gram = collect(walk, node)
    if gram is None:
        return
    shape = (len(gram), w.data.shape[0] // len(gram), gram.shape[1])
    scale = np.broadcast_to(quant.scale, w.data.shape[0]).reshape(len(gram), 1, -1)
    real = w.data.astype(np.float64).reshape(shape).transpose(0, 2, 1) / scale
    q = codes.astype(np.float64).reshape(shape).transpose(0, 2, 1).copy()
    low, high = (-1.0, 0.0) if quant.bits == 1 else (-(2.0 ** (quant.bits - 1)) + 1, 2.0 ** (quant.bits - 1) - 1)
    descend(gram, np.ascontiguousarray(real), q, (low, high), ridge, sweeps, walk.threads)
    layer.weight.data = q.transpose(0, 2, 1).reshape(codes.shape).astype(np.int8)


def descend(
    gram: np.ndarray,
    real: np.ndarray,
    q: np.ndarray,
    limits: tuple[float, float],
    ridge: float = RIDGE,
    sweeps: int = SWEEPS,
    threads: int = 1,
) -> None:
    """Improves codes q [batch, K, O] for real ones, in place; gram [batch, K, K] gets the ridge."""
    from .. import _native

    diagonal = np.einsum("bkk->bk", gram)
    diagonal += ridge * diagonal.mean(axis=1, keepdims=True) + 1e-9
    if (q == real).all():
        return
    columns = q.shape[2]
    share = (-(-columns // threads) + 7) // 8 * 8
    parts = [(begin, min(begin + share, columns)) for begin in range(0, columns, share)]
    low, high = limits
    with ThreadPoolExecutor(max_workers=threads) as pool:
        list(pool.map(lambda part: _native.descend(gram, real, q, part[0], part[1], low, high, sweeps), parts))


def collect(walk: Walk, node: Node, limit: int = ROWS) -> np.ndarray | None:
    """X'X of the layer's centred inputs in units of codes, float64 [batch, K, K], from at most `limit` rows."""
    twin = walk.made.twin[node.inputs[0]]  # pyright: ignore[reportArgumentType]
    w = node.inputs[1]
    assert twin.quant is not None
    if w is None or w.data is None or node.op not in ("Conv", "FullyConnected"):
        return None
    group = node.attrs.get("group", 1)
    if group not in (1, w.data.shape[0]) or (group != 1 and w.data.shape[-1] != 1):
        return None
    zero = int(twin.quant.zero_point[0])
    per_sample = max(1, limit // walk.count)
    gram = total = None
    count = 0
    waiting: list[np.ndarray] = []
    for s in range(walk.count):
        x = (walk.codes.get(twin, s).astype(np.int16) - zero).astype(np.float32)
        waiting.append(_rows(node, x, per_sample, group != 1))
        if s + 1 < walk.count and sum(a.shape[1] for a in waiting) < _EXACT:
            continue
        rows = np.concatenate(waiting, axis=1)
        waiting = []
        for begin in range(0, rows.shape[1], _EXACT):
            part = rows[:, begin : begin + _EXACT]
            if len(part) == 1:
                product = (part[0].T @ part[0])[None]
            else:
                product = part.transpose(0, 2, 1) @ part
            gram = product.astype(np.float64) if gram is None else np.add(gram, product, out=gram)
            sums = part.sum(axis=1, dtype=np.float64)
            total = sums if total is None else total + sums
        count += rows.shape[1]
    assert gram is not None and total is not None
    gram -= total[:, :, None] * (total[:, None, :] / count)
    return gram


def _rows(node: Node, x: np.ndarray, limit: int, depthwise: bool) -> np.ndarray:
    """float32 [batch, rows, K] of one sample, at most `limit` rows evenly spread."""
    w = node.inputs[1]
    assert w is not None and w.data is not None
    if node.op == "FullyConnected":
        rows = x.reshape(-1, w.data.shape[1])
        return rows[_spread(len(rows), limit)][None]
    kernel, rank = w.data.shape[1:-1], w.data.ndim - 2
    view = windows(pad_spatial(x, node.attrs["pad"]), kernel, node.attrs["stride"], node.attrs["dilation"])
    sizes = view.shape[: rank + 1]
    at = np.unravel_index(_spread(int(np.prod(sizes)), limit), sizes)
    part = view[at]  # [rows, C, *K]
    part = part.reshape(len(part), part.shape[1], -1)
    return np.ascontiguousarray(
        part.transpose(1, 0, 2) if depthwise else part.transpose(0, 2, 1).reshape(1, len(part), -1)
    )


def _spread(n: int, limit: int) -> np.ndarray:
    """Indices of at most `limit` of n, evenly spread with a shift so that rows of an image differ in column."""
    if n <= limit:
        return np.arange(n)
    return (np.arange(limit, dtype=np.int64) * n + n // 2) // limit
