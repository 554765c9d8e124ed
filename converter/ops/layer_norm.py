"""Normalizations over the last axes: LayerNorm, with its statistics, and RmsNorm."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.norm_steps import write_decomposed
from ._support.types import fail, normal_axis
from .norm import affine, float_input, standardized


def _check_tail(node: Node) -> Tensor:
    """LayerNorm and RmsNorm: parameters broadcast to the normalized axes."""
    x = float_input(node)
    if x.shape is None:
        return x
    axis = normal_axis(node, node.attrs["axis"], len(x.shape))
    tail = x.shape[axis:]
    for t in node.inputs[1:]:
        if t is not None and t.shape is not None:
            short = len(t.shape) > len(x.shape)
            bad = any(m not in (1, None) and n is not None and m != n for m, n in zip(t.shape[::-1], x.shape[::-1]))
            if short or bad:
                fail(node, f"{t.name!r} of shape {t.shape} does not broadcast to {tail}")
    return x


def _infer_layer_norm(node: Node) -> Inferred:
    x = _check_tail(node)
    return [(x.dtype, x.shape)]


_LAYER_CASES = [
    Case(((2, 3, 7), (7,), (7,)), {"axis": -1}, const=(1, 2)),
    Case(((2, 3, 4, 5), (4, 5), (4, 5)), {"axis": 2, "epsilon": 1e-3}, const=(1, 2)),
    Case(((3, 7),), {"axis": -1}),
    Case(((3, 7), (7,)), {"axis": 1}, const=(1,)),
]


@op(
    "LayerNorm",
    attrs={"axis": -1, "epsilon": 1e-5},
    infer=_infer_layer_norm,
    arity=(1, 3),
    kernel="layer_norm",
    quant=Quant(int8=False),
    cases=_LAYER_CASES,
)
def layer_norm(
    x: np.ndarray, gamma: np.ndarray | None = None, beta: np.ndarray | None = None, *, axis: int, epsilon: float
) -> np.ndarray:
    """x standardized over axes `axis` to the last, then · gamma + beta (broadcast to those axes)."""
    return affine(standardized(x, tuple(range(axis % x.ndim, x.ndim)), epsilon), gamma, beta, x.dtype)


def _infer_statistics(node: Node) -> Inferred:
    x = _check_tail(node)
    if x.shape is None:
        return [(np.dtype(np.float32), None)] * 2
    axis = normal_axis(node, node.attrs["axis"], len(x.shape))
    shape = (*x.shape[:axis], *([1] * (len(x.shape) - axis)))
    return [(np.dtype(np.float32), shape)] * 2


@op(
    "LayerNormStatistics",
    attrs={"axis": -1, "epsilon": 1e-5},
    infer=_infer_statistics,
    outputs=2,
    quant=Quant(int8=False),
    cases=[Case(((2, 3, 7),), {"axis": -1}), Case(((2, 3, 7),), {"axis": 1})],
)
def layer_norm_statistics(x: np.ndarray, *, axis: int, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1/sqrt(variance + epsilon) over axes `axis` to the last, float32."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(axes, dtype=np.float64, keepdims=True)
    variance = np.square(x - mean).mean(axes, dtype=np.float64, keepdims=True)
    return mean.astype(np.float32), (1 / np.sqrt(variance + epsilon)).astype(np.float32)


@op(
    "RmsNorm",
    attrs={"axis": -1, "epsilon": 1e-5},
    infer=_infer_layer_norm,
    arity=(1, 2),
    quant=Quant(int8=False),
    cases=[_LAYER_CASES[2], _LAYER_CASES[3], Case(((2, 3, 4, 5), (4, 5)), {"axis": 2}, const=(1,))],
)
def rms_norm(x: np.ndarray, gamma: np.ndarray | None = None, *, axis: int, epsilon: float) -> np.ndarray:
    """x / sqrt(mean of squares + epsilon) over axes `axis` to the last, then · gamma."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = np.square(x.astype(np.float64)).mean(axes, keepdims=True)
    y = (x / np.sqrt(mean + epsilon)).astype(np.promote_types(x.dtype, np.float32))
    return affine(y, gamma, None, x.dtype)


@reads("onnx", "LayerNormalization")
def read_onnx_layer_norm(r: Reading) -> Any:
    attrs = {"axis": int(r.attr("axis", -1)), "epsilon": float(r.attr("epsilon", 1e-5))}
    x = r.input(0)
    y = r.emit("LayerNorm", x, r.optional(1), r.optional(2), **attrs)
    if not any(t.name for t in r.outputs[1:]):
        return [y, y, y][: max(len(r.outputs), 1)]
    return [y, *r.emit_many("LayerNormStatistics", [x], **attrs)]


@reads("onnx", "RMSNormalization", "SimplifiedLayerNormalization", "com.microsoft::SimplifiedLayerNormalization")
def read_onnx_rms_norm(r: Reading) -> Tensor:
    attrs = {"axis": int(r.attr("axis", -1)), "epsilon": float(r.attr("epsilon", 1e-5))}
    if any(t.name for t in r.outputs[1:]):
        r.refuse("the inverse deviation is not read as an output")
    return r.emit("RmsNorm", r.input(0), r.optional(1), **attrs)


@reads("onnx", "com.microsoft::SkipLayerNormalization", "com.microsoft::SkipSimplifiedLayerNormalization")
def read_onnx_skip_norm(r: Reading) -> Any:
    """Normalization of input + skip (+ bias); output 3 is that sum."""
    rms = "Simplified" in r.op
    if any(t.name for t in r.outputs[1:3]):
        r.refuse("mean and inverse deviation are not read as outputs")
    bias = r.optional(3 if rms else 4)
    total = r.emit("Add", r.input(0), r.input(1))
    total = total if bias is None else r.emit("Add", total, bias)
    parameters = [r.input(2)] if rms else [r.input(2), r.optional(3)]
    attrs = {"axis": -1, "epsilon": float(r.attr("epsilon", 1e-12))}
    y = r.emit("RmsNorm" if rms else "LayerNorm", total, *parameters, **attrs)
    return [y, y, y, total][: max(len(r.outputs), 1)]


@reads("ms", "LayerNormFusion")
def read_ms_layer_norm(r: Reading) -> Tensor:
    begin, params = int(r.attr("begin_norm_axis", 0)), int(r.attr("begin_params_axis", 0))
    rank = r.rank(r.input(0))
    if begin % rank != params % rank:
        r.refuse(f"begin_norm_axis={begin} and begin_params_axis={params} differ")
    return r.emit("LayerNorm", *r.inputs, axis=begin, epsilon=float(r.attr("epsilon", 1e-5)))


def _tail_parameters(w: Writing, node: Node) -> list[Tensor]:
    """Gamma and beta of a LayerNorm, with ones and zeros where they are absent."""
    x = node.required(0)
    parameters: list[Tensor] = []
    for index, value in ((1, 1.0), (2, 0.0)):
        t = node.input(index)
        if t is None:
            first = node.attrs["axis"] % (x.rank or 1)
            if x.shape is None or None in x.shape[first:]:
                w.refuse(node, "the normalized sizes are not known", hint=Setting("input_shape"))
            tail = x.sizes(first)
            t = w.constant(np.full(tail, value), x.dtype, f"{node.outputs[0].name}/param")
        parameters.append(t)
    return parameters


@reads("mindir", "LayerNorm", "LayerNormV3")
def read_mindir_layer_norm(r: Reading) -> Any:
    x, begin = r.input(0), r.whole(3, "begin_norm_axis", 1)
    rank = r.rank(x)
    if begin % rank != r.whole(4, "begin_params_axis", 1) % rank:
        r.refuse("begin_norm_axis and begin_params_axis differ")
    return _with_statistics(r, x, r.input(1), r.input(2), begin, r.real(5, "epsilon", 1e-7))


@reads("mindir", "LayerNormExt")
def read_mindir_layer_norm_ext(r: Reading) -> Any:
    x, normalized = r.input(0), r.wholes(1, "normalized_shape")
    axis = -len(normalized)
    return _with_statistics(r, x, r.optional(2), r.optional(3), axis, r.real(4, "eps", 1e-5))


def _with_statistics(
    r: Reading, x: Tensor, gamma: Tensor | None, beta: Tensor | None, axis: int, epsilon: float
) -> list[Tensor]:
    outputs = [r.emit("LayerNorm", x, gamma, beta, axis=axis, epsilon=epsilon)]
    if len(r.outputs) > 1:
        outputs += r.emit_many("LayerNormStatistics", [x], axis=axis, epsilon=epsilon)
    return outputs


@reads("mindir", "RmsNorm")
def read_mindir_rms_norm(r: Reading) -> Tensor:
    return r.emit("RmsNorm", r.input(0), r.optional(1), epsilon=r.real(2, "epsilon", 1e-6))


writes("tflite", "LayerNorm", "RmsNorm")(write_decomposed)


@writes("ms", "LayerNorm")
def write_ms_layer_norm(w: Writing, node: Node) -> None:
    axis, x = node.attrs["axis"], node.inputs[0]
    if x is not None and x.rank is not None:
        axis = axis % x.rank - x.rank
        if any(t is not None and t.rank != -axis for t in node.inputs[1:]):
            w.refuse(node, "parameters that broadcast within the normalized axes are not there")
    fields = {"begin_norm_axis": axis, "begin_params_axis": axis, "epsilon": node.attrs["epsilon"]}
    inputs = [x, *_tail_parameters(w, node)]
    w.node("LayerNormFusion", node, inputs, fields=fields | {"elementwise_affine": True})


@writes("onnx", "LayerNorm")
def write_onnx_layer_norm(w: Writing, node: Node) -> None:
    if w.options.get("opset", 17) < 17:
        write_decomposed(w, node)
        return
    gamma, beta = node.input(1), node.input(2)
    gamma = _tail_parameters(w, node)[0] if gamma is None else gamma
    fields = {"axis": node.attrs["axis"], "epsilon": node.attrs["epsilon"]}
    w.node("LayerNormalization", node, [node.inputs[0], gamma, beta], fields=fields)


@writes("onnx", "RmsNorm")
def write_onnx_rms_norm(w: Writing, node: Node) -> None:
    a = node.attrs
    if w.options.get("opset", 23) < 23:
        write_decomposed(w, node)
        return
    gamma = node.input(1) or _tail_parameters(w, node)[0]
    fields = {"axis": a["axis"], "epsilon": a["epsilon"]}
    w.node("RMSNormalization", node, [node.inputs[0], gamma], fields=fields)
