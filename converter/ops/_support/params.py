"""Integer parameter inputs (shapes, axes, pads, repeats) when they are read and written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import Node, Tensor
from ...schema.reading import Reading
from ...schema.writing import Writing
from .types import const_ints, dtype_number


def int64_param(r: Reading, t: Tensor, name: str = "") -> Tensor:
    """A parameter input as the IR has it: a constant becomes int64, what is computed at run time stays."""
    if t.data is None or (t.dtype == np.int64 and t.quant is None):
        return t
    return r.constant(t.data.astype(np.int64), name=name)


def write_ints(w: Writing, node: Node, values: Sequence[int], name: str) -> Tensor:
    """A constant parameter in the container's type: int64 in ONNX, int32 elsewhere."""
    dtype = np.int64 if w.container == "onnx" else np.int32
    # "To the end" is written as the largest int64; the other containers say it with the largest int32.
    info = np.iinfo(dtype)
    return w.constant(np.clip(np.asarray(list(values), np.int64), info.min, info.max), dtype, f"{node.name}/{name}")


def write_param(w: Writing, node: Node, t: Tensor | None, name: str) -> Tensor | None:
    """A parameter input in the container's type, with a cast where it is computed at run time in another."""
    if t is None:
        return None
    if t.data is not None:
        ints = write_ints(w, node, const_ints(t) or [], name)
        if t.shape == ():
            ints.data, ints.shape = ints.value.reshape(()), ()
        return ints
    dtype = np.dtype(np.int64 if w.container == "onnx" else np.int32)
    return write_cast(w, node, t, dtype, name)


def write_cast(w: Writing, node: Node, t: Tensor, dtype: np.dtype, name: str) -> Tensor:
    """`t` in another type by a cast of its own; itself when it has that type."""
    if t.dtype == dtype:
        return t
    if t.data is not None and t.quant is None and t.data.size < 1 << 16:
        return w.constant(t.data, dtype, f"{node.name}/{name}")
    y = w.between(t, name=f"{node.name}/{name}")
    y.dtype, y.quant = dtype, None
    emit_cast(w, node, t, y)
    return y


def emit_cast(w: Writing, node: Node, x: Tensor, y: Tensor) -> None:
    """The container's cast from x to y."""
    if w.container == "onnx":
        w.node("Cast", node, [x], [y], fields={"to": dtype_number("onnx", y.dtype)})
    elif w.container == "tflite":
        fields = {"in_data_type": dtype_number("tflite", x.dtype), "out_data_type": dtype_number("tflite", y.dtype)}
        w.node("CAST", node, [x], [y], fields=fields)
    else:
        to = w.constant([dtype_number("ms", y.dtype)], np.int32, f"{node.name}/dtype")
        w.node("Cast", node, [x, to], [y])
