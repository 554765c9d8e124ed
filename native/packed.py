"""Weight-only quantized matrices that stay packed in memory: the steps of `keep_packed`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..converter.ir import Node, Tensor, is_quantized
from ..converter.ops import row
from .step import Step

_KERNEL = "fully_connected"


def packed_step(node: Node) -> Step | str | None:
    """The step of a float layer on a packed matrix: codes of up to 4 bits two a byte, of up to 8 bits one a byte.

    Returns None where there is no quantized weight to keep packed, or the reason why it is widened.
    """
    cell = row(node.op).quant
    weights = [t for i in cell.weights if (t := node.input(i)) is not None] if cell is not None else []
    if not any(w.is_const and is_quantized(w) for w in weights) or is_quantized(node.outputs[0]):
        return None
    kernel = row(node.op).kernel
    if kernel not in (_KERNEL, "matmul"):
        return f"{node.op} widens its weight"
    x, w, bias = node.required(0), weights[0], node.input(2)
    if kernel == "matmul":
        if w is not node.inputs[1] or w.data is None or w.data.ndim != 2 or node.attrs["transpose_a"]:
            return "its weight is not one matrix on the right"
        if x is None or x.rank is None or x.rank < 2:
            return "its data are not rows"
        if not node.attrs["transpose_b"]:
            w = _turned(w)
    q = w.qparams
    if x.dtype != np.float32 or is_quantized(x) or node.outputs[0].dtype != np.float32:
        return "its data are not float32"
    if w.dtype != np.int8:
        return f"codes of {q.bits} bits are widened"
    if (len(q.scale) > 1 and q.axis != 0) or (bias is not None and not bias.is_const):
        return "its scales or bias do not lie along the outputs"
    rows = w.value.shape[0]
    scale = q.scale if q.var_corr is None else q.scale * q.var_corr
    offset = -q.zero_point * scale if q.mean_corr is None else q.mean_corr - q.zero_point * scale
    codes = Tensor(w.name, w.dtype, w.shape, w.value)
    real = None if bias is None else bias.real().astype(np.float32)
    inputs = [
        node.inputs[0],
        codes,
        None if real is None else Tensor(f"{w.name}/bias", real.dtype, real.shape, real),
        _per_row(f"{w.name}/scale", scale, rows),
        _per_row(f"{w.name}/offset", offset, rows),
    ]
    attrs = {k: v for k, v in node.attrs.items() if k in ("act", "keep_dims")}
    attrs["bits"] = 4 if q.bits <= 4 else 8
    return Step(f"packed_{_KERNEL}", node.name, inputs, node.outputs, attrs, (node,))


def _turned(w: Tensor) -> Tensor:
    """The transpose of a quantized matrix."""
    q = w.qparams
    codes = np.ascontiguousarray(w.value.T)
    axis = None if q.axis is None else 1 - q.axis
    return Tensor(w.name, w.dtype, codes.shape, codes, replace(q, axis=axis))


def _per_row(name: str, values: np.ndarray, rows: int) -> Tensor:
    data = np.ascontiguousarray(np.broadcast_to(np.asarray(values, np.float32), (rows,)))
    return Tensor(name, data.dtype, data.shape, data)
