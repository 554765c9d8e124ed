"""Svdf: a recurrent layer whose weights are products of a filter over features and one over time (TFLite)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import Setting
from ...ir import Node, Tensor, is_quantized
from ...numeric.qparams import activation_range, quantized_multiplier, requantize_gemmlowp
from ...schema.op import REQUIRED, Case, Inferred, Quant, op, writes
from ...schema.reading import Reading
from ...schema.writing import Writing
from .._support.acts import apply_act
from .._support.types import fail, need
from .parts import GraphEdit, RealParts


def _infer(node: Node) -> Inferred:
    x, feature, time, bias = node.required(0), node.required(1), node.required(2), node.input(3)
    need(node, x, "f", "the input")
    rank, shapes = node.attrs["rank"], (feature.shape, time.shape)
    if any(s is None or len(s) != 2 or None in s for s in shapes) or rank < 1:
        fail(node, f"weights of shapes {shapes} and rank {rank}")
    filters = feature.known_shape[0]
    if time.known_shape[0] != filters or not time.known_shape[1] or filters % rank:
        fail(node, f"weights of shapes {shapes} do not fit rank {rank}")
    if bias is not None and bias.shape != (filters // rank,):
        fail(node, f"a bias of shape {bias.shape} for {filters // rank} units")
    if x.shape is not None and (len(x.shape) != 2 or x.known_shape[1] not in (None, feature.known_shape[1])):
        fail(node, f"an input of shape {x.shape} for weights of shape {feature.shape}")
    return [(x.dtype, (None if x.shape is None else x.shape[0], filters // rank))]


def _codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    """int8 input and features, 16-bit state and time weights; both sums are rescaled as the integer kernels do."""
    x, feature, time, state, y = (*node.inputs[:3], node.input(4), node.outputs[0])
    tensors = (x, feature, time, state, y)
    if not all(is_quantized(t) for t in tensors) or y.dtype != np.int8:
        return None
    qx, qf, qt, qs, qy = (t.qparams for t in tensors if t is not None)
    acc = (arrays[0].astype(np.int64) - qx.zero_point[0]) @ arrays[1].T.astype(np.int64)
    scale = quantized_multiplier(float(qx.scale[0]) * float(qf.scale[0]) / float(qs.scale[0]))
    newest = requantize_gemmlowp(acc, *scale, 0, -32768, 32767, np.int64)
    total = (newest * arrays[2][:, -1].astype(np.int64)).reshape(len(newest), -1, node.attrs["rank"]).sum(2)
    total = total if len(arrays) < 4 or arrays[3] is None else total + arrays[3]
    scale = quantized_multiplier(float(qs.scale[0]) * float(qt.scale[0]) / float(qy.scale[0]))
    low, high = activation_range(node.attrs["act"], qy)
    return requantize_gemmlowp(total, *scale, int(qy.zero_point[0]), low, high, np.int8)


@op(
    "Svdf",
    attrs={"rank": REQUIRED, "act": "none"},
    infer=_infer,
    arity=(3, 5),
    quant=Quant(int8=False),
    integer=_codes,
    cases=[
        Case(((2, 5), (6, 5), (6, 4), (3,)), {"rank": 2}, const=(1, 2, 3)),
        Case(((2, 5), (3, 5), (3, 4)), {"rank": 1, "act": "relu"}, const=(1, 2)),
    ],
)
def svdf(
    x: np.ndarray, feature: np.ndarray, time: np.ndarray, bias: Any = None, state: Any = None, *, rank: int, act: str
) -> np.ndarray:
    """x [N,I], features [F,I], time [F,M], bias [F/rank], an empty state → [N,F/rank].

    The state is empty before a run, so only the newest column of the time weights counts.
    """
    total = ((x @ feature.T) * time[:, -1]).reshape(len(x), -1, rank).sum(2)
    return apply_act((total if bias is None else total + bias).astype(x.dtype), act)


def read_integer_svdf(r: Reading, act: str) -> Tensor:
    if not all(is_quantized(r.optional(i)) for i in (0, 1, 2, 4)) or r.input(0).dtype != np.int8 or act == "tanh":
        r.refuse(
            "its integer form is read with int8 values, int8 features, int16 time weights, and a state with a scale"
        )
    return r.emit("Svdf", *(r.optional(i) for i in range(5)), rank=int(r.attr("rank", 1)), act=act)


def why_not_parted(node: Node) -> str:
    """Why the layer cannot be written as a product and a sum, "" where it can."""
    bias = node.input(3)
    known = node.required(2).is_const and (bias is None or bias.is_const)
    return "" if known else "a weight is computed at run time"


def write_parts(edit: GraphEdit, node: Node) -> None:
    """Emits the products and sums of a node for which `why_not_parted` says nothing; its output becomes theirs."""
    x, feature, time, bias = node.required(0), node.required(1), node.required(2), node.input(3)
    parts = RealParts(edit, node)
    newest = parts.held(parts.make("FullyConnected", parts.reals(x), feature), node.input(4))
    y = parts.make("Mul", newest, parts.constant(time.real()[:, -1], "time"))
    rank = node.attrs["rank"]
    shape = parts.constant([-1, time.size(0) // rank, rank], "shape", np.int64)
    y = parts.make("Reduce", parts.make("Reshape", y, shape), mode="sum", axes=[2])
    parts.end(y if bias is None else parts.make("Add", y, parts.constant(bias.real(), "bias")), node.attrs["act"])


@writes("ms", "Svdf")
@writes("onnx", "Svdf")
def refuse_svdf(w: Writing, node: Node) -> None:
    w.refuse(node, "it is written in parts, which a pass makes", hint=("without ", Setting("skip_pass", "split_svdf")))
