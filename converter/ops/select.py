"""Where: one of two values by a condition, elementwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..numeric.qparams import code_range, requantize_rne_f32
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.integer import per_tensor
from ._support.layout import same_layout
from ._support.mindir import operand
from ._support.types import broadcast, fail, joint_dtype


def infer_where(node: Node) -> Inferred:
    c, a, b = node.required(0), node.required(1), node.required(2)
    if c.dtype != np.bool_:
        fail(node, f"the condition must be bool, not {c.dtype}")
    return [(joint_dtype(node, a, b), broadcast(node, c.shape, a.shape, b.shape))]


def _where_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    y = node.outputs[0]
    if not all(per_tensor(t) for t in (node.inputs[1], node.inputs[2], y)):
        return None
    branches = []
    low, high = code_range(min(y.qparams.bits, 8), unsigned=y.dtype.kind == "u")
    for t, a in zip(node.operands()[1:], arrays[1:]):
        if t.qparams == y.qparams and t.dtype == y.dtype:
            branches.append(a)
            continue
        acc = np.asarray(a.astype(np.int32) - t.qparams.zero_point[0])
        ratio = t.qparams.scale / y.qparams.scale
        branches.append(requantize_rne_f32(acc, ratio, int(y.qparams.zero_point[0]), low, high, y.dtype))
    return np.where(arrays[0], *branches)


@op(
    "Where",
    infer=infer_where,
    arity=3,
    quant=Quant(int8=False),
    permute=same_layout,
    integer=_where_codes,
    cases=[
        Case((np.array([[True, False, True], [False, False, True]]), (2, 3), (2, 3))),
        Case((np.array([True, False, True]), (2, 3), (2, 1))),
        Case((np.array([True, False]), (2,), ())),
    ],
)
def where(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a where c (bool) is true, else b; all three broadcast."""
    return np.where(c, a, b)


@reads("onnx", "Where")
@reads("tflite", "SELECT_V2")
@reads("ms", "Select")
def read_where(r: Reading) -> Tensor:
    return r.emit("Where", r.input(0), r.input(1), r.input(2))


@reads("tflite", "SELECT")
def read_tflite_select(r: Reading) -> Tensor:
    """A condition of rank 1 chooses whole rows there."""
    c, a = r.input(0), r.input(1)
    rank = r.rank(a)
    if r.rank(c) == 1 and rank > 1:
        c = r.emit("ExpandDims", c, axes=list(range(1, rank)))
    return r.emit("Where", c, a, r.input(2))


@reads("mindir", "Select", "SelectExt", "Where")
def read_mindir_select(r: Reading) -> Tensor:
    return r.emit("Where", r.input(0), r.input(1), r.input(2))


@reads("mindir", "MaskedFill")
def read_mindir_masked_fill(r: Reading) -> Tensor:
    x = r.input(0)
    return r.emit("Where", r.input(1), operand(r, 2, x.dtype), x)


@writes("onnx", "Where")
def write_onnx_where(w: Writing, node: Node) -> None:
    w.node("Where", node, node.inputs)


@writes("tflite", "Where")
def write_tflite_where(w: Writing, node: Node) -> None:
    w.node("SELECT_V2", node, node.inputs)


@writes("ms", "Where")
def write_ms_where(w: Writing, node: Node) -> None:
    """Its kernel takes inputs of the result's shape, and choices of rank 0; it does not broadcast."""
    y, given = node.outputs[0], node.operands()
    for k, t in enumerate(given):
        if t.shape == y.shape or (k > 0 and t.shape == () and node.required(0).shape == y.shape):
            continue
        if y.shape is None or None in y.shape:
            shapes = ", ".join(str(t.shape) for t in node.inputs if t is not None)
            w.refuse(node, f"its inputs of shapes {shapes} broadcast", hint=Setting("input_shape"))
        whole = w.between(t, y.shape)
        to = [int(n) for n in y.shape if n is not None]
        w.node("BroadcastTo", node, [t, w.constant(to, np.int64, f"{node.name}/shape")], [whole], fields={"shape": to})
        given[k] = whole
    w.node("Where", node, given)
