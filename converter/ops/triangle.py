"""Triangles and diagonals of matrices: Trilu, and EyeLike as a constant."""

from __future__ import annotations

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.params import int64_param
from ._support.types import dtype_from, fail, length, value_dtype


def infer_trilu(node: Node) -> Inferred:
    x, k = node.required(0), node.input(1)
    if length(node, k, "k") not in (None, 1):
        fail(node, "k must be one number")
    if x.shape is not None and len(x.shape) < 2:
        fail(node, f"{x.shape} has no triangle")
    return [(value_dtype(x), x.shape)]


@op(
    "Trilu",
    attrs={"upper": True, "k": 0},
    infer=infer_trilu,
    arity=(1, 2),
    quant=Quant(int8=False),
    cases=[
        Case(((3, 4),)),
        Case(((2, 3, 3),), {"upper": False, "k": -1}),
        Case(((4, 4), np.array(2))),
    ],
)
def trilu(x: np.ndarray, at: np.ndarray | None = None, *, upper: bool, k: int) -> np.ndarray:
    """The upper (or lower) triangle of the last two axes from the k-th diagonal on, zeros elsewhere."""
    k = k if at is None else int(np.reshape(at, -1)[0])
    rows, columns = x.shape[-2:]
    k = max(min(k, columns + 1), -rows - 1)
    return np.triu(x, k) if upper else np.tril(x, k)


@reads("onnx", "Trilu")
def read_onnx_trilu(r: Reading) -> Tensor:
    return _trilu(r, bool(r.attr("upper", 1)))


def _trilu(r: Reading, upper: bool) -> Tensor:
    k = r.optional(1)
    if k is not None and k.data is None:
        return r.emit("Trilu", r.input(0), int64_param(r, k), upper=upper)
    return r.emit("Trilu", r.input(0), upper=upper, k=0 if k is None else r.ints(1)[0])


@reads("ms", "Triu", "Tril")
def read_ms_trilu(r: Reading) -> Tensor:
    return _trilu(r, r.op == "Triu")


@reads("mindir", "Triu", "Tril")
def read_mindir_trilu(r: Reading) -> Tensor:
    return r.emit("Trilu", r.input(0), upper=r.op == "Triu", k=r.whole(1, "diagonal", 0))


@writes("onnx", "Trilu")
@writes("ms", "Trilu")
def write_trilu(w: Writing, node: Node) -> None:
    k = node.input(1) or w.constant(node.attrs["k"], np.int64, f"{node.name}/k")
    if w.container == "onnx":
        w.node("Trilu", node, [node.inputs[0], k], fields={"upper": int(node.attrs["upper"])})
    else:
        w.node("Triu" if node.attrs["upper"] else "Tril", node, [node.inputs[0], k])


_MOST_ENTRIES = 1 << 22  # of a constant that a reader makes


@reads("onnx", "EyeLike")
def read_onnx_eye_like(r: Reading) -> Tensor:
    x = r.input(0)
    if x.shape is None or None in x.shape or len(x.shape) != 2:
        r.refuse(f"it needs a matrix of a known shape, not {x.shape}", hint=Setting("input_shape"))
    rows, columns = x.static_shape
    if rows * columns > _MOST_ENTRIES:
        r.refuse(f"a matrix of {x.shape} is too large to be stored")
    number = r.attr("dtype", None)
    dtype = value_dtype(x) if number is None else dtype_from("onnx", number, r)
    return r.constant(np.eye(rows, columns, r.attr("k", 0), dtype=dtype))
