"""Weight codes that keep a layer's output, not each weight: coordinate descent on ‖X_q ŵ - X w‖² over calibration rows.

X_q are the codes that reach the layer through the already quantized prefix, X what reaches it in float, so the codes also
make up for the errors of the layers before. The mean is left out (the bias corrects it), and a ridge keeps ŵ near w where
the rows say nothing. Each step sets one input's weight, in all output channels at once, to the best code given the others
(as COMQ, Zhang et al. 2024). All sums are of integers, exact in float64, so BLAS gives the same bits everywhere; the rest is
elementwise float64 in a fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..converter.ir import Node
from ..converter.ops.spatial import pad_spatial, windows
from .walk import Walk

ROWS = 6144
SWEEPS = 3
RIDGE = 0.01
FOLLOW = 0.25  # how far codes make up for the errors of earlier layers; more fits the calibration samples only
_FINE = 256  # float inputs are rounded to this part of a code's step, so that their products are integers too


@dataclass
class Rows:
    """Sums over rows of inputs: gram = X_q' X_q and cross = X_q' X, centred, float64 [batch, K, K], in units of codes."""

    gram: np.ndarray
    cross: np.ndarray
    count: int


def refine(walk: Walk, node: Node, *, ridge: float = RIDGE, sweeps: int = SWEEPS, follow: float = FOLLOW) -> None:
    """Replaces the codes of the layer's weight, in place; what has no rows (transposed convolutions) stays.

    follow: 1 aims at the float output, 0 at the float weight on the quantized inputs.
    """
    layer = walk.made.layers[node]
    rows = collect(walk, node)
    w, codes, quant = node.inputs[1], layer.weight.data, layer.weight.quant
    if rows is None or w is None or w.data is None or codes is None or quant is None or quant.axis not in (0, None):
        return
    batch, k = rows.gram.shape[0], rows.gram.shape[1]
    shape = (batch, w.data.shape[0] // batch, k)
    scale = np.broadcast_to(quant.scale, w.data.shape[0]).reshape(batch, 1, -1)
    t = w.data.astype(np.float64).reshape(shape).transpose(0, 2, 1) / scale
    q = codes.astype(np.float64).reshape(shape).transpose(0, 2, 1).copy()
    limit = float(max(2 ** (quant.bits - 1) - 1, 1))
    descend(rows, t, q, limit, ridge, sweeps, follow)
    layer.weight.data = q.transpose(0, 2, 1).reshape(codes.shape).astype(np.int8)


def descend(rows: Rows, t: np.ndarray, q: np.ndarray, limit: float, ridge: float, sweeps: int, follow: float) -> None:
    """Improves codes q [batch, K, O] for real codes t, in place."""
    gram = rows.gram.copy()
    k = gram.shape[1]
    diagonal = np.einsum("bkk->bk", gram)
    extra = ridge * diagonal.mean(axis=1, keepdims=True) + 1e-9
    # The gradient G q - C t, with sums in a fixed order.
    want = rows.cross * follow + gram * (1 - follow)
    slope = np.zeros_like(q)
    for i in range(k):
        slope += gram[:, :, i, None] * q[:, None, i, :]
        slope -= want[:, :, i, None] * t[:, None, i, :]
    slope += extra[:, :, None] * (q - t)
    diagonal += extra
    for _ in range(sweeps):
        moved = False
        for i in range(k):
            best = np.clip(np.rint(q[:, i] - slope[:, i] / diagonal[:, i, None]), -limit, limit)
            step = best - q[:, i]
            if step.any():
                moved = True
                q[:, i] = best
                slope += gram[:, :, i, None] * step[:, None, :]
        if not moved:
            return


def collect(walk: Walk, node: Node, limit: int = ROWS) -> Rows | None:
    """The sums over at most `limit` rows, spread over samples and positions."""
    layer = walk.made.layers[node]
    twin = walk.made.twin[node.inputs[0]]  # pyright: ignore[reportArgumentType]
    quant = twin.quant
    assert quant is not None
    scale, zero = float(quant.scale[0]), int(quant.zero_point[0])
    w = node.inputs[1]
    if w is None or w.data is None or node.op not in ("Conv", "FullyConnected"):
        return None
    group = node.attrs.get("group", 1)
    if group not in (1, w.data.shape[0]) or (group != 1 and w.data.shape[-1] != 1):
        return None
    gram = cross = None
    count, total, real_total = 0, 0.0, 0.0
    per_sample = max(1, limit // walk.count)
    for s in range(walk.count):
        a = (walk.codes.get(twin, s).astype(np.int16) - zero).astype(np.float32)
        b = np.rint(walk.real.get(node.inputs[0], s) * np.float32(_FINE / scale))  # pyright: ignore[reportArgumentType]
        xq, xf = (_rows(node, v, per_sample, group != 1) for v in (a, b))
        g, c = xq.transpose(0, 2, 1) @ xq, xq.transpose(0, 2, 1) @ xf
        gram = g if gram is None else gram + g
        cross = c if cross is None else cross + c
        total, real_total = total + xq.sum(axis=1), real_total + xf.sum(axis=1)
        count += xq.shape[1]
    gram -= total[:, :, None] * total[:, None, :] / count
    cross = (cross - total[:, :, None] * real_total[:, None, :] / count) / _FINE
    return Rows(gram, cross, count)


def _rows(node: Node, x: np.ndarray, limit: int, depthwise: bool) -> np.ndarray:
    """float64 [batch, rows, K] of one sample, at most `limit` rows evenly spread."""
    w = node.inputs[1]
    assert w is not None and w.data is not None
    if node.op == "FullyConnected":
        rows = x.reshape(-1, w.data.shape[1])
        return rows[_spread(len(rows), limit)].astype(np.float64)[None]
    kernel, rank = w.data.shape[1:-1], w.data.ndim - 2
    view = windows(pad_spatial(x, node.attrs["pad"]), kernel, node.attrs["stride"], node.attrs["dilation"])
    sizes = view.shape[: rank + 1]
    at = np.unravel_index(_spread(int(np.prod(sizes)), limit), sizes)
    part = view[at].astype(np.float64)  # [rows, C, *K]
    part = part.reshape(len(part), part.shape[1], -1)
    return np.ascontiguousarray(
        part.transpose(1, 0, 2) if depthwise else part.transpose(0, 2, 1).reshape(1, len(part), -1)
    )


def _spread(n: int, limit: int) -> np.ndarray:
    """Indices of at most `limit` of n, evenly spread with a shift so that rows of an image differ in column."""
    if n <= limit:
        return np.arange(n)
    return (np.arange(limit, dtype=np.int64) * n + n // 2) // limit
