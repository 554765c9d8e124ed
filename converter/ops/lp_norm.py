"""LpNorm: division by the norm over named axes."""

from __future__ import annotations

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import apply_act, read_act
from ._support.caffe import flat_blob, param
from ._support.layout import remap_axes
from ._support.norm_steps import Chain
from ._support.types import fail, normal_axes
from ._support.writers import write_fused, write_onnx
from .norm import float_input


def _infer_lp(node: Node) -> Inferred:
    x = float_input(node)
    if node.attrs["p"] not in (1, 2):
        fail(node, f"p={node.attrs['p']}, allowed are 1 and 2")
    if x.shape is not None:
        normal_axes(node, node.attrs["axes"], len(x.shape))
    return [(x.dtype, x.shape)]


@op(
    "LpNorm",
    attrs={"axes": REQUIRED, "p": 2, "epsilon": 0.0, "act": "none"},
    infer=_infer_lp,
    quant=Quant(int8=False),
    permute=remap_axes("axes"),
    cases=[
        Case(((2, 3, 7),), {"axes": [-1], "epsilon": 1e-6}),
        Case(((2, 3, 7),), {"axes": [1], "p": 1}),
        Case(((2, 4, 5, 3),), {"axes": [1, 2], "act": "relu"}),
    ],
)
def lp_norm(x: np.ndarray, *, axes: list[int], p: int, epsilon: float, act: str) -> np.ndarray:
    """x / max((Σ |x|^p)^(1/p), epsilon) over `axes`; where that is 0 the result is 0."""
    wide = np.abs(x.astype(np.float64))
    norm = (wide if p == 1 else np.square(wide)).sum(tuple(axes), keepdims=True)
    norm = np.maximum(norm if p == 1 else np.sqrt(norm), epsilon)
    y = np.divide(x, norm, out=np.zeros(x.shape), where=norm > 0)
    # A NaN in the norm is a NaN everywhere.
    return apply_act(np.where(np.isnan(norm), np.nan, y).astype(x.dtype), act)


@reads("onnx", "LpNormalization")
def read_onnx_lp_norm(r: Reading) -> Tensor:
    return r.emit("LpNorm", r.input(0), axes=[int(r.attr("axis", -1))], p=int(r.attr("p", 2)))


@reads("tflite", "L2_NORMALIZATION")
def read_tflite_l2_norm(r: Reading) -> Tensor:
    act = read_act(r, "tflite", "fused_activation_function")
    return r.emit("LpNorm", r.input(0), axes=[-1], p=2, epsilon=1e-6, **act)


@reads("ms", "L2NormalizeFusion")
def read_ms_l2_norm(r: Reading) -> Tensor:
    axes = [int(a) for a in r.attr("axis", None) or [-1]]
    act = read_act(r, "ms", "activation_type")
    return r.emit("LpNorm", r.input(0), axes=axes, p=2, epsilon=float(r.attr("epsilon", 0.0)), **act)


@reads("mindir", "L2Normalize")
def read_mindir_l2_norm(r: Reading) -> Tensor:
    """x / sqrt(max(Σ x², epsilon))."""
    x, axes = r.input(0), r.wholes(None, "axis", 0)
    attrs = {"p": 2, "epsilon": max(r.real(None, "epsilon", 1e-4), 0.0) ** 0.5}
    if axes == [1] and r.rank(x) > 2:
        return r.channels_first(r.emit("LpNorm", r.channels_last(x), axes=[-1], **attrs))
    return r.emit("LpNorm", x, axes=axes, **attrs)


@reads("caffe", "Normalize")
def read_caffe_normalize(r: Reading) -> Tensor:
    """x / sqrt(Σ x² + eps) over channels, or over positions, too, times a scale of one value or one per channel."""
    p, x = param(r, "norm_param"), r.channels_last(r.input(0))
    axes = list(range(1, r.rank(x))) if p.across_spatial else [-1]
    y = r.emit("LpNorm", x, axes=axes, p=2, epsilon=p.eps**0.5)
    return r.channels_first(r.emit("Mul", y, flat_blob(r, 0)))


@writes("onnx", "LpNorm")
def write_onnx_lp_norm(w: Writing, node: Node) -> None:
    a = node.attrs
    if len(a["axes"]) != 1 or a["epsilon"] > 1e-6:
        w.refuse(node, f"LpNormalization has one axis and no epsilon: {a['axes']}, {a['epsilon']}")
    write_onnx(w, node, "LpNormalization", node.inputs, {"axis": a["axes"][0], "p": a["p"]})


@writes("ms", "LpNorm")
def write_ms_l2_norm(w: Writing, node: Node) -> None:
    a, x = node.attrs, node.required(0)
    if a["p"] != 2 or x.rank is None or [i % x.rank for i in a["axes"]] != [x.rank - 1]:
        _write_parts(w, node, "DivFusion", "activation_type")
        return
    fields = {"axis": node.attrs["axes"], "epsilon": node.attrs["epsilon"]}
    write_fused(w, node, "L2NormalizeFusion", node.inputs, fields, key="activation_type")


@writes("tflite", "LpNorm")
def write_tflite_lp_norm(w: Writing, node: Node) -> None:
    """L2_NORMALIZATION where it is that: the last axis, epsilon 1e-6."""
    a, x = node.attrs, node.required(0)
    if a["p"] == 2 and a["epsilon"] == 1e-6 and a["axes"] in ([-1], [(x.rank or 0) - 1]):
        write_fused(w, node, "L2_NORMALIZATION", [x], key="fused_activation_function")
        return
    _write_parts(w, node, "DIV", "fused_activation_function")


def _write_parts(w: Writing, node: Node, division: str, key: str) -> None:
    """|x| or x², their sum, and a division, named in the container, with its field for an activation."""
    a, x, y = node.attrs, node.required(0), node.outputs[0]
    chain = Chain(w, node)
    norm = chain.reduce("sum", chain("abs", x) if a["p"] == 1 else chain("mul", x, x), a["axes"])
    norm = norm if a["p"] == 1 else chain("sqrt", norm)
    # Where all is 0 the result is 0: any positive divisor gives that.
    norm = chain("max", norm, chain.number(max(a["epsilon"], float(np.finfo(np.float32).tiny))))
    quotient = Node("Div", node.name, [x, norm], [y], {"act": a["act"]}, node.origin)
    write_fused(w, quotient, division, [x, norm], key=key)
