"""Normalizations. BatchNorm, InstanceNorm, GroupNorm and Lrn are channels-last; the others name their axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formats.reading import Reading
from ..formats.writing import Writing
from ..ir import Node, Tensor
from ..opdef import REQUIRED, Case, Inferred, Quant, op, reads, writes
from .acts import apply_act, read_act
from .layout import first_perm, last_perm, permuted_shape, remap_axes
from .types import fail, need, normal_axes, normal_axis
from .writers import write_fused, write_onnx


def _float_input(node: Node) -> Tensor:
    x = node.inputs[0]
    assert x is not None
    need(node, x, "f", "the input")
    return x


def _check_vectors(node: Node, size: int | None, first: int = 1) -> None:
    for t in node.inputs[first:]:
        if t is None or t.shape is None:
            continue
        if len(t.shape) != 1 or (None not in (size, t.shape[0]) and t.shape[0] != size):
            fail(node, f"{t.name!r} has shape {t.shape}, expected ({size},)")


def _infer_channels(node: Node) -> Inferred:
    x = _float_input(node)
    if x.shape is not None and len(x.shape) < 2:
        fail(node, f"an input of shape {x.shape} has no channels")
    _check_vectors(node, None if x.shape is None else x.shape[-1])
    return [(x.dtype, x.shape)]


def _wide(x: np.ndarray) -> np.ndarray:
    """Sums of float16 are taken in float32."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _standardized(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon), statistics in float64."""
    mean = x.mean(axes, dtype=np.float64, keepdims=True)
    variance = np.square(x - mean).mean(axes, dtype=np.float64, keepdims=True)
    return ((x - mean) / np.sqrt(variance + epsilon)).astype(np.promote_types(x.dtype, np.float32))


def _affine(y: np.ndarray, scale: Any, offset: Any, dtype: np.dtype) -> np.ndarray:
    y = y if scale is None else y * scale
    return (y if offset is None else y + offset).astype(dtype, copy=False)


@op(
    "BatchNorm",
    attrs={"epsilon": 1e-5},
    infer=_infer_channels,
    arity=5,
    kernel="batch_norm",
    quant=Quant(),
    cases=[
        Case(((2, 4, 5, 3), (3,), (3,), (3,), np.float32([0.5, 1.0, 2.0])), const=(1, 2, 3)),
        Case(((4, 3), (3,), (3,), (3,), np.float32([0.5, 1.0, 2.0])), {"epsilon": 0.1}, const=(1, 2, 3)),
        Case(((2, 7, 2), (2,), (2,), (2,), np.float32([0.5, 3.0])), const=(1, 2, 3)),
    ],
)
def batch_norm(
    x: np.ndarray, scale: np.ndarray, offset: np.ndarray, mean: np.ndarray, variance: np.ndarray, *, epsilon: float
) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon) · scale + offset, all [C], x [N,…,C]."""
    factor = (scale / np.sqrt(variance.astype(np.float64) + epsilon)).astype(np.promote_types(x.dtype, np.float32))
    return ((x - mean) * factor + offset).astype(x.dtype, copy=False)


@op(
    "InstanceNorm",
    attrs={"epsilon": 1e-5},
    infer=_infer_channels,
    arity=3,
    quant=Quant(int8=False),
    cases=[
        Case(((2, 4, 5, 3), (3,), (3,)), const=(1, 2)),
        Case(((2, 7, 2), (2,), (2,)), {"epsilon": 1e-3}, const=(1, 2)),
    ],
)
def instance_norm(x: np.ndarray, scale: np.ndarray, offset: np.ndarray, *, epsilon: float) -> np.ndarray:
    """x [N,*S,C] standardized over its spatial axes, then · scale [C] + offset [C]."""
    return _affine(_standardized(x, tuple(range(1, x.ndim - 1)), epsilon), scale, offset, x.dtype)


def _infer_group(node: Node) -> Inferred:
    made = _infer_channels(node)
    x, groups = node.inputs[0], node.attrs["groups"]
    if groups < 1 or (x.shape is not None and x.shape[-1] is not None and x.shape[-1] % groups):  # pyright: ignore
        fail(node, f"channels of shape {x.shape} do not split into {groups} groups")  # pyright: ignore
    return made


@op(
    "GroupNorm",
    attrs={"groups": REQUIRED, "epsilon": 1e-5},
    infer=_infer_group,
    arity=3,
    quant=Quant(int8=False),
    cases=[
        Case(((2, 4, 5, 6), (6,), (6,)), {"groups": 3}, const=(1, 2)),
        Case(((2, 7, 4), (4,), (4,)), {"groups": 1}, const=(1, 2)),
        Case(((2, 3, 3, 4), (4,), (4,)), {"groups": 4, "epsilon": 0.01}, const=(1, 2)),
    ],
)
def group_norm(x: np.ndarray, scale: np.ndarray, offset: np.ndarray, *, groups: int, epsilon: float) -> np.ndarray:
    """x [N,*S,C] standardized over the spatial axes and each group of channels, then · scale [C] + offset [C]."""
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    axes = (*range(1, x.ndim - 1), x.ndim)
    return _affine(_standardized(parts, axes, epsilon).reshape(x.shape), scale, offset, x.dtype)


def _check_tail(node: Node) -> Tensor:
    """LayerNorm and RmsNorm: parameters broadcast to the normalized axes."""
    x = _float_input(node)
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
    return _affine(_standardized(x, tuple(range(axis % x.ndim, x.ndim)), epsilon), gamma, beta, x.dtype)


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
    return _affine(y, gamma, None, x.dtype)


def _infer_lp(node: Node) -> Inferred:
    x = _float_input(node)
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


def _infer_lrn(node: Node) -> Inferred:
    x = _float_input(node)
    if node.attrs["size"] < 1 or (x.shape is not None and len(x.shape) < 3):
        fail(node, f"a window of {node.attrs['size']} channels of an input of shape {x.shape}")
    return [(x.dtype, x.shape)]


@op(
    "Lrn",
    attrs={"size": REQUIRED, "alpha": 1.0, "beta": 0.5, "bias": 1.0},
    infer=_infer_lrn,
    quant=Quant(int8=False),
    cases=[
        Case(((2, 4, 5, 7),), {"size": 5, "alpha": 1e-2, "beta": 0.75}),
        Case(((1, 3, 3, 6),), {"size": 4, "alpha": 0.3, "beta": 0.5, "bias": 2.0}),
        Case(((1, 3, 3, 2),), {"size": 7}),
    ],
)
def lrn(x: np.ndarray, *, size: int, alpha: float, beta: float, bias: float) -> np.ndarray:
    """x [N,*S,C] / (bias + alpha · Σ x²)^beta: the sum is over `size` channels, (size - 1) // 2 of them before each."""
    before, channel, many = (size - 1) // 2, np.arange(x.shape[-1]), x.shape[-1]
    total = np.concatenate([np.zeros((*x.shape[:-1], 1)), np.cumsum(np.square(x.astype(np.float64)), -1)], -1)
    first, end = np.maximum(channel - min(before, many), 0), np.minimum(channel + min(size - before, many), many)
    sums = total[..., end] - total[..., first]
    return (x / (bias + alpha * sums) ** beta).astype(x.dtype)


@reads("onnx", "BatchNormalization")
def read_onnx_batch_norm(r: Reading) -> Tensor:
    if r.attr("training_mode", 0):
        r.refuse("training_mode=1 is not read", hint="exporting the model in evaluation mode")
    if not r.attr("spatial", 1):
        r.refuse("spatial=0 is not read")
    if any(t.name for t in r.outputs[1:]) and r.version < 14:
        r.refuse("outputs of training are not read")
    if r.rank(r.input(0)) < 2:
        r.refuse("an input of rank below 2 is not read")
    parameters = [r.input(i) for i in range(1, 5)]
    epsilon = float(r.attr("epsilon", 1e-5))
    return r.channels_first(r.emit("BatchNorm", r.channels_last(r.input(0)), *parameters, epsilon=epsilon))


@reads("onnx", "InstanceNormalization")
def read_onnx_instance_norm(r: Reading) -> Tensor:
    epsilon = float(r.attr("epsilon", 1e-5))
    x = r.channels_last(r.input(0))
    return r.channels_first(r.emit("InstanceNorm", x, r.input(1), r.input(2), epsilon=epsilon))


@reads("onnx", "GroupNormalization")
def read_onnx_group_norm(r: Reading) -> Tensor:
    groups, x = int(r.attr("num_groups")), r.input(0)
    scale, offset = r.input(1), r.input(2)
    if r.version < 21:
        if x.shape is None or len(x.shape) < 2 or x.shape[1] is None or groups < 1:
            r.refuse("the number of channels is not known", hint="--inputShape")
        repeats = x.shape[1] // groups  # scale and bias are per group up to opset 20
        scale, offset = (_repeated(r, t, repeats) for t in (scale, offset))
    attrs = {"groups": groups, "epsilon": float(r.attr("epsilon", 1e-5))}
    return r.channels_first(r.emit("GroupNorm", r.channels_last(x), scale, offset, **attrs))


def _repeated(r: Reading, t: Tensor, times: int) -> Tensor:
    if t.data is not None:
        return r.constant(np.repeat(t.real(), times), name=t.name)
    column = r.emit("Reshape", t, r.constant([-1, 1], np.int64))
    tiled = r.emit("Tile", column, r.constant([1, times], np.int64))
    return r.emit("Reshape", tiled, r.constant([-1], np.int64))


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
    attrs = {"axis": -1, "epsilon": float(r.attr("epsilon", 1e-5 if rms else 1e-12))}
    y = r.emit("RmsNorm" if rms else "LayerNorm", total, *parameters, **attrs)
    return [y, y, y, total][: max(len(r.outputs), 1)]


@reads("onnx", "LpNormalization")
def read_onnx_lp_norm(r: Reading) -> Tensor:
    return r.emit("LpNorm", r.input(0), axes=[int(r.attr("axis", -1))], p=int(r.attr("p", 2)))


@reads("onnx", "LRN")
def read_onnx_lrn(r: Reading) -> Tensor:
    size = int(r.attr("size"))
    attrs = {k: float(r.attr(k, d)) for k, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))}
    attrs["alpha"] /= size
    return r.channels_first(r.emit("Lrn", r.channels_last(r.input(0)), size=size, **attrs))


@reads("onnx", "MeanVarianceNormalization")
def read_onnx_mean_variance(r: Reading) -> Tensor:
    """(x - mean) / (sqrt(variance) + 1e-9) over `axes`."""
    axes = [int(a) for a in r.attr("axes", None) or [0, 2, 3]]
    x = r.input(0)
    centred = r.emit("Sub", x, r.emit("Reduce", x, mode="mean", axes=axes, keep_dims=True))
    variance = r.emit("Reduce", r.emit("Mul", centred, centred), mode="mean", axes=axes, keep_dims=True)
    deviation = r.emit("Add", r.emit("Sqrt", variance), r.constant(1e-9, x.dtype))
    return r.emit("Div", centred, deviation)


@reads("tflite", "L2_NORMALIZATION")
def read_tflite_l2_norm(r: Reading) -> Tensor:
    act = read_act(r, "tflite", "fused_activation_function")
    return r.emit("LpNorm", r.input(0), axes=[-1], p=2, epsilon=1e-6, **act)


@reads("tflite", "LOCAL_RESPONSE_NORMALIZATION")
def read_tflite_lrn(r: Reading) -> Tensor:
    attrs = {k: float(r.attr(k, 0.0)) for k in ("alpha", "beta", "bias")}
    return r.emit("Lrn", r.input(0), size=2 * int(r.attr("radius", 0)) + 1, **attrs)


@reads("ms", "BatchNorm", "FusedBatchNorm")
def read_ms_batch_norm(r: Reading) -> Tensor:
    """BatchNorm holds [x, mean, variance] and no affine part; FusedBatchNorm [x, scale, offset, mean, variance]."""
    epsilon = float(r.attr("epsilon", 1e-4))
    if r.op == "FusedBatchNorm":
        return r.emit("BatchNorm", *(r.input(i) for i in range(5)), epsilon=epsilon)
    mean = r.input(1)
    if mean.shape is None or None in mean.shape:
        r.refuse("the number of channels is not known")
    one, zero = r.constant(np.ones(mean.shape, np.float32)), r.constant(np.zeros(mean.shape, np.float32))
    return r.emit("BatchNorm", r.input(0), one, zero, mean, r.input(2), epsilon=epsilon)


@reads("ms", "ScaleFusion")
def read_ms_scale(r: Reading) -> Tensor:
    """x · scale (+ offset) along `axis`, as BatchNorm without statistics where that is the last one."""
    x, scale, offset = r.input(0), r.input(1), r.optional(2)
    act = read_act(r, "ms", "activation_type")["act"]
    rank, axis = r.rank(x), int(r.attr("axis", 0))
    axis = axis + rank if axis < 0 else axis
    if scale.shape is None or None in scale.shape or axis + len(scale.shape) > rank:
        r.refuse(f"a scale of shape {scale.shape} at axis {axis}")
    if axis == rank - 1 and len(scale.shape) == 1 and offset is not None and act == "none":
        zero, one = (r.constant(np.full(scale.shape, v, np.float32)) for v in (0, 1))
        return r.emit("BatchNorm", x, scale, offset, zero, one, epsilon=0.0)
    tail = [1] * (rank - axis - len(scale.shape))
    shape = [*scale.shape, *tail]
    parts = [t if t is None or not tail else r.emit("Reshape", t, r.constant(shape, np.int64)) for t in (scale, offset)]
    if parts[1] is None:
        return r.emit("Mul", x, parts[0], act=act)
    return r.emit("Add", r.emit("Mul", x, parts[0]), parts[1], act=act)


@reads("ms", "InstanceNorm")
def read_ms_instance_norm(r: Reading) -> Tensor:
    """Stored NC…, as the converter of MindSpore Lite writes it."""
    epsilon = float(r.attr("epsilon", 0.0))
    x = r.channels_last(r.input(0))
    return r.channels_first(r.emit("InstanceNorm", x, r.input(1), r.input(2), epsilon=epsilon))


@reads("ms", "GroupNormFusion")
def read_ms_group_norm(r: Reading) -> Tensor:
    attrs = {"groups": int(r.attr("num_groups")), "epsilon": float(r.attr("epsilon", 1e-5))}
    x = r.channels_last(r.input(0))
    return r.channels_first(r.emit("GroupNorm", x, r.input(1), r.input(2), **attrs))


@reads("ms", "LayerNormFusion")
def read_ms_layer_norm(r: Reading) -> Tensor:
    begin, params = int(r.attr("begin_norm_axis", 0)), int(r.attr("begin_params_axis", 0))
    rank = r.rank(r.input(0))
    if begin % rank != params % rank:
        r.refuse(f"begin_norm_axis={begin} and begin_params_axis={params} differ")
    return r.emit("LayerNorm", *r.inputs, axis=begin, epsilon=float(r.attr("epsilon", 1e-5)))


@reads("ms", "L2NormalizeFusion")
def read_ms_l2_norm(r: Reading) -> Tensor:
    axes = [int(a) for a in r.attr("axis", None) or [-1]]
    act = read_act(r, "ms", "activation_type")
    return r.emit("LpNorm", r.input(0), axes=axes, p=2, epsilon=float(r.attr("epsilon", 0.0)), **act)


@reads("ms", "LRN")
def read_ms_lrn(r: Reading) -> Tensor:
    attrs = {k: float(r.attr(k, 0.0)) for k in ("alpha", "beta", "bias")}
    return r.emit("Lrn", r.input(0), size=2 * int(r.attr("depth_radius", 0)) + 1, **attrs)


def _folded(w: Writing, node: Node) -> tuple[Tensor, Tensor]:
    """BatchNorm's parameters as x · factor + term."""
    values = [None if t is None or t.data is None else t.real().astype(np.float64) for t in node.inputs[1:]]
    if any(v is None for v in values):
        w.refuse(node, "parameters that are computed at run time have no form there")
    scale, offset, mean, variance = values
    factor = scale / np.sqrt(variance + node.attrs["epsilon"])  # pyright: ignore
    term = offset - mean * factor  # pyright: ignore[reportOperatorIssue]
    name = node.outputs[0].name
    return w.constant(factor, np.float32, f"{name}/scale"), w.constant(term, np.float32, f"{name}/offset")


@writes("ms", "BatchNorm")
def write_ms_batch_norm(w: Writing, node: Node) -> None:
    w.node("ScaleFusion", node, [node.inputs[0], *_folded(w, node)], fields={"axis": -1, "activation_type": 0})


@writes("tflite", "BatchNorm")
def write_tflite_batch_norm(w: Writing, node: Node) -> None:
    factor, term = _folded(w, node)
    y = node.outputs[0]
    product = w.between(y, name=f"{y.name}/product")
    w.node("MUL", node, [node.inputs[0], factor], [product])
    w.node("ADD", node, [product, term], [y])


@writes("onnx", "BatchNorm", "InstanceNorm", "GroupNorm")
def write_onnx_channel_norm(w: Writing, node: Node) -> None:
    names = {"BatchNorm": "BatchNormalization", "InstanceNorm": "InstanceNormalization"}
    fields = {"epsilon": node.attrs["epsilon"]}
    if node.op == "GroupNorm":
        fields["num_groups"] = node.attrs["groups"]
        if w.options.get("opset", 21) < 21:
            w.refuse(node, "GroupNormalization per channel needs opset 21", hint="--opset=21")
    write_onnx(w, node, names.get(node.op, "GroupNormalization"), node.inputs, fields, spatial=True)


@writes("ms", "InstanceNorm", "GroupNorm")
def write_ms_channel_norm(w: Writing, node: Node) -> None:
    """Between Transposes: the runtime works on NC… A GroupNorm is an InstanceNorm of its groups, then a scale."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if x.shape is None or len(x.shape) != 4:
        w.refuse(node, "only the 2-D form is there")
    fields = {"epsilon": node.attrs["epsilon"]}
    to, back = first_perm(4), last_perm(4)
    before = w.between(x, permuted_shape(x.shape, to), f"{x.name}/transposed")
    after = w.between(y, permuted_shape(y.shape, to), f"{y.name}/transposed")
    w.node("Transpose", node, [x, w.constant(to, np.int32, "perm")], [before])
    if node.op == "InstanceNorm":
        w.node("InstanceNorm", node, [before, *node.inputs[1:]], [after], fields=fields)
        w.node("Transpose", node, [after, w.constant(back, np.int32, "perm")], [y])
        return
    n, h, wide, c = x.shape
    if None in (n, h, wide, c):
        w.refuse(node, "its sizes are not known", hint="--inputShape")
    groups = node.attrs["groups"]
    parts = (n, groups, c // groups * h, wide)  # pyright: ignore[reportOptionalOperand]
    split, standard = (w.between(x, parts, f"{y.name}/{name}") for name in ("groups", "standard"))
    w.node("Reshape", node, [before, w.constant(parts, np.int32, "shape")], [split])
    plain = [w.constant(np.full(groups, v), np.float32, f"{y.name}/plain") for v in (1, 0)]
    w.node("InstanceNorm", node, [split, *plain], [standard], fields=fields)
    w.node("Reshape", node, [standard, w.constant(before.shape, np.int32, "shape")], [after])
    last = w.between(y, name=f"{y.name}/standardized")
    w.node("Transpose", node, [after, w.constant(back, np.int32, "perm")], [last])
    w.node("ScaleFusion", node, [last, *node.inputs[1:]], [y], fields={"axis": -1, "activation_type": 0})


def _tail_parameters(w: Writing, node: Node) -> list[Tensor]:
    """Gamma and beta of a LayerNorm, with ones and zeros where they are absent."""
    x = node.inputs[0]
    assert x is not None
    made: list[Tensor] = []
    for index, value in ((1, 1.0), (2, 0.0)):
        t = node.input(index)
        if t is None:
            tail = None if x.shape is None else x.shape[node.attrs["axis"] % len(x.shape) :]
            if tail is None or None in tail:
                w.refuse(node, "the normalized sizes are not known", hint="--inputShape")
            t = w.constant(np.full(tail, value), x.dtype, f"{node.outputs[0].name}/param")  # pyright: ignore
        made.append(t)
    return made


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
        _write_decomposed(w, node)
        return
    gamma, beta = node.input(1), node.input(2)
    gamma = _tail_parameters(w, node)[0] if gamma is None else gamma
    fields = {"axis": node.attrs["axis"], "epsilon": node.attrs["epsilon"]}
    w.node("LayerNormalization", node, [node.inputs[0], gamma, beta], fields=fields)


@writes("onnx", "RmsNorm", "LpNorm")
def write_onnx_plain_norm(w: Writing, node: Node) -> None:
    a = node.attrs
    if node.op == "LpNorm":
        if len(a["axes"]) != 1 or a["epsilon"] > 1e-6:
            w.refuse(node, f"LpNormalization has one axis and no epsilon: {a['axes']}, {a['epsilon']}")
        write_onnx(w, node, "LpNormalization", node.inputs, {"axis": a["axes"][0], "p": a["p"]})
        return
    if w.options.get("opset", 23) < 23:
        _write_decomposed(w, node)
        return
    gamma = node.input(1) or _tail_parameters(w, node)[0]
    fields = {"axis": a["axis"], "epsilon": a["epsilon"]}
    w.node("RMSNormalization", node, [node.inputs[0], gamma], fields=fields)


@writes("ms", "LpNorm")
def write_ms_l2_norm(w: Writing, node: Node) -> None:
    a, x = node.attrs, node.inputs[0]
    if a["p"] != 2 or x is None or x.rank is None or [i % x.rank for i in a["axes"]] != [x.rank - 1]:
        w.refuse(node, f"a norm with p={a['p']} over axes {a['axes']} is not there, only p=2 over the last one")
    fields = {"axis": node.attrs["axes"], "epsilon": node.attrs["epsilon"]}
    write_fused(w, node, "L2NormalizeFusion", node.inputs, fields, key="activation_type")


_SIMPLE = {
    "onnx": {"mean": "ReduceMean", "sum": "ReduceSum", "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div",
             "sqrt": "Sqrt", "abs": "Abs", "max": "Max", "reshape": "Reshape"},
    "tflite": {"mean": "MEAN", "sum": "SUM", "add": "ADD", "sub": "SUB", "mul": "MUL", "div": "DIV",
               "sqrt": "SQRT", "abs": "ABS", "max": "MAXIMUM", "reshape": "RESHAPE"},
}  # fmt: skip


class _Chain:
    """Emits the simple operators that a normalization is made of, in the container's own names."""

    def __init__(self, w: Writing, node: Node) -> None:
        self.w, self.node, self.names = w, node, _SIMPLE[w.container]

    def __call__(self, name: str, *inputs: Tensor, to: Tensor | None = None) -> Tensor:
        y = to if to is not None else self.w.between(inputs[0], name=f"{self.node.outputs[0].name}/{name}")
        self.w.node(self.names[name], self.node, inputs, [y])
        return y

    def reduce(self, name: str, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Over `axes`, which stay with size 1."""
        rank = len(x.shape or ())
        shape = (
            None if x.shape is None else tuple(1 if i in [a % rank for a in axes] else n for i, n in enumerate(x.shape))
        )
        y = self.w.between(x, shape, f"{self.node.outputs[0].name}/{name}")
        onnx = self.w.container == "onnx"
        fields: dict[str, Any] = {"keepdims": 1} if onnx else {"keep_dims": True}
        inputs = [x]
        if onnx and name == "mean" and self.w.options.get("opset", 18) < 18:
            fields["axes"] = list(axes)
        else:
            inputs.append(self.w.constant(list(axes), np.int64 if onnx else np.int32, "axes"))
        self.w.node(self.names[name], self.node, inputs, [y], fields=fields)
        return y

    def number(self, value: float) -> Tensor:
        x = self.node.inputs[0]
        return self.w.constant(value, np.float32 if x is None else x.dtype, "number")

    def reshape(self, x: Tensor, shape: Sequence[int | None]) -> Tensor:
        y = self.w.between(x, tuple(shape), f"{self.node.outputs[0].name}/reshape")
        onnx = self.w.container == "onnx"
        sizes = [-1 if n is None else n for n in shape]
        target = self.w.constant(sizes, np.int64 if onnx else np.int32, "shape")
        self.w.node(self.names["reshape"], self.node, [x, target], [y], fields={} if onnx else {"new_shape": sizes})
        return y


@writes("tflite", "LayerNorm", "RmsNorm", "InstanceNorm", "GroupNorm")
def _write_decomposed(w: Writing, node: Node) -> None:
    """(x - mean) / sqrt(mean of squares + epsilon) · scale + offset, operator by operator."""
    chain, x, y, a = _Chain(w, node), node.inputs[0], node.outputs[0], node.attrs
    assert x is not None
    if x.shape is None:
        w.refuse(node, "its rank is not known", hint="--inputShape")
    rank, shape = len(x.shape), x.shape
    if node.op == "GroupNorm":
        if sum(n is None for n in shape) > 1 or shape[-1] is None:
            w.refuse(node, "its sizes are not known", hint="--inputShape")
        x = chain.reshape(x, (*shape[:-1], a["groups"], shape[-1] // a["groups"]))
        axes = [*range(1, rank - 1), rank]
    else:
        axes = list(range(1, rank - 1)) if node.op == "InstanceNorm" else list(range(a["axis"] % rank, rank))
    z = x if node.op == "RmsNorm" else chain("sub", x, chain.reduce("mean", x, axes))
    power = chain.reduce("mean", chain("mul", z, z), axes)
    deviation = chain("sqrt", chain("add", power, chain.number(a["epsilon"])))
    steps: list[tuple[str, Tensor]] = [("div", deviation)]
    if node.op == "GroupNorm":
        z = chain.reshape(chain("div", z, deviation), shape)
        steps = []
    steps += [(name, t) for name, t in zip(("mul", "add"), node.inputs[1:]) if t is not None]
    for k, (name, t) in enumerate(steps):
        z = chain(name, z, t, to=y if k == len(steps) - 1 else None)


@writes("tflite", "LpNorm")
def write_tflite_lp_norm(w: Writing, node: Node) -> None:
    """L2_NORMALIZATION where it is that (last axis, epsilon 1e-6); else |x| or x², their sum, and a division."""
    a, x, y = node.attrs, node.inputs[0], node.outputs[0]
    assert x is not None
    if a["p"] == 2 and a["epsilon"] == 1e-6 and a["axes"] in ([-1], [(x.rank or 0) - 1]):
        write_fused(w, node, "L2_NORMALIZATION", [x], key="fused_activation_function")
        return
    chain = _Chain(w, node)
    norm = chain.reduce("sum", chain("abs", x) if a["p"] == 1 else chain("mul", x, x), a["axes"])
    norm = norm if a["p"] == 1 else chain("sqrt", norm)
    # Where all is 0 the result is 0: any positive divisor gives that.
    norm = chain("max", norm, chain.number(max(a["epsilon"], float(np.finfo(np.float32).tiny))))
    made = Node("Div", node.name, [x, norm], [y], {"act": a["act"]}, node.origin)
    write_fused(w, made, "DIV", [x, norm], key="fused_activation_function")


@writes("ms", "Lrn")
@writes("tflite", "Lrn")
@writes("onnx", "Lrn")
def write_lrn(w: Writing, node: Node) -> None:
    a = node.attrs
    fields = {k: a[k] for k in ("alpha", "beta", "bias")}
    if w.container == "onnx":
        fields |= {"size": a["size"], "alpha": a["alpha"] * a["size"]}
        write_onnx(w, node, "LRN", node.inputs, fields, spatial=True)
        return
    x = node.inputs[0]
    if a["size"] % 2 == 0 or x is None or x.rank != 4:
        w.refuse(node, f"a window of {a['size']} channels has no radius, or the input is not 4-D")
    if w.container == "tflite":
        w.node("LOCAL_RESPONSE_NORMALIZATION", node, node.inputs, fields=fields | {"radius": a["size"] // 2})
    else:
        fields |= {"depth_radius": a["size"] // 2, "norm_region": "ACROSS_CHANNELS"}
        w.node("LRN", node, node.inputs, fields=fields)
