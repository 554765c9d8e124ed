"""Values put at places: ScatterND and ScatterElements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.params import int64_param, write_cast
from ._support.types import fail, joint_dtype, normal_axis, value_dtype
from .gather import check_indices
from .qparam_views import stored

_COMBINE = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _check_reduction(node: Node) -> None:
    if node.attrs["reduction"] not in _COMBINE:
        fail(node, f"reduction {node.attrs['reduction']!r}, allowed are {', '.join(_COMBINE)}")


def infer_scatter_nd(node: Node) -> Inferred:
    x, at, updates = node.required(0), node.required(1), node.required(2)
    _check_reduction(node)
    check_indices(node, at, None)
    dtype = joint_dtype(node, x, updates)
    if x.shape is None or at.shape is None or not at.shape or at.shape[-1] is None:
        return [(dtype, x.shape)]
    deep = at.shape[-1]
    if deep > len(x.shape):
        fail(node, f"index tuples of {deep} for a tensor of shape {x.shape}")
    expected = (*at.shape[:-1], *x.shape[deep:])
    if updates.shape is not None and (
        len(updates.shape) != len(expected)
        or any(None not in (n, m) and n != m for n, m in zip(updates.shape, expected))
    ):
        fail(node, f"updates of shape {updates.shape}, expected {expected}")
    if at.data is not None and at.data.size:
        for k in range(deep):
            n, column = x.shape[k], at.data[..., k]
            if n is not None and (column.min() < -n or column.max() >= n):
                fail(node, f"an index is outside axis {k} of {x.shape}")
    return [(dtype, x.shape)]


def _place(y: np.ndarray, at: tuple[Any, ...], updates: np.ndarray, reduction: str) -> None:
    combine = _COMBINE[reduction]
    if combine is None:
        y[at] = updates
    else:
        combine.at(y, at, updates)


def _columns(at: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
    columns = []
    for k in range(at.shape[-1]):
        column = at[..., k].astype(np.int64)
        if column.size and (column.min() < -sizes[k] or column.max() >= sizes[k]):
            raise ValueError(f"an index is outside 0..{sizes[k] - 1}")
        columns.append(column)
    return tuple(columns)


def _scatter_nd(x: np.ndarray, at: np.ndarray, updates: np.ndarray, *, reduction: str) -> np.ndarray:
    y = np.array(x)
    _place(y, _columns(at, x.shape), updates, reduction)
    return y


@op(
    "ScatterND",
    attrs={"reduction": "none"},
    infer=infer_scatter_nd,
    arity=3,
    quant=Quant(int8=False),
    cases=[
        Case(((8,), np.array([[4], [3], [1]]), np.array([9, 10, 11], np.float32))),
        Case(((3, 4), np.array([[0], [2]]), np.ones((2, 4), np.float32)), {"reduction": "add"}),
        Case(((3, 4), np.array([[0, 1], [0, 1]]), np.array([5, 7], np.float32)), {"reduction": "max"}),
    ],
)
def scatter_nd(x: np.ndarray, at: np.ndarray, updates: np.ndarray, *, reduction: str) -> np.ndarray:
    """x with `updates` at the index tuples in the last axis of `at`, replacing or combined by `reduction`."""
    return _scatter_nd(x, at, updates, reduction=reduction)


@reads("onnx", "ScatterND")
def read_onnx_scatter_nd(r: Reading) -> Tensor:
    return r.emit("ScatterND", r.input(0), r.input(1), r.input(2), reduction=r.attr("reduction", "none"))


def _sums(r: Reading, shape: Tensor, at: Tensor, updates: Tensor) -> Tensor:
    zeros = r.emit("Fill", int64_param(r, shape), r.constant(0, value_dtype(updates)))
    return r.emit("ScatterND", zeros, at, updates, reduction="add")


@reads("tflite", "SCATTER_ND")
def read_tflite_scatter_nd(r: Reading) -> Tensor:
    """Inputs: indices, updates, shape. Updates of one place are added."""
    return _sums(r, r.input(2), r.input(0), stored(r, r.input(1)))


@reads("ms", "ScatterNd")
def read_ms_scatter_nd(r: Reading) -> Tensor:
    """Inputs: shape, indices, updates."""
    return _sums(r, r.input(0), r.input(1), r.input(2))


@reads("ms", "ScatterNdUpdate", "TensorScatterAdd")
def read_ms_scatter_update(r: Reading) -> Tensor:
    reduction = "add" if r.op == "TensorScatterAdd" else "none"
    return r.emit("ScatterND", r.input(0), r.input(1), r.input(2), reduction=reduction)


@reads("tflite", "SPARSE_TO_DENSE")
def read_tflite_sparse_to_dense(r: Reading) -> Tensor:
    """Inputs: indices [n, rank] (or [n], or one), shape, values [n] or one, the value elsewhere."""
    at, shape, values, other = (stored(r, r.input(i)) for i in range(4))
    rank = r.rank(at)
    if rank < 2:
        at = r.emit("Reshape", at, r.constant([-1, 1], np.int64))
    if r.rank(values) == 0:
        if at.shape is None or at.shape[0] is None:
            r.refuse("one value for a number of indices that is not known")
        values = r.emit("BroadcastTo", values, r.constant([at.shape[0]], np.int64))
    return r.emit("ScatterND", r.emit("Fill", int64_param(r, shape), other), at, values)


@writes("onnx", "ScatterND")
def write_onnx_scatter_nd(w: Writing, node: Node) -> None:
    x, at, updates = node.operands(3)
    fields = {} if node.attrs["reduction"] == "none" else {"reduction": node.attrs["reduction"]}
    w.node("ScatterND", node, [x, write_cast(w, node, at, np.dtype(np.int64), "indices"), updates], fields=fields)


@writes("ms", "ScatterND")
def write_ms_scatter_nd(w: Writing, node: Node) -> None:
    name = {"none": "ScatterNdUpdate", "add": "TensorScatterAdd"}.get(node.attrs["reduction"])
    if name is None:
        w.refuse(node, f"reduction {node.attrs['reduction']}")
    x, at, updates = node.operands(3)
    w.node(name, node, [x, write_cast(w, node, at, np.dtype(np.int32), "indices"), updates])


def infer_scatter_elements(node: Node) -> Inferred:
    x, at, updates = node.required(0), node.required(1), node.required(2)
    _check_reduction(node)
    dtype = joint_dtype(node, x, updates)
    if x.shape is None:
        return [(dtype, None)]
    axis = normal_axis(node, node.attrs["axis"], len(x.shape))
    check_indices(node, at, x.shape[axis])
    if at.shape is not None and updates.shape is not None:
        differ = len(at.shape) != len(updates.shape) or any(
            None not in (n, m) and n != m for n, m in zip(at.shape, updates.shape)
        )
        beyond = len(at.shape) != len(x.shape) or any(
            i != axis and n is not None and m is not None and m > n for i, (n, m) in enumerate(zip(x.shape, at.shape))
        )
        if differ or beyond:
            fail(node, f"indices {at.shape} and updates {updates.shape} do not fit {x.shape}")
    return [(dtype, x.shape)]


@op(
    "ScatterElements",
    attrs={"axis": 0, "reduction": "none"},
    infer=infer_scatter_elements,
    arity=3,
    quant=Quant(int8=False),
    cases=[
        Case(((3, 3), np.array([[1, 0, 2], [0, 2, 1]]), np.array([[1, 2, 3], [4, 5, 6]], np.float32))),
        Case(((1, 5), np.array([[1, 1]]), np.array([[1, 2]], np.float32)), {"axis": -1, "reduction": "add"}),
    ],
)
def scatter_elements(x: np.ndarray, at: np.ndarray, updates: np.ndarray, *, axis: int, reduction: str) -> np.ndarray:
    """y[at[i, j, …], j, …] = updates[i, j, …] for axis 0, replacing or combined by `reduction`."""
    y, axis = np.array(x), axis % x.ndim
    (column,) = _columns(at[..., None], [x.shape[axis]])
    grid: list[np.ndarray] = list(np.indices(at.shape, sparse=True))
    grid[axis] = column
    _place(y, tuple(grid), updates, reduction)
    return y


@reads("onnx", "ScatterElements", "Scatter")
@reads("ms", "ScatterElements")
def read_scatter_elements(r: Reading) -> Tensor:
    attrs = {"axis": r.attr("axis", 0), "reduction": r.attr("reduction", "none")}
    return r.emit("ScatterElements", r.input(0), r.input(1), r.input(2), **attrs)


@writes("onnx", "ScatterElements")
def write_scatter_elements(w: Writing, node: Node) -> None:
    fields = {"axis": node.attrs["axis"]}
    if node.attrs["reduction"] != "none":
        fields["reduction"] = node.attrs["reduction"]
    w.node("ScatterElements", node, node.inputs, fields=fields)
