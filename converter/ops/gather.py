"""Choosing entries by index: Gather, GatherND, GatherElements, OneHot."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.caffe import blob, flat_blob, param
from ._support.integer import same_codes
from ._support.mindir import numbers_or_tensor
from ._support.params import write_cast
from ._support.types import fail, joint_dtype, normal_axis, one_number, value_dtype
from .qparam_views import stored


def check_indices(node: Node, t: Tensor, n: int | None) -> None:
    """Raises GraphError for indices that are no integers, or constant and outside an axis of n entries."""
    if t.dtype.kind not in "iu":
        fail(node, f"indices must be integers, not {t.dtype}")
    if n is not None and t.data is not None and t.data.size and (t.data.min() < -n or t.data.max() >= n):
        fail(node, f"index {int(t.data.min() if t.data.min() < -n else t.data.max())} is outside 0..{n - 1}")


def infer_gather(node: Node) -> Inferred:
    x, at, batch = node.required(0), node.required(1), node.attrs["batch_dims"]
    dtype = value_dtype(x)
    if x.shape is None:
        return [(dtype, None)]
    axis = normal_axis(node, node.attrs["axis"], len(x.shape))
    check_indices(node, at, x.shape[axis])
    if at.shape is None:
        return [(dtype, None)]
    if not 0 <= batch <= min(axis, len(at.shape)):
        fail(node, f"batch_dims {batch} does not fit axis {axis} and indices {at.shape}")
    for n, m in zip(x.shape[:batch], at.shape[:batch]):
        if None not in (n, m) and n != m:
            fail(node, f"the first {batch} sizes of {x.shape} and of the indices {at.shape} differ")
    return [(dtype, (*x.shape[:axis], *at.shape[batch:], *x.shape[axis + 1 :]))]


def _inside(at: np.ndarray, n: int) -> np.ndarray:
    """Indices from the front. What only a run knows is checked then."""
    at = np.asarray(at).astype(np.int64)
    if at.size and (at.min() < -n or at.max() >= n):
        raise ValueError(f"an index is outside 0..{n - 1}")
    return np.where(at < 0, at + n, at)


def _gather(x: np.ndarray, at: np.ndarray, *, axis: int, batch_dims: int) -> np.ndarray:
    axis %= x.ndim
    at = _inside(at, x.shape[axis])
    if not batch_dims:
        return np.take(x, at, axis)
    lead = x.shape[:batch_dims]
    rows = x.reshape(-1, *x.shape[batch_dims:])
    taken = [np.take(a, i, axis - batch_dims) for a, i in zip(rows, at.reshape(-1, *at.shape[batch_dims:]))]
    shape = (*x.shape[:axis], *at.shape[batch_dims:], *x.shape[axis + 1 :])
    return np.stack(taken).reshape(shape) if taken else np.zeros((*lead, *shape[batch_dims:]), x.dtype)


@op(
    "Gather",
    attrs={"axis": 0, "batch_dims": 0},
    infer=infer_gather,
    arity=2,
    kernel="gather",
    quant=Quant(weight=0, axis=None, output="same", mslite=""),
    integer=same_codes(_gather),
    cases=[
        Case(((5, 3), np.array([[0, 4], [2, -1]]))),
        Case(((2, 4, 3), np.array([1, 3])), {"axis": 1}),
        Case(((2, 4, 3), np.array([[1], [0]])), {"axis": 1, "batch_dims": 1}),
        Case(((2, 4), np.array(2)), {"axis": -1}),
    ],
)
def gather(x: np.ndarray, at: np.ndarray, *, axis: int, batch_dims: int) -> np.ndarray:
    """x's entries `at` along `axis`, whose place the axes of `at` take; negative indices count from the end."""
    return _gather(x, at, axis=axis, batch_dims=batch_dims)


@reads("tflite", "GATHER")
def read_tflite_gather(r: Reading) -> Tensor:
    x, at = r.input(0), r.input(1)
    axis, batch = r.attr("axis", 0), r.attr("batch_dims", 0)
    batch = batch + r.rank(at) if batch < 0 else batch
    _refuse_negative(r, at)
    return r.emit("Gather", x, at, axis=axis, batch_dims=batch)


def _refuse_negative(r: Reading, at: Tensor) -> None:
    """TFLite has no indices from the end."""
    if at.is_const and at.value.size and at.value.min() < 0:
        r.refuse("a negative index")


@reads("onnx", "Gather")
def read_onnx_gather(r: Reading) -> Tensor:
    return r.emit("Gather", r.input(0), r.input(1), axis=r.attr("axis", 0))


@reads("ms", "Gather")
def read_ms_gather(r: Reading) -> Tensor:
    axis, x = r.ints(2, "the axis")[0] if r.optional(2) is not None else 0, r.input(0)
    if x.data is not None and x.dtype == np.float16 and r.outputs[0].dtype == np.float32:
        # The runtime makes float32 of float16 constants; beside layers, which take them, nothing here does.
        x = Tensor(x.name, np.dtype(np.float32), x.shape, x.data.astype(np.float32))
    return r.emit("Gather", x, r.input(1), axis=axis)


@reads("tflite", "EMBEDDING_LOOKUP")
def read_tflite_embedding(r: Reading) -> Tensor:
    """Inputs: indices, table."""
    _refuse_negative(r, r.input(0))
    return r.emit("Gather", r.input(1), r.input(0))


@reads("mindir", "Gather", "GatherV2", "SparseGatherV2")
def read_mindir_gather(r: Reading) -> Tensor:
    batch = r.whole(3, "batch_dims", 0)
    return r.emit("Gather", r.input(0), r.input(1), axis=r.whole(2, "axis", 0), batch_dims=batch)


@reads("mindir", "Embedding", "EmbeddingLookup")
def read_mindir_embedding(r: Reading) -> Tensor:
    """Embedding: indices, table. EmbeddingLookup: table, indices, offset."""
    if r.op == "Embedding":
        return r.emit("Gather", r.input(1), r.input(0))
    if r.whole(2, "offset", 0):
        r.refuse("an offset of its indices is not read")
    return r.emit("Gather", r.input(0), r.input(1))


@reads("mindir", "GatherD", "GatherNd")
def read_mindir_gather_elements(r: Reading) -> Tensor:
    if r.op == "GatherNd":
        return r.emit("GatherND", r.input(0), r.input(1))
    return r.emit("GatherElements", r.input(0), r.input(2), axis=r.whole(1, "dim", 0))


@reads("mindir", "OneHot")
def read_mindir_one_hot(r: Reading) -> Tensor:
    depth = numbers_or_tensor(r, 1, "depth", "depth")
    on, off = (
        r.optional(k) or r.constant(r.real(k, key), np.float32) for k, key in ((2, "on_value"), (3, "off_value"))
    )
    return r.emit("OneHot", r.input(0), depth, on, off, axis=r.whole(4, "axis", -1))


@reads("caffe", "Embed")
def read_caffe_embed(r: Reading) -> Tensor:
    """Indices come as floats."""
    at, p = r.emit("Cast", r.input(0), dtype="int64"), param(r, "embed_param")
    y = r.emit("Gather", blob(r, 0), at)
    return r.emit("Add", y, flat_blob(r, 1)) if p.bias_term else y


@writes("tflite", "Gather")
def write_tflite_gather(w: Writing, node: Node) -> None:
    x, at = node.inputs[0], _indices(w, node)
    fields = {"axis": node.attrs["axis"], "batch_dims": node.attrs["batch_dims"]}
    w.node("GATHER", node, [x, at], fields=fields)


def _indices(w: Writing, node: Node) -> Tensor:
    """Indices from the front, for containers that have no others."""
    x, at = node.required(0), node.required(1)
    if at.data is None or not at.data.size or at.data.min() >= 0:
        return at
    n = None if x.shape is None else x.shape[node.attrs["axis"]]
    if n is None:
        w.refuse(node, "it has indices from the end of an axis of unknown size", hint=Setting("input_shape"))
    return w.constant(np.where(at.data < 0, at.data + n, at.data), at.dtype, f"{node.name}/indices")


@writes("ms", "Gather")
def write_ms_gather(w: Writing, node: Node) -> None:
    if node.attrs["batch_dims"]:
        w.refuse(node, "batch_dims are not in MindSpore Lite")
    at = _indices(w, node)
    if at.data is not None and at.dtype != np.int32:
        at = w.constant(at.data, np.int32, f"{node.name}/indices")
    elif at.dtype != np.int32:
        at = write_cast(w, node, at, np.dtype(np.int32), "indices")
    x, y, place = node.inputs[0], node.outputs[0], node.attrs["axis"]
    if place < 0 and x is not None and x.shape is not None:
        place %= len(x.shape)
    axis = w.constant([place], np.int32, f"{node.name}/axis")
    if at.shape != ():
        w.node("Gather", node, [x, at, axis])
        return
    # The runtime takes no single index: one of a list, and its axis removed.
    if x is None or x.shape is None or y.shape is None:
        w.refuse(node, "it takes one index of an unknown rank", hint=Setting("input_shape"))
    if at.data is not None:
        at = w.constant(at.data.reshape(1), np.int32, f"{node.name}/index")
    else:
        whole, at = at, Tensor(w.name(f"{node.name}/index"), at.dtype, (1,))
        w.node("Reshape", node, [whole, w.constant([1], np.int32, f"{node.name}/shape")], [at])
    raw = w.between(y, (*x.shape[:place], 1, *x.shape[place + 1 :]), f"{y.name}/slice")
    w.node("Gather", node, [x, at, axis], [raw])
    w.node("Squeeze", node, [raw], fields={"axis": [place]})


@writes("onnx", "Gather")
def write_onnx_gather(w: Writing, node: Node) -> None:
    if node.attrs["batch_dims"]:
        w.refuse(node, "batch_dims of Gather are not in ONNX")
    w.node("Gather", node, node.inputs, fields={"axis": node.attrs["axis"]})


def infer_gather_nd(node: Node) -> Inferred:
    x, at, batch = node.required(0), node.required(1), node.attrs["batch_dims"]
    dtype = value_dtype(x)
    check_indices(node, at, None)
    if x.shape is None or at.shape is None or not at.shape or at.shape[-1] is None:
        return [(dtype, None)]
    deep = at.shape[-1]
    if not 0 <= batch < len(at.shape) or batch + deep > len(x.shape):
        fail(node, f"indices {at.shape} and batch_dims {batch} do not fit {x.shape}")
    for n, m in zip(x.shape[:batch], at.shape[:batch]):
        if None not in (n, m) and n != m:
            fail(node, f"the first {batch} sizes of {x.shape} and of the indices {at.shape} differ")
    if at.data is not None and at.data.size:
        for k in range(deep):
            n, column = x.shape[batch + k], at.data[..., k]
            if n is not None and (column.min() < -n or column.max() >= n):
                fail(node, f"an index is outside axis {batch + k} of {x.shape}")
    return [(dtype, (*at.shape[:-1], *x.shape[batch + deep :]))]


def _gather_nd(x: np.ndarray, at: np.ndarray, *, batch_dims: int) -> np.ndarray:
    columns = [_inside(at[..., k], x.shape[batch_dims + k]) for k in range(at.shape[-1])]
    lead = np.ix_(*(range(n) for n in at.shape[:batch_dims]))
    lead = [a.reshape(a.shape + (1,) * (at.ndim - 1 - batch_dims)) for a in lead]
    if not lead and not columns:
        return np.broadcast_to(x, (*at.shape[:-1], *x.shape)).copy()
    whole = np.broadcast_arrays(*lead, *columns) if columns else [np.broadcast_to(a, at.shape[:-1]) for a in lead]
    return x[tuple(whole)]


@op(
    "GatherND",
    attrs={"batch_dims": 0},
    infer=infer_gather_nd,
    arity=2,
    quant=Quant(output="same"),
    integer=same_codes(_gather_nd),
    cases=[
        Case(((3, 4, 2), np.array([[0, 1], [2, 3]]))),
        Case(((3, 4), np.array([[[1]], [[-1]]]))),
        Case(((2, 3, 4), np.array([[1], [0]])), {"batch_dims": 1}),
    ],
)
def gather_nd(x: np.ndarray, at: np.ndarray, *, batch_dims: int) -> np.ndarray:
    """x at the index tuples in the last axis of `at`, which may leave trailing axes whole."""
    return _gather_nd(x, at, batch_dims=batch_dims)


@reads("tflite", "GATHER_ND")
@reads("onnx", "GatherND")
@reads("ms", "GatherNd")
def read_gather_nd(r: Reading) -> Tensor:
    return r.emit("GatherND", r.input(0), r.input(1), batch_dims=r.attr("batch_dims", 0))


@writes("tflite", "GatherND")
@writes("ms", "GatherND")
def write_gather_nd(w: Writing, node: Node) -> None:
    if node.attrs["batch_dims"]:
        w.refuse(node, "batch_dims of GatherND are not there")
    at = node.required(1)
    if at.data is not None and at.data.size and at.data.min() < 0:
        w.refuse(node, "it has indices from the end")
    if at.dtype != np.int32:
        at = write_cast(w, node, at, np.dtype(np.int32), "indices")
    w.node("GATHER_ND" if w.container == "tflite" else "GatherNd", node, [node.inputs[0], at])


@writes("onnx", "GatherND")
def write_onnx_gather_nd(w: Writing, node: Node) -> None:
    at = node.required(1)
    w.node("GatherND", node, [node.inputs[0], write_cast(w, node, at, np.dtype(np.int64), "indices")],
           fields={"batch_dims": node.attrs["batch_dims"]})  # fmt: skip


def infer_gather_elements(node: Node) -> Inferred:
    x, at = node.required(0), node.required(1)
    dtype = value_dtype(x)
    if x.shape is None or at.shape is None:
        check_indices(node, at, None)
        return [(dtype, at.shape)]
    axis = normal_axis(node, node.attrs["axis"], len(x.shape))
    check_indices(node, at, x.shape[axis])
    if len(at.shape) != len(x.shape) or any(
        i != axis and n is not None and m is not None and m > n for i, (n, m) in enumerate(zip(x.shape, at.shape))
    ):
        fail(node, f"indices {at.shape} do not fit {x.shape}")
    return [(dtype, at.shape)]


def _gather_elements(x: np.ndarray, at: np.ndarray, *, axis: int) -> np.ndarray:
    axis %= x.ndim
    part = x[tuple(slice(None) if i == axis else slice(0, n) for i, n in enumerate(at.shape))]
    return np.take_along_axis(part, _inside(at, x.shape[axis]), axis)


@op(
    "GatherElements",
    attrs={"axis": 0},
    infer=infer_gather_elements,
    arity=2,
    quant=Quant(output="same"),
    integer=same_codes(_gather_elements),
    cases=[
        Case(((3, 3), np.array([[1, 2, 0], [2, 0, 0]]))),
        Case(((2, 3), np.array([[0, -1]])), {"axis": 1}),
    ],
)
def gather_elements(x: np.ndarray, at: np.ndarray, *, axis: int) -> np.ndarray:
    """y[i, j, …] = x[at[i, j, …], j, …] for axis 0: one entry along `axis` per place of `at`."""
    return _gather_elements(x, at, axis=axis)


@reads("onnx", "GatherElements")
def read_onnx_gather_elements(r: Reading) -> Tensor:
    return r.emit("GatherElements", r.input(0), r.input(1), axis=r.attr("axis", 0))


@reads("ms", "GatherD")
def read_ms_gather_d(r: Reading) -> Tensor:
    """Inputs: x, axis, indices."""
    return r.emit("GatherElements", r.input(0), r.input(2), axis=r.ints(1, "the axis")[0])


@writes("onnx", "GatherElements")
def write_onnx_gather_elements(w: Writing, node: Node) -> None:
    w.node("GatherElements", node, node.inputs, fields={"axis": node.attrs["axis"]})


@writes("ms", "GatherElements")
def write_ms_gather_elements(w: Writing, node: Node) -> None:
    axis = w.constant([node.attrs["axis"]], np.int32, f"{node.name}/axis")
    w.node("GatherD", node, [node.inputs[0], axis, node.inputs[1]])


def infer_one_hot(node: Node) -> Inferred:
    at, depth, on, off = node.operands(4)
    if at.dtype.kind not in "iuf":
        fail(node, f"indices of {at.dtype}")
    for t in (depth, on, off):
        if not one_number(t):
            fail(node, "depth, on and off must be one number each")
    dtype = joint_dtype(node, on, off)
    if at.shape is None:
        return [(dtype, None)]
    axis = normal_axis(node, node.attrs["axis"], len(at.shape) + 1)
    n = None if depth.data is None else int(depth.data.reshape(-1)[0])
    if n is not None and n < 0:
        fail(node, f"depth {n} is negative")
    return [(dtype, (*at.shape[:axis], n, *at.shape[axis:]))]


@op(
    "OneHot",
    attrs={"axis": -1, "wraps": False},
    infer=infer_one_hot,
    arity=4,
    quant=Quant(int8=False),
    cases=[
        Case((np.array([0, 2, 5]), np.array(4), np.float32(1), np.float32(0))),
        Case((np.array([[1], [-1]]), np.array(3), np.float32(2), np.float32(-1)), {"axis": 0, "wraps": True}),
    ],
)
def one_hot(at: np.ndarray, depth: Any, on: Any, off: Any, *, axis: int, wraps: bool) -> np.ndarray:
    """A new axis of size `depth`, `on` at the index, else `off`; `wraps`: negative indices count from the end."""
    n = int(np.reshape(depth, -1)[0])
    at = np.asarray(at).astype(np.int64)
    at = np.where((at < 0) & (at >= -n), at + n, at) if wraps else at
    axis %= at.ndim + 1
    codes = np.arange(n).reshape([-1 if i == axis else 1 for i in range(at.ndim + 1)])
    on, off = np.reshape(on, -1)[0], np.reshape(off, -1)[0]
    return np.where(np.expand_dims(at, axis) == codes, on, off).astype(on.dtype)


@reads("tflite", "ONE_HOT")
@reads("ms", "OneHot")
def read_one_hot(r: Reading) -> Tensor:
    return r.emit_many("OneHot", [stored(r, r.input(i)) for i in range(4)], axis=r.attr("axis", -1))[0]


@reads("onnx", "OneHot")
def read_onnx_one_hot(r: Reading) -> Tensor:
    """Inputs: indices, depth, [off, on]."""
    values = r.input(2)
    if values.data is not None:
        off, on = (r.constant(v, values.dtype) for v in values.real().reshape(-1))
    else:
        off, on = r.emit_many("Split", [values], axis=0, sizes=[1, 1])
    return r.emit("OneHot", r.input(0), r.input(1), on, off, axis=r.attr("axis", -1), wraps=True)


def _never_wraps(w: Writing, node: Node) -> None:
    at = node.required(0)
    if node.attrs["wraps"] and (at.data is None or (at.data.size and at.data.min() < 0)):
        w.refuse(node, "its indices may count from the end")


@writes("tflite", "OneHot")
@writes("ms", "OneHot")
def write_one_hot(w: Writing, node: Node) -> None:
    _never_wraps(w, node)
    at, depth, on, off = node.operands(4)
    if w.container == "ms" and any(t is None or t.data is None for t in (depth, on, off)):
        w.refuse(node, "its depth and values must be constants")
    ins = [write_cast(w, node, t, np.dtype(np.int32), "indices") for t in (at, depth)]
    name = "ONE_HOT" if w.container == "tflite" else "OneHot"
    w.node(name, node, [*ins, on, off], fields={"axis": node.attrs["axis"]})


@writes("onnx", "OneHot")
def write_onnx_one_hot(w: Writing, node: Node) -> None:
    """An index below 0 is no index in the other containers; in ONNX it counts from the end."""
    at, depth, on, off = node.operands(4)
    if not node.attrs["wraps"] and (at.data is None or (at.data.size and at.data.min() < 0)):
        w.refuse(node, "its indices may be negative, which ONNX takes from the end")
    if on.data is None or off.data is None:
        w.refuse(node, "its values are computed at run time")
    values = np.concatenate([off.data.reshape(1), on.data.reshape(1)])
    w.node("OneHot", node, [at, depth, w.constant(values, on.dtype, f"{node.name}/values")],
           fields={"axis": node.attrs["axis"]})  # fmt: skip
