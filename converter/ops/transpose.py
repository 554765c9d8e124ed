"""Transpose, and ReverseV2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Node, Tensor, is_quantized
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.c_steps import copy, strides_of
from ._support.caffe import axis_of, param, sizes_of
from ._support.integer import same_codes
from ._support.layout import remap_axes
from ._support.params import write_ints
from ._support.types import fail, normal_axes, value_dtype
from ._support.windowed import write_reshape


def infer_transpose(node: Node) -> Inferred:
    x, perm = node.required(0), node.attrs["perm"]
    if sorted(perm) != list(range(len(perm))):
        fail(node, f"perm {perm} is not an order of {len(perm)} axes")
    if x.shape is not None and len(x.shape) != len(perm):
        fail(node, f"perm {perm} does not fit the shape {x.shape}")
    return [(value_dtype(x), (None,) * len(perm) if x.shape is None else tuple(x.shape[p] for p in perm))]


def _transpose(x: np.ndarray, *, perm: list[int]) -> np.ndarray:
    return x.transpose(perm)


def _through(node: Node, perm: Sequence[int]) -> tuple[dict, dict]:
    """old = T_p(x); with x fed as T_q(x), the node must give T_q(T_p(x)) = T_r(T_q(x)), r = q⁻¹ p q."""
    q, p = list(perm), node.attrs["perm"]
    return {"perm": [q.index(p[k]) for k in q]}, {}


@op(
    "Transpose",
    attrs={"perm": REQUIRED},
    infer=infer_transpose,
    kernel="transpose",
    quant=Quant(output="same", mslite=""),
    permute=_through,
    integer=same_codes(_transpose),
    cases=[
        Case(((2, 3, 4, 5),), {"perm": [0, 3, 1, 2]}),
        Case(((2, 3, 5),), {"perm": [2, 1, 0]}),
        Case(((3, 2, 2, 2, 4),), {"perm": [4, 0, 2, 1, 3]}),
        Case(((7,),), {"perm": [0]}),
    ],
)
def transpose(x: np.ndarray, *, perm: list[int]) -> np.ndarray:
    """y's axis j is x's axis perm[j]."""
    return x.transpose(perm)


def transposed(r: Reading, x: Tensor, perm: Sequence[int]) -> Tensor:
    perm = [int(p) + (len(perm) if p < 0 else 0) for p in perm]
    return r.permuted(x, perm) if x.is_const and is_quantized(x) else r.emit("Transpose", x, perm=perm)


@reads("tflite", "TRANSPOSE")
@reads("ms", "Transpose")
def read_transpose(r: Reading) -> Tensor:
    if r.input(1).data is None:
        return r.emit("AtRunTime", r.input(0), r.input(1), of="Transpose", keys=["perm"])
    return transposed(r, r.input(0), r.ints(1))


@reads("onnx", "Transpose")
def read_onnx_transpose(r: Reading) -> Tensor:
    perm = r.attr("perm", None)
    if perm is None:
        perm = list(range(r.rank(r.input(0))))[::-1]
    return transposed(r, r.input(0), perm)


@reads("mindir", "Transpose")
def read_mindir_transpose(r: Reading) -> Tensor:
    perm = r.wholes(1, "perm")
    rank = r.rank(r.input(0))
    return r.emit("Transpose", r.input(0), perm=[p % rank if rank else p for p in perm])


@reads("mindir", "ReverseV2")
def read_mindir_reverse(r: Reading) -> Tensor:
    return r.emit("Reverse", r.input(0), axes=r.wholes(1, "axis"))


@reads("caffe", "Permute")
def read_caffe_permute(r: Reading) -> Tensor:
    """Axes that `order` does not name follow in their own order."""
    rank, order = r.rank(r.input(0)), [int(a) for a in param(r, "permute_param").order]
    if len(set(order)) != len(order) or any(a >= rank for a in order):
        r.refuse(f"order {order} of a tensor of rank {rank}")
    return r.emit("Transpose", r.input(0), perm=[*order, *(a for a in range(rank) if a not in order)])


@reads("caffe", "ShuffleChannel")
def read_caffe_shuffle(r: Reading) -> Tensor:
    """Channels as a matrix of `group` rows, transposed."""
    x, group = r.input(0), int(param(r, "shuffle_channel_param").group)
    sizes = sizes_of(r, x)
    if group < 1 or len(sizes) < 2 or sizes[1] % group:
        r.refuse(f"{group} groups of shape {sizes}")
    parts = [sizes[0], group, sizes[1] // group, *sizes[2:]]
    split = r.emit("Reshape", x, r.constant(parts, np.int64, f"{r.name}/parts"))
    turned = r.emit("Transpose", split, perm=[0, 2, 1, *range(3, len(parts))])
    return r.emit("Reshape", turned, r.constant(sizes, np.int64, f"{r.name}/shape"))


@reads("caffe", "Reverse")
def read_caffe_reverse(r: Reading) -> Tensor:
    return r.emit("Reverse", r.input(0), axes=[axis_of(r, r.input(0), param(r, "reverse_param").axis)])


@writes("ms", "Transpose")
def write_ms_transpose(w: Writing, node: Node) -> None:
    """There, [0, 2, 1] turns the format that a 1-D window behind it has as its 2-D one, and [0, 1, 3, 2] does not."""
    x, y, perm = node.inputs[0], node.outputs[0], list(node.attrs["perm"])
    if perm == [0, 2, 1] and x is not None and x.shape and y.shape and x.shape.count(None) <= 1 and _has_lines(w):
        high, turned = (w.between(t, (t.known_shape[0], 1, *t.known_shape[1:]), f"{t.name}/2d") for t in (x, y))
        write_reshape(w, node, x, high)
        w.node("Transpose", node, [high, w.constant([0, 1, 3, 2], np.int32, f"{node.name}/perm")], [turned])
        write_reshape(w, node, turned, y)
        return
    w.node("Transpose", node, [x, write_ints(w, node, perm, "perm")])


def _has_lines(w: Writing) -> bool:
    """Whether the graph has a 1-D window."""
    windows = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
    return any(n.op in windows and n.inputs[0] is not None and n.inputs[0].rank == 3 for n in w.graph.nodes)


@writes("tflite", "Transpose")
def write_tflite_transpose(w: Writing, node: Node) -> None:
    w.node("TRANSPOSE", node, [node.inputs[0], write_ints(w, node, node.attrs["perm"], "perm")])


@writes("onnx", "Transpose")
def write_onnx_transpose(w: Writing, node: Node) -> None:
    w.node("Transpose", node, node.inputs, fields={"perm": node.attrs["perm"]})


def infer_reverse(node: Node) -> Inferred:
    x = node.required(0)
    if x.shape is not None:
        normal_axes(node, node.attrs["axes"], len(x.shape))
    return [(value_dtype(x), x.shape)]


def _reverse(x: np.ndarray, *, axes: list[int]) -> np.ndarray:
    return np.flip(x, tuple(axes))


@op(
    "Reverse",
    attrs={"axes": REQUIRED},
    infer=infer_reverse,
    quant=Quant(output="same"),
    permute=remap_axes("axes"),
    integer=same_codes(_reverse),
    cases=[Case(((3, 4, 2),), {"axes": [1]}), Case(((3, 4),), {"axes": [0, -1]})],
)
def reverse(x: np.ndarray, *, axes: list[int]) -> np.ndarray:
    """x backwards along `axes`."""
    return _reverse(x, axes=axes)


@reads("tflite", "REVERSE_V2")
def read_tflite_reverse(r: Reading) -> Tensor:
    return r.emit("Reverse", r.input(0), axes=r.ints(1, "the axes"))


@reads("ms", "ReverseV2")
def read_ms_reverse(r: Reading) -> Tensor:
    return r.emit("Reverse", r.input(0), axes=[int(a) for a in r.attr("axis", [])])


@writes("ms", "Reverse")
def write_ms_reverse(w: Writing, node: Node) -> None:
    w.node("ReverseV2", node, node.inputs, fields={"axis": node.attrs["axes"]})


@writes("tflite", "Reverse")
def write_tflite_reverse(w: Writing, node: Node) -> None:
    axes = node.attrs["axes"]
    w.node("REVERSE_V2", node, [node.inputs[0], write_ints(w, node, axes, "axes")])


@writes("onnx", "Reverse")
def write_onnx_reverse(w: Writing, node: Node) -> None:
    """A Slice with steps of -1."""
    axes = node.attrs["axes"]
    n = len(axes)
    parts = {"starts": [-1] * n, "ends": [-(2**63)] * n, "axes": axes, "steps": [-1] * n}
    w.node("Slice", node, [node.inputs[0], *(write_ints(w, node, v, k) for k, v in parts.items())])


@writes("c", "Transpose")
def write_c_transpose(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    if x.quant != y.quant:
        w.refuse(node, "its output has other quantization parameters than its input")
    strides = strides_of(x.static_shape)
    copy(w, node, x, y, y.static_shape, [strides[p] for p in node.attrs["perm"]], strides_of(y.static_shape))
