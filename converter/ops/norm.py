"""Normalizations per channel, channels-last: BatchNorm, InstanceNorm, GroupNorm."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import read_act
from ._support.c_steps import bounds, broadcast_space, is_f32, refuse_types
from ._support.caffe import axis_of, blob, flat_blob, param, spread
from ._support.layout import first_perm, last_perm, permuted_shape
from ._support.norm_steps import write_decomposed
from ._support.types import fail, need
from ._support.writers import write_onnx


def float_input(node: Node) -> Tensor:
    x = node.required(0)
    need(node, x, "f", "the input")
    return x


def _check_vectors(node: Node, size: int | None, first: int = 1) -> None:
    for t in node.inputs[first:]:
        if t is None or t.shape is None:
            continue
        if len(t.shape) != 1 or (None not in (size, t.shape[0]) and t.shape[0] != size):
            fail(node, f"{t.name!r} has shape {t.shape}, expected ({size},)")


def _infer_channels(node: Node) -> Inferred:
    x = float_input(node)
    if x.shape is not None and len(x.shape) < 2:
        fail(node, f"an input of shape {x.shape} has no channels")
    _check_vectors(node, None if x.shape is None else x.shape[-1])
    return [(x.dtype, x.shape)]


def _wide(x: np.ndarray) -> np.ndarray:
    """Sums of float16 are taken in float32."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def standardized(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon), statistics in float64."""
    mean = x.mean(axes, dtype=np.float64, keepdims=True)
    variance = np.square(x - mean).mean(axes, dtype=np.float64, keepdims=True)
    return ((x - mean) / np.sqrt(variance + epsilon)).astype(np.promote_types(x.dtype, np.float32))


def _normalized(x: np.ndarray, scale: np.ndarray, offset: np.ndarray, groups: int, epsilon: float) -> np.ndarray:
    """x [N,*S,C] standardized over S and each of the groups of channels, then · scale [C] + offset [C].

    Statistics in float64, all else in float32, channel by channel: whole feature maps are read a few times.
    """
    if x.dtype != np.float32 or not x.size:
        parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // max(groups, 1))
        axes = (*range(1, x.ndim - 1), x.ndim)
        return affine(standardized(parts, axes, epsilon).reshape(x.shape), scale, offset, x.dtype)
    batch, channels = x.shape[0], x.shape[-1]

    def of_groups(values: np.ndarray) -> np.ndarray:
        means = values.mean(axis=1, dtype=np.float64).reshape(batch, groups, -1).mean(axis=2)
        return np.repeat(means, channels // groups, axis=1)[:, None]

    rows = x.reshape(batch, -1, channels)
    apart = rows - of_groups(rows).astype(np.float32)
    rest = of_groups(apart)  # what rounding the mean left there
    factor = scale / np.sqrt(of_groups(np.square(apart)) - np.square(rest) + epsilon)
    apart *= factor.astype(np.float32)
    apart += (offset - rest * factor).astype(np.float32)
    return apart.reshape(x.shape)


def affine(y: np.ndarray, scale: Any, offset: Any, dtype: np.dtype) -> np.ndarray:
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
        Case(((2, 4, 5, 3), (3,), (3,), (3,), np.array([0.5, 1.0, 2.0], np.float32)), const=(1, 2, 3)),
        Case(((4, 3), (3,), (3,), (3,), np.array([0.5, 1.0, 2.0], np.float32)), {"epsilon": 0.1}, const=(1, 2, 3)),
        Case(((2, 7, 2), (2,), (2,), (2,), np.array([0.5, 3.0], np.float32)), const=(1, 2, 3)),
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
    return _normalized(x, scale, offset, x.shape[-1], epsilon)


def _infer_group(node: Node) -> Inferred:
    inferred = _infer_channels(node)
    x, groups = node.required(0), node.attrs["groups"]
    channels = x.shape[-1] if x.shape else None
    if groups < 1 or (channels is not None and channels % groups):
        fail(node, f"channels of shape {x.shape} do not split into {groups} groups")
    return inferred


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
    return _normalized(x, scale, offset, groups, epsilon)


@reads("onnx", "ai.onnx.ml::Scaler")
def read_onnx_scaler(r: Reading) -> Tensor:
    """(x - offset) · scale, of each feature or one for all, as scikit-learn has it in front of a network."""
    x = r.input(0)
    offset, scale = (
        np.asarray(r.attr(key, [neutral]), np.float32) for key, neutral in (("offset", 0.0), ("scale", 1.0))
    )
    if x.dtype != np.float32:
        x = r.emit("Cast", x, dtype="float32")
    return r.emit("Mul", r.emit("Sub", x, r.constant(offset)), r.constant(scale))


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
            r.refuse("the number of channels is not known", hint=Setting("input_shape"))
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


@reads("onnx", "MeanVarianceNormalization")
def read_onnx_mean_variance(r: Reading) -> Tensor:
    """(x - mean) / (sqrt(variance) + 1e-9) over `axes`."""
    axes = [int(a) for a in r.attr("axes", None) or [0, 2, 3]]
    x = r.input(0)
    centred = r.emit("Sub", x, r.emit("Reduce", x, mode="mean", axes=axes, keep_dims=True))
    variance = r.emit("Reduce", r.emit("Mul", centred, centred), mode="mean", axes=axes, keep_dims=True)
    deviation = r.emit("Add", r.emit("Sqrt", variance), r.constant(1e-9, x.dtype))
    return r.emit("Div", centred, deviation)


@reads("ms", "BatchNorm", "FusedBatchNorm")
def read_ms_batch_norm(r: Reading) -> Tensor:
    """BatchNorm holds [x, mean, variance] and no affine part; FusedBatchNorm [x, scale, offset, mean, variance]."""
    epsilon = float(r.attr("epsilon", 1e-4))
    if r.op == "FusedBatchNorm":
        return r.emit("BatchNorm", *(r.input(i) for i in range(5)), epsilon=epsilon)
    mean = r.input(1)
    if mean.shape is None or None in mean.shape:
        r.refuse("the number of channels is not known")
    one, zero = r.constant(np.ones(mean.static_shape, np.float32)), r.constant(np.zeros(mean.static_shape, np.float32))
    return r.emit("BatchNorm", r.input(0), one, zero, mean, r.input(2), epsilon=epsilon)


@reads("ms", "ScaleFusion")
def read_ms_scale(r: Reading) -> Tensor:
    """x · scale (+ offset) along `axis`, as BatchNorm without statistics where that is the last one."""
    x, scale, offset = r.input(0), r.input(1), r.optional(2)
    act = read_act(r, "ms", "activation_type")["act"]
    rank = r.rank(x)
    axis = r.axis(r.attr("axis", 0), rank)
    if scale.shape is None or None in scale.shape or axis + len(scale.shape) > rank:
        r.refuse(f"a scale of shape {scale.shape} at axis {axis}")
    if axis == rank - 1 and len(scale.shape) == 1 and offset is not None and act == "none":
        zero, one = (r.constant(np.full(scale.static_shape, v, np.float32)) for v in (0, 1))
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


def _folded(w: Writing, node: Node) -> tuple[Tensor, Tensor]:
    """BatchNorm's parameters as x · factor + term."""
    values = [None if t is None or t.data is None else t.real().astype(np.float64) for t in node.inputs[1:]]
    if any(v is None for v in values):
        w.refuse(node, "parameters that are computed at run time have no form there")
    scale, offset, mean, variance = values
    factor = scale / np.sqrt(variance + node.attrs["epsilon"])
    term = offset - mean * factor
    name = node.outputs[0].name
    return w.constant(factor, np.float32, f"{name}/scale"), w.constant(term, np.float32, f"{name}/offset")


@reads("mindir", "BatchNorm", "BatchNormExt", "FusedBatchNorm", "FusedBatchNormEx")
def read_mindir_batch_norm(r: Reading) -> Tensor:
    if bool(r.arg(5, "training" if r.op == "BatchNormExt" else "is_training", False)):
        r.refuse("it is in training mode", hint="network.set_train(False) before the export")
    at, default = (7, 1e-5) if r.op == "BatchNormExt" else (6, 1e-5)
    epsilon = r.real(at, "epsilon", default)
    parameters = [r.input(i) for i in range(1, 5)]
    return r.channels_first(r.emit("BatchNorm", r.channels_last(r.input(0)), *parameters, epsilon=epsilon))


@reads("mindir", "InstanceNorm")
def read_mindir_instance_norm(r: Reading) -> Tensor:
    """Its statistics of training are inputs 3 and 4 and are not used."""
    x, epsilon = r.channels_last(r.input(0)), r.real(6, "epsilon", 1e-5)
    return r.channels_first(r.emit("InstanceNorm", x, r.input(1), r.input(2), epsilon=epsilon))


@reads("mindir", "GroupNorm")
def read_mindir_group_norm(r: Reading) -> Tensor:
    x = r.input(0)
    channels = x.known_shape[1] if r.rank(x) > 1 else None
    if channels is None:
        r.refuse("the number of channels is not known", hint=Setting("input_shape"))
    parameters = [t or r.constant(np.full(channels, v), x.dtype) for t, v in ((r.optional(2), 1), (r.optional(3), 0))]
    attrs = {"groups": r.whole(1, "num_groups"), "epsilon": r.real(4, "eps", 1e-5)}
    return r.channels_first(r.emit("GroupNorm", r.channels_last(x), *parameters, **attrs))


@reads("caffe", "BatchNorm")
def read_caffe_batch_norm(r: Reading) -> Tensor:
    """Mean and variance are stored times a factor, the third weight; 0 makes them 0."""
    p, x = param(r, "batch_norm_param"), r.input(0)
    if p.HasField("use_global_stats") and not p.use_global_stats:
        r.refuse("use_global_stats: false takes the statistics of each batch, which are not stored")
    mean, variance = flat_blob(r, 0).value, flat_blob(r, 1).value
    stored = float(flat_blob(r, 2).value[0]) if len(r.options["blobs"]) > 2 else 1.0
    factor = np.float32(0 if stored == 0 else 1 / stored)
    ends = [np.ones_like(mean), np.zeros_like(mean), mean * factor, variance * factor]
    parameters = [r.constant(v, np.float32) for v in ends]
    return r.channels_first(r.emit("BatchNorm", r.channels_last(x), *parameters, epsilon=p.eps))


@reads("caffe", "Scale", "Bias")
def read_caffe_scale(r: Reading) -> Tensor:
    """Products with, and sums of, a weight or the second input, whose axes are those of x from `axis` on."""
    p, x = param(r, "scale_param" if r.op == "Scale" else "bias_param"), r.input(0)
    axis = axis_of(r, x, p.axis)
    other, first = r.optional(1), 0
    if other is None:
        other, first = spread(r, x, blob(r, 0), axis, p.num_axes), 1
    else:
        behind = r.rank(x) - axis - r.rank(other)
        if behind < 0:
            r.refuse(f"an input of shape {other.shape} does not fit {x.shape} from axis {axis} on")
        axes = [r.rank(other) + i for i in range(behind)]
        other = r.emit("ExpandDims", other, axes=axes) if axes else other
    y = _along_channels(r, "Mul" if r.op == "Scale" else "Add", x, other, axis)
    if r.op == "Scale" and p.bias_term:
        y = _along_channels(r, "Add", y, spread(r, x, blob(r, first), axis, p.num_axes), axis)
    return y


def _along_channels(r: Reading, name: str, x: Tensor, other: Tensor, axis: int) -> Tensor:
    """x and one value per channel, channels last, where convolutions have them."""
    if axis != 1 or r.rank(x) < 3 or other.data is None or other.data.size != other.known_shape[0]:
        return r.emit(name, x, other)
    flat = r.constant(other.data.reshape(-1), name=other.name)
    return r.channels_first(r.emit(name, r.channels_last(x), flat))


@reads("caffe", "MVN")
def read_caffe_mvn(r: Reading) -> Tensor:
    """(x - mean) / (deviation + eps), over the positions of each channel, or over all channels, too."""
    p, x = param(r, "mvn_param"), r.input(0)
    axes = list(range(1 if p.across_channels else 2, r.rank(x)))
    centred = r.emit("Sub", x, r.emit("Reduce", x, mode="mean", axes=axes, keep_dims=True))
    if not p.normalize_variance:
        return centred
    variance = r.emit("Reduce", r.emit("Mul", centred, centred), mode="mean", axes=axes, keep_dims=True)
    return r.emit("Div", centred, r.emit("Add", r.emit("Sqrt", variance), r.constant(p.eps, x.dtype)))


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
            w.refuse(node, "GroupNormalization per channel needs opset 21", hint=Setting("opset", 21))
    write_onnx(w, node, names.get(node.op, "GroupNormalization"), node.inputs, fields, spatial=True)


@writes("ms", "InstanceNorm", "GroupNorm")
def write_ms_channel_norm(w: Writing, node: Node) -> None:
    """Between Transposes: the runtime works on NC… A GroupNorm is an InstanceNorm of its groups, then a scale."""
    x, y = node.required(0), node.outputs[0]
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
        w.refuse(node, "its sizes are not known", hint=Setting("input_shape"))
    groups = node.attrs["groups"]
    parts = (n, groups, c // groups * h, wide)
    split, standard = (w.between(x, parts, f"{y.name}/{name}") for name in ("groups", "standard"))
    w.node("Reshape", node, [before, w.constant(parts, np.int32, "shape")], [split])
    plain = [w.constant(np.full(groups, v), np.float32, f"{y.name}/plain") for v in (1, 0)]
    w.node("InstanceNorm", node, [split, *plain], [standard], fields=fields)
    w.node("Reshape", node, [standard, w.constant(before.shape, np.int32, "shape")], [after])
    last = w.between(y, name=f"{y.name}/standardized")
    w.node("Transpose", node, [after, w.constant(back, np.int32, "perm")], [last])
    w.node("ScaleFusion", node, [last, *node.inputs[1:]], [y], fields={"axis": -1, "activation_type": 0})


writes("tflite", "InstanceNorm", "GroupNorm")(write_decomposed)


@writes("c", "BatchNorm")
def write_c_batch_norm(w: Writing, node: Node) -> None:
    """x · factor + term."""
    x, y = node.required(0), node.outputs[0]
    if not is_f32(x, y):
        refuse_types(w, node)
    factor, term = _folded(w, node)
    product = w.between(y, name=f"{y.name}/product")
    for function, a, b, out in (("BITLITE_MUL", x, factor, product), ("BITLITE_ADD", product, term, y)):
        fields = {"space": broadcast_space(w, node, (a, b)), "function": function} | bounds(node)
        w.node("binary_f32", node, [a, b], [out], fields=fields)
