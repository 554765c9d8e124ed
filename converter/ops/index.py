"""Where values stand, and what stands there: TopK, NonZero, Unique, Compress, Trilu, ReverseSequence, the scatters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formats.reading import Reading
from ..formats.writing import Writing
from ..ir import Node, Tensor
from ..opdef import REQUIRED, Case, Inferred, Quant, op, reads, writes
from .gather import check_indices
from .integer import same_codes
from .layout import remap_axis
from .params import emit_cast, int64_param, write_cast
from .types import (
    const_ints,
    dtype_from,
    fail,
    is_codes,
    joint_dtype,
    known_size,
    length,
    need,
    normal_axis,
    value_dtype,
)


def infer_top_k(node: Node) -> Inferred:
    x, k = node.inputs[0], node.inputs[1]
    assert x is not None and k is not None
    need(node, x, "iuf", "the input")
    if length(node, k, "k") not in (None, 1):
        fail(node, f"k must be one number, not of shape {k.shape}")
    indices = np.dtype(node.attrs["dtype"])
    if x.shape is None:
        return [(value_dtype(x), None), (indices, None)]
    axis, wanted = normal_axis(node, node.attrs["axis"], len(x.shape)), const_ints(k)
    n = None if wanted is None else wanted[0]
    size = x.shape[axis]
    if n is not None and (n < 0 or (size is not None and n > size)):
        fail(node, f"k is {n}, axis {axis} of {x.shape} has fewer entries")
    shape = tuple(n if i == axis else m for i, m in enumerate(x.shape))
    return [(value_dtype(x), shape), (indices, shape)]


def _top_k_codes(node: Node, arrays: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if not is_codes(x) or x.quant != y.quant or x.dtype != y.dtype or x.quant.axis is not None:  # pyright: ignore
        return None
    return top_k(*arrays, **node.attrs)


@op(
    "TopK",
    attrs={"axis": -1, "largest": True, "sorted": True, "dtype": "int64"},
    infer=infer_top_k,
    arity=2,
    outputs=2,
    kernel="top_k",
    quant=Quant(output="same"),
    const_inputs={1: "k"},
    permute=remap_axis("axis"),
    integer=_top_k_codes,
    cases=[
        Case(((3, 7), np.array([3]))),
        Case(((2, 5, 3), np.array([2])), {"axis": 1, "largest": False}),
        Case((np.array([[1, 3, 3, 2, 3]]), np.array([2])), {"dtype": "int32"}),
    ],
)
def top_k(
    x: np.ndarray, k: np.ndarray, *, axis: int, largest: bool, sorted: bool, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest (or smallest) values along `axis` in order, and where they stand; of equal ones the first."""
    n = int(np.reshape(k, -1)[0])
    if largest:
        # Backwards, so that after the last turn equal values keep their order.
        at = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        at = np.argsort(x, axis, kind="stable")
    at = np.take(at, range(n), axis)
    return np.take_along_axis(x, at, axis), at.astype(dtype)


@reads("onnx", "TopK")
def read_onnx_top_k(r: Reading) -> list[Tensor]:
    """k: an attribute before opset 10, an input since."""
    k = r.constant([r.attr("k")], np.int64) if r.version < 10 else int64_param(r, r.input(1))
    attrs = {"axis": r.attr("axis", -1), "largest": bool(r.attr("largest", 1)), "sorted": bool(r.attr("sorted", 1))}
    return r.emit_many("TopK", [r.input(0), k], **attrs)


@reads("tflite", "TOPK_V2")
def read_tflite_top_k(r: Reading) -> list[Tensor]:
    dtype = r.outputs[1].dtype.name if len(r.outputs) > 1 else "int32"
    return r.emit_many("TopK", [r.input(0), int64_param(r, r.input(1))], dtype=dtype)


@reads("ms", "TopKFusion")
def read_ms_top_k(r: Reading) -> list[Tensor]:
    """`largest` is not read: files leave it 0, and the runtime always takes the largest."""
    attrs = {"axis": r.attr("axis", -1), "sorted": bool(r.attr("sorted", True)), "dtype": "int32"}
    return r.emit_many("TopK", [r.input(0), int64_param(r, r.input(1))], **attrs)


def _int32_indices(w: Writing, node: Node, index: int) -> tuple[list[Tensor], Tensor | None]:
    """The node's outputs with int32 at `index`, and the one to cast afterwards when the IR has another type."""
    outs = list(node.outputs)
    if outs[index].dtype == np.int32:
        return outs, None
    outs[index] = w.between(node.outputs[index], name=f"{node.outputs[index].name}/int32")
    outs[index].dtype = np.dtype(np.int32)
    return outs, outs[index]


@writes("tflite", "TopK")
@writes("ms", "TopK")
def write_top_k(w: Writing, node: Node) -> None:
    x, k = node.inputs[0], node.inputs[1]
    assert x is not None and k is not None
    if not node.attrs["largest"]:
        w.refuse(node, "it takes the smallest values")
    rank = x.rank
    if w.container == "tflite" and node.attrs["axis"] != -1 and (rank is None or node.attrs["axis"] % rank != rank - 1):
        w.refuse(node, f"axis {node.attrs['axis']} is not the last one")
    outs, cast = _int32_indices(w, node, 1)
    if k.data is not None:
        shape = () if w.container == "tflite" else (1,)
        k = w.constant(k.data.reshape(shape), np.int32, f"{node.name}/k")
    else:
        k = write_cast(w, node, k, np.dtype(np.int32), "k")
    if w.container == "tflite":
        w.node("TOPK_V2", node, [x, k], outs)
    else:
        fields = {"sorted": node.attrs["sorted"], "axis": node.attrs["axis"], "largest": 1}
        w.node("TopKFusion", node, [x, k], outs, fields=fields)
    if cast is not None:
        emit_cast(w, node, cast, node.outputs[1])


@writes("onnx", "TopK")
def write_onnx_top_k(w: Writing, node: Node) -> None:
    k, outs = node.inputs[1], list(node.outputs)
    assert k is not None
    if outs[1].dtype != np.int64:
        outs[1] = w.between(outs[1], name=f"{outs[1].name}/int64")
        outs[1].dtype = np.dtype(np.int64)
    if k.data is not None:
        k = w.constant(k.data.reshape(1), np.int64, f"{node.name}/k")
    fields = {"axis": node.attrs["axis"], "largest": int(node.attrs["largest"]), "sorted": int(node.attrs["sorted"])}
    w.node("TopK", node, [node.inputs[0], k], outs, fields=fields)
    if outs[1] is not node.outputs[1]:
        emit_cast(w, node, outs[1], node.outputs[1])


def infer_non_zero(node: Node) -> Inferred:
    x = node.inputs[0]
    assert x is not None
    need(node, x, "biuf", "the input")
    return [(np.dtype(np.int64), (None if x.shape is None else max(len(x.shape), 1), None))]


@op(
    "NonZero",
    infer=infer_non_zero,
    quant=Quant(int8=False),
    cases=[Case((np.float32([[1, 0], [0, 2]]),)), Case((np.array([True, False, True]),))],
)
def non_zero(x: np.ndarray) -> np.ndarray:
    """int64 [rank, n]: the places of the n values that are not 0, in row-major order."""
    return np.stack(np.nonzero(np.atleast_1d(x))).astype(np.int64)


@reads("onnx", "NonZero")
@reads("ms", "NonZero")
def read_non_zero(r: Reading) -> Tensor:
    return r.emit("NonZero", r.input(0))


@reads("tflite", "WHERE")
def read_tflite_where(r: Reading) -> Tensor:
    return r.emit("Transpose", r.emit("NonZero", r.input(0)), perm=[1, 0])


@reads("ms", "Where")
def read_ms_where(r: Reading) -> Tensor:
    if len(r.inputs) == 3:
        return r.emit("Where", r.input(0), r.input(1), r.input(2))
    return read_tflite_where(r)


@writes("onnx", "NonZero")
def write_onnx_non_zero(w: Writing, node: Node) -> None:
    w.node("NonZero", node, node.inputs)


@writes("tflite", "NonZero")
def write_tflite_non_zero(w: Writing, node: Node) -> None:
    y = node.outputs[0]
    rows = w.between(y, None if y.shape is None else y.shape[::-1], f"{y.name}/rows")
    w.node("WHERE", node, node.inputs, [rows])
    w.node("TRANSPOSE", node, [rows, w.constant([1, 0], np.int32, f"{node.name}/perm")], [y])


def infer_unique(node: Node) -> Inferred:
    x, axis = node.inputs[0], node.attrs["axis"]
    assert x is not None
    dtype, index = value_dtype(x), np.dtype(node.attrs["dtype"])
    entries = (None,)
    if axis is None or x.shape is None:
        first = (None,) if axis is None else None
    else:
        axis = normal_axis(node, axis, len(x.shape))
        first = tuple(None if i == axis else n for i, n in enumerate(x.shape))
    whole = known_size(x.shape) if axis is None or x.shape is None else x.shape[axis]
    return [(dtype, first), (index, entries), (index, (whole,)), (index, entries)]


@op(
    "Unique",
    attrs={"axis": None, "sorted": True, "dtype": "int64"},
    infer=infer_unique,
    outputs=4,
    quant=Quant(int8=False),
    cases=[
        Case((np.float32([2, 1, 1, 3, 4, 3]),)),
        Case((np.int32([[1, 0, 0], [1, 0, 0], [2, 3, 4]]),), {"axis": 0}),
        Case((np.int32([2, 1, 1, 3]),), {"sorted": False, "dtype": "int32"}),
    ],
)
def unique(x: np.ndarray, *, axis: int | None, sorted: bool, dtype: str) -> tuple[np.ndarray, ...]:
    """The different values (or slices along `axis`), where each first stands, which one each entry is, how often it is.

    Not `sorted`: in the order of first appearance.
    """
    y, first, inverse, counts = np.unique(x, True, True, True, axis)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first, kind="stable")
        y = np.take(y, order, 0 if axis is None else axis)
        first, counts = first[order], counts[order]
        inverse = np.argsort(order, kind="stable")[inverse]
    return y, first.astype(dtype), inverse.astype(dtype), counts.astype(dtype)


@reads("onnx", "Unique")
def read_onnx_unique(r: Reading) -> list[Tensor]:
    return r.emit_many("Unique", [r.input(0)], axis=r.attr("axis", None), sorted=bool(r.attr("sorted", 1)))


@reads("tflite", "UNIQUE")
@reads("ms", "Unique")
def read_unique(r: Reading) -> list[Tensor]:
    """The values in the order of first appearance, and which of them each entry is."""
    dtype = dtype_from("tflite", r.attr("idx_out_type", 2), r) if "idx_out_type" in r.options else "int32"
    made = r.emit_many("Unique", [r.input(0)], sorted=False, dtype=dtype)
    return [made[0], made[2]]


@writes("onnx", "Unique")
def write_onnx_unique(w: Writing, node: Node) -> None:
    if node.attrs["dtype"] != "int64":
        w.refuse(node, "its indices are not int64")
    fields = {"sorted": int(node.attrs["sorted"])} | (
        {} if node.attrs["axis"] is None else {"axis": node.attrs["axis"]}
    )
    w.node("Unique", node, node.inputs, fields=fields)


def infer_compress(node: Node) -> Inferred:
    x, condition, axis = node.inputs[0], node.inputs[1], node.attrs["axis"]
    assert x is not None and condition is not None
    if condition.dtype != np.bool_:
        fail(node, f"the condition must be bool, not {condition.dtype}")
    if condition.shape is not None and len(condition.shape) != 1:
        fail(node, f"the condition must be a list, not of shape {condition.shape}")
    dtype = value_dtype(x)
    if axis is None:
        return [(dtype, (None,))]
    if x.shape is None:
        return [(dtype, None)]
    axis = normal_axis(node, axis, len(x.shape))
    return [(dtype, tuple(None if i == axis else n for i, n in enumerate(x.shape)))]


@op(
    "Compress",
    attrs={"axis": None},
    infer=infer_compress,
    arity=2,
    quant=Quant(int8=False),
    cases=[
        Case(((3, 2), np.array([False, True, True])), {"axis": 0}),
        Case(((3, 2), np.array([False, True, False, False, True]))),
    ],
)
def compress(x: np.ndarray, condition: np.ndarray, *, axis: int | None) -> np.ndarray:
    """x's entries along `axis` (of all values when None) where the condition, which may be shorter, is true."""
    n = x.size if axis is None else x.shape[axis]
    return np.compress(condition[:n], x, axis)


@reads("onnx", "Compress")
def read_onnx_compress(r: Reading) -> Tensor:
    return r.emit("Compress", r.input(0), r.input(1), axis=r.attr("axis", None))


@writes("onnx", "Compress")
def write_onnx_compress(w: Writing, node: Node) -> None:
    w.node("Compress", node, node.inputs, fields={} if node.attrs["axis"] is None else {"axis": node.attrs["axis"]})


def infer_trilu(node: Node) -> Inferred:
    x, k = node.inputs[0], node.input(1)
    assert x is not None
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


@writes("onnx", "Trilu")
@writes("ms", "Trilu")
def write_trilu(w: Writing, node: Node) -> None:
    k = node.input(1) or w.constant(node.attrs["k"], np.int64, f"{node.name}/k")
    if w.container == "onnx":
        w.node("Trilu", node, [node.inputs[0], k], fields={"upper": int(node.attrs["upper"])})
    else:
        w.node("Triu" if node.attrs["upper"] else "Tril", node, [node.inputs[0], k])


def infer_reverse_sequence(node: Node) -> Inferred:
    x, lengths = node.inputs[0], node.inputs[1]
    assert x is not None and lengths is not None
    time, batch = node.attrs["time_axis"], node.attrs["batch_axis"]
    if x.shape is None:
        return [(value_dtype(x), None)]
    time, batch = (normal_axis(node, a, len(x.shape)) for a in (time, batch))
    count = length(node, lengths, "the lengths")
    if time == batch or (None not in (count, x.shape[batch]) and count != x.shape[batch]):
        fail(node, f"{count} lengths for axes {time} (time) and {batch} (batch) of {x.shape}")
    known, steps = const_ints(lengths), x.shape[time]
    if known and (min(known) < 0 or (steps is not None and max(known) > steps)):
        fail(node, f"lengths {known} are outside 0..{steps}")
    return [(value_dtype(x), x.shape)]


def _reverse_sequence(x: np.ndarray, lengths: np.ndarray, *, time_axis: int, batch_axis: int) -> np.ndarray:
    y = np.moveaxis(x, (batch_axis, time_axis), (0, 1)).copy()
    for row, n in enumerate(int(v) for v in lengths):
        if not 0 <= n <= y.shape[1]:
            raise ValueError(f"a length of {n} is outside 0..{y.shape[1]}")
        y[row, :n] = y[row, :n][::-1]
    return np.moveaxis(y, (0, 1), (batch_axis, time_axis))


@op(
    "ReverseSequence",
    attrs={"time_axis": REQUIRED, "batch_axis": REQUIRED},
    infer=infer_reverse_sequence,
    arity=2,
    quant=Quant(output="same"),
    integer=same_codes(_reverse_sequence),
    cases=[
        Case(((4, 2, 3), np.array([2, 4])), {"time_axis": 0, "batch_axis": 1}),
        Case(((2, 4), np.array([1, 3])), {"time_axis": 1, "batch_axis": 0}),
    ],
)
def reverse_sequence(x: np.ndarray, lengths: np.ndarray, *, time_axis: int, batch_axis: int) -> np.ndarray:
    """Per batch entry the first `lengths[i]` steps backwards, the rest as they are."""
    return _reverse_sequence(x, lengths, time_axis=time_axis, batch_axis=batch_axis)


@reads("onnx", "ReverseSequence")
def read_onnx_reverse_sequence(r: Reading) -> Tensor:
    axes = {"time_axis": r.attr("time_axis", 0), "batch_axis": r.attr("batch_axis", 1)}
    return r.emit("ReverseSequence", r.input(0), r.input(1), **axes)


@reads("tflite", "REVERSE_SEQUENCE")
@reads("ms", "ReverseSequence")
def read_reverse_sequence(r: Reading) -> Tensor:
    axes = {"time_axis": r.attr("seq_dim", 0), "batch_axis": r.attr("batch_dim", 0)}
    return r.emit("ReverseSequence", r.input(0), r.input(1), **axes)


@writes("onnx", "ReverseSequence")
def write_onnx_reverse_sequence(w: Writing, node: Node) -> None:
    x, lengths = node.inputs[0], node.inputs[1]
    assert x is not None and lengths is not None
    axes = {k: node.attrs[k] for k in ("time_axis", "batch_axis")}
    rank = x.rank
    if rank is None or sorted(a % rank for a in axes.values()) != [0, 1]:
        w.refuse(node, "its axes are not the first two")
    axes = {k: v % rank for k, v in axes.items()}
    w.node("ReverseSequence", node, [x, write_cast(w, node, lengths, np.dtype(np.int64), "lengths")], fields=axes)


@writes("tflite", "ReverseSequence")
@writes("ms", "ReverseSequence")
def write_reverse_sequence(w: Writing, node: Node) -> None:
    name = "REVERSE_SEQUENCE" if w.container == "tflite" else "ReverseSequence"
    fields = {"seq_dim": node.attrs["time_axis"], "batch_dim": node.attrs["batch_axis"]}
    w.node(name, node, node.inputs, fields=fields)


_MOST_ENTRIES = 1 << 22  # of a constant that a reader makes
_COMBINE = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _check_reduction(node: Node) -> None:
    if node.attrs["reduction"] not in _COMBINE:
        fail(node, f"reduction {node.attrs['reduction']!r}, allowed are {', '.join(_COMBINE)}")


def infer_scatter_nd(node: Node) -> Inferred:
    x, at, updates = node.inputs[0], node.inputs[1], node.inputs[2]
    assert x is not None and at is not None and updates is not None
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
    found = []
    for k in range(at.shape[-1]):
        column = at[..., k].astype(np.int64)
        if column.size and (column.min() < -sizes[k] or column.max() >= sizes[k]):
            raise ValueError(f"an index is outside 0..{sizes[k] - 1}")
        found.append(column)
    return tuple(found)


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
        Case(((8,), np.array([[4], [3], [1]]), np.float32([9, 10, 11]))),
        Case(((3, 4), np.array([[0], [2]]), np.ones((2, 4), np.float32)), {"reduction": "add"}),
        Case(((3, 4), np.array([[0, 1], [0, 1]]), np.float32([5, 7])), {"reduction": "max"}),
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
    return _sums(r, r.input(2), r.input(0), r.input(1))


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
    at, shape, values, other = (r.input(i) for i in range(4))
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
    x, at, updates = node.inputs
    assert at is not None
    fields = {} if node.attrs["reduction"] == "none" else {"reduction": node.attrs["reduction"]}
    w.node("ScatterND", node, [x, write_cast(w, node, at, np.dtype(np.int64), "indices"), updates], fields=fields)


@writes("ms", "ScatterND")
def write_ms_scatter_nd(w: Writing, node: Node) -> None:
    name = {"none": "ScatterNdUpdate", "add": "TensorScatterAdd"}.get(node.attrs["reduction"])
    if name is None:
        w.refuse(node, f"reduction {node.attrs['reduction']}")
    x, at, updates = node.inputs
    assert at is not None
    w.node(name, node, [x, write_cast(w, node, at, np.dtype(np.int32), "indices"), updates])


def infer_scatter_elements(node: Node) -> Inferred:
    x, at, updates = node.inputs[0], node.inputs[1], node.inputs[2]
    assert x is not None and at is not None and updates is not None
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
            i != axis and None not in (n, m) and m > n  # pyright: ignore[reportOptionalOperand]
            for i, (n, m) in enumerate(zip(x.shape, at.shape))
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
        Case(((3, 3), np.array([[1, 0, 2], [0, 2, 1]]), np.float32([[1, 2, 3], [4, 5, 6]]))),
        Case(((1, 5), np.array([[1, 1]]), np.float32([[1, 2]])), {"axis": -1, "reduction": "add"}),
    ],
)
def scatter_elements(x: np.ndarray, at: np.ndarray, updates: np.ndarray, *, axis: int, reduction: str) -> np.ndarray:
    """y[at[i, j, …], j, …] = updates[i, j, …] for axis 0, replacing or combined by `reduction`."""
    y, axis = np.array(x), axis % x.ndim
    (column,) = _columns(at[..., None], [x.shape[axis]])
    grid = list(np.indices(at.shape, sparse=True))
    grid[axis] = column
    _place(y, tuple(grid), updates, reduction)
    return y


@reads("onnx", "ScatterElements", "Scatter")
@reads("ms", "ScatterElements")
def read_scatter_elements(r: Reading) -> Tensor:
    attrs = {"axis": r.attr("axis", 0), "reduction": r.attr("reduction", "none")}
    return r.emit("ScatterElements", r.input(0), r.input(1), r.input(2), **attrs)


@writes("onnx", "ScatterElements")
@writes("ms", "ScatterElements")
def write_scatter_elements(w: Writing, node: Node) -> None:
    fields = {"axis": node.attrs["axis"]}
    if node.attrs["reduction"] != "none":
        if w.container == "ms":
            w.refuse(node, f"reduction {node.attrs['reduction']}")
        fields["reduction"] = node.attrs["reduction"]
    w.node("ScatterElements", node, node.inputs, fields=fields)


@reads("onnx", "EyeLike")
def read_onnx_eye_like(r: Reading) -> Tensor:
    x = r.input(0)
    if x.shape is None or None in x.shape or len(x.shape) != 2:
        r.refuse(f"it needs a matrix of a known shape, not {x.shape}", hint="--inputShape")
    if x.shape[0] * x.shape[1] > _MOST_ENTRIES:  # pyright: ignore[reportOptionalOperand]
        r.refuse(f"a matrix of {x.shape} is too large to be stored")
    number = r.attr("dtype", None)
    dtype = value_dtype(x) if number is None else dtype_from("onnx", number, r)
    return r.constant(np.eye(*x.shape, r.attr("k", 0), dtype=dtype))
