"""MaxPoolIndices: maxima and where they stand."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GraphError
from ..ir import Node
from ..schema.op import Case, Inferred, Quant, op, writes
from ..schema.writing import Writing
from ._support.layout import first_perm, last_perm, permuted_shape
from ._support.spatial import onnx_pads
from ._support.writers import write_transposed
from .pool import POOL_CASES, POOL_WINDOW, SQUARE, infer_pool, lowest_value, own_pads, window_views


def _infer_indices(node: Node) -> Inferred:
    [(dtype, shape)] = infer_pool(node)
    if not (node.required(0).is_static):
        raise GraphError(f"{node.name} ({node.op}): indices of maxima need a static input shape")
    return [(dtype, shape), (np.dtype(np.int64), shape)]


@op(
    "MaxPoolIndices",
    attrs=POOL_WINDOW | {"column_major": False},
    infer=_infer_indices,
    outputs=2,
    foldable=False,
    quant=Quant(int8=False),
    cases=[*POOL_CASES[:4], *POOL_CASES[5:], Case(((2, 6, 5, 3),), SQUARE | {"column_major": True})],
)
def max_pool_indices(x: np.ndarray, *, column_major: bool, **a: Any) -> tuple[np.ndarray, np.ndarray]:
    """MaxPool, and the place of each (first) maximum in x as if x were flattened as [N,C,*S].

    column_major: the spatial part of the place counts the first spatial axis fastest (ONNX storage_order 1).
    """
    a = own_pads(a)
    rank, (n, *spatial, c) = x.ndim - 2, x.shape
    order = "F" if column_major else "C"
    within = np.arange(int(np.prod(spatial)), dtype=np.int64).reshape(spatial, order=order)
    planes = np.arange(n * c, dtype=np.int64).reshape(n, *([1] * rank), c) * int(np.prod(spatial))
    place = planes + within[None, ..., None]
    values, places = window_views(x, a, lowest_value(x.dtype)), window_views(place, a, -1)
    flat, flat_places = (v.reshape(*v.shape[: rank + 2], -1) for v in (values, places))
    # A pad never wins over an element that is equal to it.
    best = np.where(flat_places >= 0, flat == flat.max(-1, keepdims=True), False).argmax(-1)[..., None]
    return np.take_along_axis(flat, best, -1)[..., 0], np.take_along_axis(flat_places, best, -1)[..., 0]


@writes("onnx", "MaxPoolIndices")
def write_onnx_max_pool_indices(w: Writing, node: Node) -> None:
    a, x = node.attrs, node.required(0)
    to, back = first_perm(x.known_rank), last_perm(x.known_rank)
    fields = {"kernel_shape": a["kernel"], "strides": a["stride"], "pads": onnx_pads(a["pad"])}
    fields |= {"dilations": a["dilation"], "ceil_mode": int(a["ceil_mode"]), "storage_order": int(a["column_major"])}
    results = [w.between(y, permuted_shape(y.shape, to), f"{y.name}/first") for y in node.outputs]
    w.node("MaxPool", node, [write_transposed(w, node, x, to)], results, fields=fields)
    for first, y in zip(results, node.outputs):
        w.node("Transpose", node, [first], [y], fields={"perm": back})
