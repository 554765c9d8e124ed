"""Tensors repeated to a shape: BroadcastTo and Tile."""

from __future__ import annotations

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.caffe import axis_of, param
from ._support.integer import same_codes
from ._support.layout import remap_const
from ._support.mindir import numbers_or_tensor
from ._support.params import int64_param, write_param
from ._support.types import broadcast, broadcasts_to, const_ints, fail, length, value_dtype


def infer_broadcast_to(node: Node) -> Inferred:
    x, to = node.required(0), node.required(1)
    count, wanted, dtype = length(node, to, "the shape"), const_ints(to), value_dtype(x)
    if count is None or x.shape is None:
        return [(dtype, None if wanted is None or node.attrs["both_ways"] else tuple(wanted))]
    if wanted is not None and min(wanted, default=0) < 0:
        fail(node, f"shape {wanted} has a negative size")
    target = (None,) * count if wanted is None else tuple(wanted)
    if node.attrs["both_ways"]:
        known = wanted is not None
        rank_ = max(len(x.shape), count)
        return [(dtype, broadcast(node, x.shape, target) if known else (None,) * rank_)]
    if not broadcasts_to(x.shape, target):
        fail(node, f"{x.shape} does not broadcast to {target}")
    return [(dtype, target)]


def _broadcast_to(x: np.ndarray, to: np.ndarray, *, both_ways: bool) -> np.ndarray:
    wanted = tuple(int(n) for n in np.reshape(to, -1))
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, wanted) if both_ways else wanted)


@op(
    "BroadcastTo",
    attrs={"both_ways": False},
    infer=infer_broadcast_to,
    arity=2,
    kernel="broadcast_to",
    const_inputs={1: "shape"},
    quant=Quant(output="same"),
    integer=same_codes(_broadcast_to),
    cases=[
        Case(((3, 1), np.array([2, 3, 4]))),
        Case(((3, 4), np.array([3, 1])), {"both_ways": True}),
        Case(((), np.array([2, 2]))),
    ],
)
def broadcast_to(x: np.ndarray, to: np.ndarray, *, both_ways: bool) -> np.ndarray:
    """x repeated to the shape `to` (int64[n]), or to what both broadcast to when `both_ways` (ONNX Expand)."""
    return _broadcast_to(x, to, both_ways=both_ways)


@reads("tflite", "BROADCAST_TO")
def read_tflite_broadcast_to(r: Reading) -> Tensor:
    return r.emit("BroadcastTo", r.input(0), int64_param(r, r.input(1)))


@reads("onnx", "Expand")
def read_onnx_expand(r: Reading) -> Tensor:
    x, to = r.input(0), r.input(1)
    if to.data is not None and x.shape is not None and None not in x.shape:
        wanted = tuple(r.ints(1))
        whole = broadcast(Node("BroadcastTo", r.name, [], []), x.shape, wanted)
        return r.emit("BroadcastTo", x, r.constant(list(whole or ()), np.int64, f"{r.name}/shape"))
    return r.emit("BroadcastTo", x, int64_param(r, to), both_ways=True)


@reads("ms", "BroadcastTo")
def read_ms_broadcast_to(r: Reading) -> Tensor:
    to = r.optional(1)
    if to is None:
        to = r.constant([int(n) for n in r.attr("shape")], np.int64, f"{r.name}/shape")
    return r.emit("BroadcastTo", r.input(0), int64_param(r, to), both_ways=True)


@reads("mindir", "BroadcastTo", "Expand")
def read_mindir_broadcast_to(r: Reading) -> Tensor:
    return r.emit("BroadcastTo", r.input(0), numbers_or_tensor(r, 1, "shape", "shape"), both_ways=True)


@reads("mindir", "Tile")
def read_mindir_tile(r: Reading) -> Tensor:
    return r.emit("Tile", r.input(0), numbers_or_tensor(r, 1, "multiples", "repeats"))


@reads("caffe", "Tile")
def read_caffe_tile(r: Reading) -> Tensor:
    p, x = param(r, "tile_param"), r.input(0)
    repeats = [1] * r.rank(x)
    repeats[axis_of(r, x, p.axis)] = p.tiles
    return r.emit("Tile", x, r.constant(repeats, np.int64, f"{r.name}/repeats"))


@writes("tflite", "BroadcastTo")
def write_tflite_broadcast_to(w: Writing, node: Node) -> None:
    w.node("BROADCAST_TO", node, [node.inputs[0], write_param(w, node, _target(w, node), "shape")], version=2)


@writes("ms", "BroadcastTo")
def write_ms_broadcast_to(w: Writing, node: Node) -> None:
    to = _target(w, node)
    known = const_ints(to)
    fields = {} if known is None else {"shape": known}
    w.node("BroadcastTo", node, [node.inputs[0], write_param(w, node, to, "shape")], fields=fields)


def _target(w: Writing, node: Node) -> Tensor | None:
    y = node.outputs[0]
    if not node.attrs["both_ways"]:
        return node.inputs[1]
    if y.shape is None or None in y.shape:
        w.refuse(node, "its shape is not known", hint=Setting("input_shape"))
    return w.constant(y.shape, np.int64, f"{node.name}/shape")


@writes("onnx", "BroadcastTo")
def write_onnx_expand(w: Writing, node: Node) -> None:
    w.node("Expand", node, [node.inputs[0], write_param(w, node, node.inputs[1], "shape")])


def infer_tile(node: Node) -> Inferred:
    x, repeats = node.required(0), node.required(1)
    count, wanted, dtype = length(node, repeats, "the repeats"), const_ints(repeats), value_dtype(x)
    if x.shape is None:
        return [(dtype, None)]
    if count is not None and count != len(x.shape):
        fail(node, f"{count} repeats for a tensor of rank {len(x.shape)}")
    if wanted is None:
        return [(dtype, (None,) * len(x.shape))]
    if min(wanted, default=0) < 0:
        fail(node, f"repeats {wanted} must be at least 0")
    return [(dtype, tuple(None if n is None else n * k for n, k in zip(x.shape, wanted)))]


def _tile(x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    return np.tile(x, [int(k) for k in np.reshape(repeats, -1)])


@op(
    "Tile",
    infer=infer_tile,
    arity=2,
    kernel="tile",
    quant=Quant(output="same"),
    const_inputs={1: "repeats"},
    permute=remap_const(1),
    integer=same_codes(_tile),
    cases=[Case(((2, 3), np.array([1, 2]))), Case(((2, 1, 3), np.array([3, 2, 1])))],
)
def tile(x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """x repeated `repeats` (int64[r]) times along each axis."""
    return _tile(x, repeats)


@reads("tflite", "TILE")
@reads("onnx", "Tile")
def read_tile(r: Reading) -> Tensor:
    return r.emit("Tile", r.input(0), int64_param(r, r.input(1)))


@reads("ms", "TileFusion")
def read_ms_tile(r: Reading) -> Tensor:
    if r.optional(1) is not None:
        return r.emit("Tile", r.input(0), int64_param(r, r.input(1)))
    return r.emit("Tile", r.input(0), r.constant([int(n) for n in r.attr("dims")], np.int64))


@writes("tflite", "Tile")
def write_tflite_tile(w: Writing, node: Node) -> None:
    w.node("TILE", node, [node.inputs[0], write_param(w, node, node.inputs[1], "repeats")])


@writes("ms", "Tile")
def write_ms_tile(w: Writing, node: Node) -> None:
    w.node("TileFusion", node, [node.inputs[0], write_param(w, node, node.inputs[1], "repeats")])


@writes("onnx", "Tile")
def write_onnx_tile(w: Writing, node: Node) -> None:
    w.node("Tile", node, [node.inputs[0], write_param(w, node, node.inputs[1], "repeats")])
