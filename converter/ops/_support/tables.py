"""Unary functions of quantized tensors as tables: one output code for each input code, made once in float64.

y = clamp(rne(f((q - zx) * sx) / sy) + zy) with f in scalar double precision: no SIMD library decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import Node
from ...numeric.qparams import code_range
from ...schema.op import evaluate

SCALARS: dict[str, Callable[..., float]] = {}
"""IR operator → f(real, **attrs) → real, registered by rows with Quant(table=True)."""


def quantized_byte(node: Node) -> bool:
    """Whether input 0 and the output are quantized bytes with one scale each."""
    return _quantized(node, (np.int8, np.uint8))


def _quantized(node: Node, dtypes: Sequence[Any]) -> bool:
    ends = (node.inputs[0], node.outputs[0])
    return all(t is not None and t.quant is not None and t.dtype in dtypes and t.quant.axis is None for t in ends)


def table_s8(node: Node) -> np.ndarray:
    """The 256 output codes of a unary node, in the order of input codes from the lowest (-128, or 0 for uint8).

    The output's dtype is that of the node's output. Input 0 and output 0 must be quantized bytes (`quantized_byte`).
    """
    low = 0 if node.required(0).dtype == np.uint8 else -128
    return _results(node, range(low, low + 256))


def _results(node: Node, codes: Sequence[int]) -> np.ndarray:
    """The output code of each input code."""
    x, y = node.required(0), node.outputs[0]
    scale, zero_point = float(x.qparams.scale[0]), int(x.qparams.zero_point[0])
    reals = [(q - zero_point) * scale for q in codes]
    f = SCALARS.get(node.op)
    if f is None:
        values = [float(v) for v in evaluate(node, [np.asarray(reals)])[0]]
    else:
        values = [_total(f, v, node.attrs) for v in reals]
    qmin, qmax = code_range(min(y.qparams.bits, 8 * y.dtype.itemsize), unsigned=y.dtype == np.uint8)
    out_scale, out_zero = float(y.qparams.scale[0]), int(y.qparams.zero_point[0])
    return np.array([_code(v / out_scale, out_zero, qmin, qmax) for v in values], y.dtype)


def by_table(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    """The `integer` cell of unary rows. 16-bit codes have no table, the function of those that occur is the same."""
    if any(t is not None for t in node.inputs[1:]):
        return None
    if not quantized_byte(node):
        return _words(node, arrays[0]) if _quantized(node, (np.int16,)) else None
    low = 0 if arrays[0].dtype == np.uint8 else -128
    return table_s8(node)[arrays[0].astype(np.int32) - low]


def _words(node: Node, q: np.ndarray) -> np.ndarray:
    codes, place = np.unique(q, return_inverse=True)
    return _results(node, codes.tolist())[place].reshape(q.shape)


def _total(f: Callable[..., float], x: float, attrs: dict[str, Any]) -> float:
    """f where it is defined; NaN or an infinity elsewhere, as the float reference has it."""
    try:
        return f(x, **attrs)
    except ZeroDivisionError:
        return math.inf
    except ValueError:
        return math.nan
    except OverflowError:
        return math.inf


def _code(real: float, zero_point: int, qmin: int, qmax: int) -> int:
    if math.isnan(real):
        return min(max(zero_point, qmin), qmax)
    if math.isinf(real):
        return qmax if real > 0 else qmin
    return min(max(round(real) + zero_point, qmin), qmax)
