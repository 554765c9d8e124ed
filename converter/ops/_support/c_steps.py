"""What the rows' writers for C share: arguments of the kernels in `formats/c/kernels`, by the names of their structs.

The multipliers are those of `native/`, so that the generated code gives the bits of a `Session`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import Setting
from ...ir import Node, Tensor
from ...numeric.qparams import ACT_BOUNDS, QuantParam, activation_range, foldable, quantized_multiplier
from ...schema.writing import Writing
from .integer import per_tensor

Fields = dict[str, Any]
_SPACE = 4  # axes of bitlite_broadcast
_COPY = 5  # axes of bitlite_copy_args
_MOST_PRODUCTS = 1 << 17  # of codes whose sum fits int32


def is_s8(*tensors: Tensor | None) -> bool:
    """Whether all are int8 codes with one scale each."""
    return all(per_tensor(t) and t.dtype == np.int8 for t in tensors)


def is_f32(*tensors: Tensor | None) -> bool:
    """Whether all are float32, or constants that stand for reals."""
    return all(t is not None and (t.dtype == np.float32 or _stands_for_reals(t)) for t in tensors)


def _stands_for_reals(t: Tensor) -> bool:
    return t.is_const and (t.dtype == np.float16 or (t.quant is not None and t.dtype.kind in "iu"))


def real_constant(t: Tensor) -> np.ndarray:
    """The float32 values of a constant of a float operator."""
    return np.asarray(t.real(), np.float32)


def real_operand(w: Writing, t: Tensor) -> Tensor:
    """An operand of a float kernel: a constant as float32, anything else as it is."""
    return t if not t.is_const or t.dtype == np.float32 else w.constant(real_constant(t), np.float32, t.name)


def refuse_types(w: Writing, node: Node) -> None:
    """Refuses the node for the types of its inputs and outputs."""
    types = " → ".join(
        ", ".join(t.type_text() for t in side if t is not None) for side in (node.inputs[:2], node.outputs)
    )
    hint = ("int8 with one scale per tensor (", Setting("quant_type", "PostTraining"), ") or float32 throughout")
    w.refuse(node, f"no C kernel takes {types}", hint=hint)


def gemmlowp(w: Writing) -> bool:
    """Whether sums round as the MindSpore Lite kernels do."""
    return w.graph.meta.get("rounding", "rne_f32") == "gemmlowp"


def codes(w: Writing, node: Node) -> Fields:
    """bitlite_codes of the node's output after its fused activation and attribute bounds."""
    y = node.outputs[0]
    low, high = activation_range(clamp_of(w, node), y.qparams, y.dtype)
    return {"zero_point": zero(y), "qmin": low, "qmax": high}


def clamp_of(w: Writing, node: Node) -> str:
    """The fused activation, where it only clamps; refuses another."""
    act: str = node.attrs.get("act", "none")
    if not foldable(act):
        w.refuse(node, f"its fused {act} has no int8 form")
    return act


def zero(t: Tensor) -> int:
    return int(t.qparams.zero_point[0])


def scale(t: Tensor) -> float:
    return float(t.qparams.scale[0])


def ratio(x: Tensor, y: Tensor) -> np.float32:
    """What takes codes of x to codes of y."""
    return np.float32(scale(x) / scale(y))


def same_codes(x: Tensor, y: Tensor) -> bool:
    return x.qparams == y.qparams and x.dtype == y.dtype


def multiplier(value: Any, fixed_point: bool) -> Any:
    """A positive real, or an array of them, as bitlite_scale."""
    if not fixed_point:
        return np.float32(value) if np.ndim(value) == 0 else np.asarray(value, np.float64).astype(np.float32)
    mantissa, exponent = quantized_multiplier(value)
    if np.ndim(value) == 0:
        return {"mantissa": int(mantissa), "exponent": int(exponent)}
    return np.stack([mantissa, exponent], -1)


def layer_scale(w: Writing, qx: QuantParam, qw: QuantParam, qy: QuantParam) -> Any:
    """bitlite_scale[n] of sums of products, in the profile's own arithmetic."""
    if not gemmlowp(w):
        return multiplier(qx.scale * qw.scale / qy.scale, False)
    product = (qx.scale.astype(np.float32) * qw.scale.astype(np.float32)).astype(np.float64)
    return multiplier(product / float(np.float32(qy.scale[0])), True)


def bounds(node: Node) -> Fields:
    """low and high of a float kernel: those of the fused activation where it clamps."""
    low, high = ACT_BOUNDS.get(node.attrs.get("act", "none"), (None, None))
    return {
        "low": np.float32(-math.inf if low is None else low),
        "high": np.float32(math.inf if high is None else high),
    }


def float_step(w: Writing, node: Node, kernel: str, inputs: Sequence[Tensor], fields: Fields) -> None:
    """A float kernel, then the node's fused activation where that does not only clamp."""
    act, y = node.attrs.get("act", "none"), node.outputs[0]
    if foldable(act):
        w.node(kernel, node, inputs, fields=fields)
        return
    raw = w.between(y, name=f"{y.name}/{act}")
    w.node(kernel, node, inputs, [raw], fields=fields)
    w.node("unary_f32", node, [raw], [y], fields=unary(act.upper(), y))


def unary(function: str, y: Tensor, a: float = 0.0, b: float = 0.0) -> Fields:
    """bitlite_unary_f32_args of a function."""
    return {"count": count(y), "function": f"BITLITE_{function}", "a": np.float32(a), "b": np.float32(b)}


def count(t: Tensor) -> int:
    return math.prod(t.static_shape)


def window(w: Writing, node: Node, kernel: Sequence[int]) -> Fields:
    """bitlite_window of a 1-D or 2-D window over x [N,*S,C]; refuses a 3-D one."""
    x, y, a = node.required(0).static_shape, node.outputs[0].static_shape, node.attrs
    if len(x) not in (3, 4):
        w.refuse(node, f"its window has {len(x) - 2} axes, C kernels take 1 or 2")
    lift = [1] if len(x) == 3 else []
    sizes = {
        "in": [*lift, *x[1:-1]], "out": [*lift, *y[1:-1]], "kernel": [*lift, *kernel],
        "stride": [*lift, *a["stride"]], "dilation": [*lift, *a["dilation"]],
    }  # fmt: skip
    fields = {f"{what}_{axis}": int(size[i]) for what, size in sizes.items() for i, axis in enumerate("hw")}
    pads = [*([0, 0] if lift else []), *a["pad"]]
    fields |= {"pad_top": int(pads[0]), "pad_left": int(pads[2])}
    return {"batch": x[0], "in_c": x[-1], "out_c": y[-1]} | fields


def matrix(rows: int, k: int, n: int) -> Fields:
    """bitlite_window of a matrix product: rows as pixels of a 1x1 window."""
    ones = dict.fromkeys(
        ("batch", "in_h", "out_h", "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w"), 1
    )
    return ones | {"in_w": rows, "out_w": rows, "in_c": k, "out_c": n, "pad_top": 0, "pad_left": 0}


def layer(w: Writing, node: Node, win: Fields, weights: np.ndarray | None = None, group: int = 1) -> None:
    """A convolution or matrix product with constant weights [n, *taps, k], int8, float or from one to the other.

    weights: stored values in that order; the node's input 1 when None.
    """
    x, y, weight, bias = node.required(0), node.outputs[0], node.required(1), node.input(2)
    if not weight.is_const or (bias is not None and not bias.is_const):
        w.refuse(node, "its weight and bias must be constants")
    if node.attrs.get("dynamic", False):
        w.refuse(node, "it quantizes its input while running", hint=Setting("quant_type", "PostTraining"))
    stored = weight.value if weights is None else weights
    n, per = stored.shape[0], math.prod(stored.shape[1:])
    kind = "depthwise" if group > 1 and group == win["in_c"] else "conv"
    if per > _MOST_PRODUCTS:
        w.refuse(node, f"{per} products in a sum, C kernels take {_MOST_PRODUCTS}")
    source = _codes_behind(w, x, weight) if is_f32(x, y) else None
    if source is None and not is_s8(x, y):
        if not is_f32(x, y, weight):
            refuse_types(w, node)
        values = real_constant(weight).reshape(weight.value.shape)
        if weights is not None:
            values = real_constant(Tensor(weight.name, weights.dtype, weights.shape, weights, _moved(weight, weights)))
        fields = {"window": win, "group": group, "weights": _taps_first(values) if kind == "depthwise" else values}
        fields["bias"] = None if bias is None else real_constant(bias)
        float_step(w, node, f"{kind}_f32", [x], fields | bounds(node))
        return
    x = source or x
    qw = weight.qparams
    flaw = "int8 of one scale per output channel" if weight.dtype != np.int8 or qw.var_corr is not None else ""
    flaw = flaw or ("int8 with the zero point 0" if not qw.symmetric else "")
    if flaw:
        w.refuse(node, f"its weight must be {flaw}")
    sums = stored.reshape(n, -1).astype(np.int64).sum(1)
    integer = np.zeros(n, np.int64) if bias is None or bias.dtype != np.int32 else bias.value.astype(np.int64)
    fields = {
        "window": win, "group": group, "x_zero": zero(x), "scale_step": int(len(qw.scale) > 1),
        "bias": (integer - zero(x) * sums).astype(np.int32),
    }  # fmt: skip
    if source is None:
        kernel, taps = f"{kind}_s8", _taps_first(stored) if kind == "depthwise" else stored
        w.node(kernel, node, [x], fields=fields | {
            "weights": taps, "out": codes(w, node), "scale": layer_scale(w, x.qparams, qw, y.qparams),
        })  # fmt: skip
        return
    real_bias = np.zeros(n, np.float32) if bias is None else real_constant(bias)
    scales = (x.qparams.scale * qw.scale).astype(np.float32)
    fields |= {"weights": stored, "scale": scales, "bias_f32": real_bias} | bounds(node)
    float_step(w, node, "conv_s8_f32", [x], fields)


def lifted(weights: np.ndarray) -> np.ndarray:
    """A 1-D window's weights [n, k, c] as those of height 1."""
    return weights[:, None] if weights.ndim == 3 else weights


def _moved(weight: Tensor, weights: np.ndarray) -> QuantParam | None:
    """The parameters of a weight whose output channels came to axis 0."""
    q = weight.quant
    if q is None or q.axis is None:
        return q
    return QuantParam(q.scale, q.zero_point, 0, q.bits, q.var_corr, q.mean_corr)


def _codes_behind(w: Writing, x: Tensor, weight: Tensor) -> Tensor | None:
    """The int8 codes that a float layer's input is made of, where the layer has an int8 weight to meet them."""
    cast = w.producer(x)
    if cast is None or cast.op != "Dequantize" or not is_s8(cast.inputs[0]):
        return None
    q = weight.quant
    return cast.required(0) if q is not None and weight.dtype == np.int8 and q.var_corr is None else None


def _taps_first(weights: np.ndarray) -> np.ndarray:
    """[n, *taps, 1] → [*taps, n]"""
    return np.ascontiguousarray(np.moveaxis(weights[..., 0], 0, -1))


def broadcast_space(w: Writing, node: Node, operands: Sequence[Tensor]) -> Fields:
    """bitlite_broadcast of two operands to the node's output, neighbouring axes merged where both allow it."""
    y = node.outputs[0].static_shape
    steps = [_broadcast_strides(t.static_shape, len(y)) for t in operands]
    extents: list[int] = []
    strides: tuple[list[int], list[int]] = ([], [])
    for d, n in enumerate(y):
        if n == 1:
            continue
        if extents and all(s[-1] == own[d] * n for s, own in zip(strides, steps)):
            extents[-1] *= n
            for s, own in zip(strides, steps):
                s[-1] = own[d]
        else:
            extents.append(n)
            for s, own in zip(strides, steps):
                s.append(own[d])
    if len(extents) > _SPACE:
        w.refuse(node, f"its operands broadcast over {len(extents)} axes, C kernels take {_SPACE}")
    lead = _SPACE - len(extents)
    a, b = ([0] * lead + s for s in strides)
    return {"extent": [1] * lead + extents, "a_stride": a, "b_stride": b}


def _broadcast_strides(shape: Sequence[int], rank: int) -> list[int]:
    strides, step = [0] * rank, 1
    for i, n in enumerate(reversed(shape)):
        strides[rank - 1 - i] = 0 if n == 1 else step
        step *= n
    return strides


def outer_n_inner(shape: Sequence[int], first: int, last: int) -> Fields:
    """A shape as [outer, n, inner], n along the axes first..last."""
    before, along, behind = shape[:first], shape[first : last + 1], shape[last + 1 :]
    return {"outer": math.prod(before), "n": math.prod(along), "inner": math.prod(behind)}


def copy(
    w: Writing, node: Node, x: Tensor, y: Tensor, extents: Sequence[int], x_strides: Sequence[int],
    y_strides: Sequence[int], x_offset: int = 0, y_offset: int = 0,
) -> None:  # fmt: skip
    """Moves elements; strides and offsets count elements."""
    size = x.dtype.itemsize
    axes = [(n, sx * size, sy * size) for n, sx, sy in zip(extents, x_strides, y_strides) if n != 1]
    run = size
    while axes and axes[-1][1] == axes[-1][2] == run:
        run *= axes.pop()[0]
    merged: list[tuple[int, int, int]] = []
    for n, sx, sy in axes:
        if merged and merged[-1][1] == sx * n and merged[-1][2] == sy * n:
            merged[-1] = (merged[-1][0] * n, sx, sy)
        else:
            merged.append((n, sx, sy))
    if len(merged) > _COPY:
        w.refuse(node, f"it moves elements along {len(merged)} axes, C kernels take {_COPY}")
    merged = [(1, 0, 0)] * (_COPY - len(merged)) + merged
    n, sx, sy = ([row[i] for row in merged] for i in range(3))
    w.node("copy", node, [x], [y], fields={
        "extent": n, "x_stride": sx, "y_stride": sy, "x_offset": x_offset * size, "y_offset": y_offset * size,
        "run_bytes": run,
    })  # fmt: skip


def strides_of(shape: Sequence[int]) -> list[int]:
    """Elements between neighbours along each axis."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]
