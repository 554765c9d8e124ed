"""ReverseSequence."""

from __future__ import annotations

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.integer import same_codes
from ._support.params import write_cast
from ._support.types import const_ints, fail, length, normal_axis, value_dtype


def infer_reverse_sequence(node: Node) -> Inferred:
    x, lengths = node.required(0), node.required(1)
    time, batch = node.attrs["time_axis"], node.attrs["batch_axis"]
    if x.shape is None:
        return [(value_dtype(x), None)]
    time, batch = (normal_axis(node, a, len(x.shape)) for a in (time, batch))
    count = length(node, lengths, "the lengths", None)
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
    x, lengths = node.required(0), node.required(1)
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
