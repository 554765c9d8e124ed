"""Rows of convolutions, matrix products and pools: floats, int8 and uint8 codes, int16 with int8 weights, int4 weights,
and floats on int8 weights ("hybrid").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bitlite.converter.numeric.qparams import QuantParam

from .table import ACTS, CODES, ROUNDING, Case, Draw, Row, real, rounded

DTYPES = ("float32", *CODES, "int8 w4", "hybrid", "hybrid w4")
HYBRID = 0.6 / 127
"""LiteRT rounds the float input of a layer with int8 weights to 8 bits of its largest magnitude while it runs; here
such weights are read as the floats that they stand for. So a result may be off by what half a step of each input makes
of it."""


def weight(draw: Draw, dtype: str, shape: Sequence[int], axis: int, each: bool) -> tuple[np.ndarray, QuantParam | None]:
    """A weight and its parameters: symmetric, one scale per entry of `axis` or one for all; uint8 with a zero point."""
    if dtype == "float32":
        return draw.values(dtype, shape, -1, 1), None
    if dtype == "uint8":
        return draw.values(dtype, shape), rounded(QuantParam(0.01, int(draw.rng.integers(100, 150))))
    most = 7 if dtype.endswith("w4") else 127
    scale = draw.rng.uniform(0.5, 1.5, shape[axis] if each else 1) / most
    q = rounded(QuantParam(scale, np.zeros(len(scale)), axis if each else None, 8))
    return draw.rng.integers(-most, most + 1, shape).astype(np.int8), q


def layer(
    op: str, draw: Draw, dtype: str, x: Sequence[int], w: Sequence[int], axis: int, sums: Any, options: dict[str, Any],
    *, each: bool, bias: bool, act: str = "NONE", order: Sequence[int] = (0, 1, 2), first: Sequence[Any] = (),
    version: int = 1,
) -> Case:  # fmt: skip
    """A case of a layer with input, weight and bias. sums(x, w) → the products' sums of reals, output channels last."""
    kind = {"int8 w4": "int8", "hybrid": "float32", "hybrid w4": "float32"}.get(dtype, dtype)
    data, qx = draw.values(kind, x, -1, 1), draw.params(kind, -1, 1)
    kernel, qw = weight(draw, dtype, w, axis, each and dtype != "uint8")
    total = sums(real(data, qx), real(kernel, qw))
    b: np.ndarray | None = None
    qb: QuantParam | None = None
    if bias:
        b = draw.rng.uniform(-1, 1, total.shape[-1]).astype(np.float32)
        if qx is not None and qw is not None:
            scale = np.broadcast_to(qx.scale * qw.scale, total.shape[-1:] if len(qw.scale) > 1 else (1,))
            qb = rounded(QuantParam(scale, np.zeros(len(scale)), 0 if len(scale) > 1 else None, 32))
            b = np.rint(b / scale).astype(np.int64 if kind == "int16" else np.int32)
        total = total + real(b, qb)
    clip = {"RELU": (0, np.inf), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}.get(act, (-np.inf, np.inf))
    truth = np.clip(total, *clip)
    options = {"fused_activation_function": act} | options
    inputs: list[Any] = list(first)
    slots = [data, kernel, b]
    inputs += [slots[i] for i in order]
    at = {slot: len(first) + i for i, slot in enumerate(order)}
    while inputs[-1] is None:
        inputs.pop()
    const = [i for i in range(len(inputs)) if i != at[0] and inputs[i] is not None]
    slack = np.abs(sums(np.ones(x), np.abs(real(kernel, qw)))).max() * np.abs(data).max() if "hybrid" in dtype else 0
    return Case(
        op, inputs, options, const=tuple(const), absolute=HYBRID * float(slack),
        quant={at[0]: qx, at[1]: qw, at[2]: qb},
        output_quant=(draw.fitting(kind, truth),), outputs=(np.dtype(kind),), steps=ROUNDING,
        truth=truth if qx is not None else None,
        types={at[1]: "INT4"} if dtype.endswith("w4") else {}, version=version,
    )  # fmt: skip


def _windows(n: int, k: int, s: int, d: int, same: bool) -> tuple[np.ndarray, int]:
    """[out, k] positions of a window's taps, and the output size; outside is negative or ≥ n."""
    reach = (k - 1) * d + 1
    out = -(-n // s) if same else (n - reach) // s + 1
    before = max((out - 1) * s + reach - n, 0) // 2 if same else 0
    return np.arange(out)[:, None] * s - before + np.arange(k) * d, out


def _sums(stride: Sequence[int], dilation: Sequence[int], same: bool, depthwise: bool = False) -> Any:
    """The convolution in float64. Weights [O, *K, C/group], depthwise [1, *K, C·m]."""

    def run(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        spatial = x.ndim - 2
        for a in range(spatial):
            at, out = _windows(x.shape[1 + 2 * a], w.shape[1 + a], stride[a], dilation[a], same)
            inside = (at >= 0) & (at < x.shape[1 + 2 * a])
            x = np.take(x, np.where(inside, at, 0), axis=1 + 2 * a)
            x = x * inside.reshape([1] * (1 + 2 * a) + [out, at.shape[1]] + [1] * (x.ndim - 3 - 2 * a))
        x = np.moveaxis(x, range(2, 2 + 2 * spatial, 2), range(1 + spatial, 1 + 2 * spatial))
        if depthwise:
            many = w.shape[-1] // x.shape[-1]
            x = np.repeat(x, many, -1)
            return (x * w[0]).sum(tuple(range(1 + spatial, 1 + 2 * spatial)))
        groups = x.shape[-1] // w.shape[-1]
        parts = zip(np.split(x, groups, -1), np.split(w, groups))
        axes = list(range(1 + spatial, 2 + 2 * spatial))
        return np.concatenate([np.tensordot(p, k, (axes, list(range(1, spatial + 2)))) for p, k in parts], -1)

    return run


def _conv(
    draw: Draw, dtype: str, size: tuple[int, ...], kernel: tuple[int, int], outputs: int, stride: tuple[int, int],
    dilation: tuple[int, int], padding: str, act: str, each: bool, bias: bool, group: int,
) -> Case | None:  # fmt: skip
    channels = size[-1]
    if channels % group or outputs % group or (group > 1 and dtype not in ("float32", "int8")):
        return None
    if padding == "VALID" and any((k - 1) * d + 1 > n for k, d, n in zip(kernel, dilation, size[1:3])):
        return None
    options = {"padding": padding, "stride_h": stride[0], "stride_w": stride[1]}
    options |= {"dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}
    sums = _sums(stride, dilation, padding == "SAME")
    shape = (outputs, *kernel, channels // group)
    return layer("CONV_2D", draw, dtype, size, shape, 0, sums, options, each=each, bias=bias, act=act, version=3)


def _depthwise(
    draw: Draw, dtype: str, size: tuple[int, ...], kernel: tuple[int, int], many: int, stride: int,
    dilation: tuple[int, int], padding: str, act: str, each: bool, bias: bool,
) -> Case | None:  # fmt: skip
    if padding == "VALID" and any((k - 1) * d + 1 > n for k, d, n in zip(kernel, dilation, size[1:3])):
        return None
    # Without a bias LiteRT ends the process.
    each = each or dtype == "hybrid"  # LiteRT reads one scale per channel there, beyond the end of fewer
    options = {"padding": padding, "stride_h": stride, "stride_w": stride, "depth_multiplier": many}
    options |= {"dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}
    sums, shape = _sums((stride, stride), dilation, padding == "SAME", True), (1, *kernel, size[-1] * many)
    return layer(
        "DEPTHWISE_CONV_2D", draw, dtype, size, shape, 3, sums, options, each=each, bias=bias, act=act, version=3
    )


def _conv_3d(
    draw: Draw, dtype: str, size: tuple[int, ...], kernel: tuple[int, ...], stride: int, dilation: int, padding: str,
    act: str, bias: bool,
) -> Case | None:  # fmt: skip
    if padding == "VALID" and any((k - 1) * dilation + 1 > n for k, n in zip(kernel, size[1:4])):
        return None
    options: dict[str, Any] = {"padding": padding} | {f"stride_{a}": stride for a in "dhw"}
    options |= {f"dilation_{a}_factor": dilation for a in "dhw"}

    def sums(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return _sums((stride,) * 3, (dilation,) * 3, padding == "SAME")(x, np.moveaxis(w, -1, 0))

    shape = (*kernel, size[-1], 4)
    return layer("CONV_3D", draw, dtype, size, shape, 4, sums, options, each=False, bias=bias, act=act)


def _transpose_conv(
    draw: Draw, dtype: str, size: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int], padding: str,
    act: str, each: bool, bias: bool,
) -> Case | None:  # fmt: skip
    same = padding == "SAME"
    out = [n * s if same else (n - 1) * s + max(k, s) for n, s, k in zip(size[1:3], stride, kernel)]
    if same and any(k < s for k, s in zip(kernel, stride)):
        return None
    shape = np.int32([size[0], *out, 5])

    def sums(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        full = np.zeros((size[0], *[s * (n - 1) + k for n, s, k in zip(size[1:3], stride, kernel)], 5))
        for i, j in np.ndindex(*kernel):
            rows = slice(i, i + stride[0] * (size[1] - 1) + 1, stride[0])
            columns = slice(j, j + stride[1] * (size[2] - 1) + 1, stride[1])
            full[:, rows, columns] += x @ w[:, i, j].T
        before = [max(k - s, 0) // 2 if same else 0 for k, s in zip(kernel, stride)]
        y = np.zeros(tuple(shape))
        part = full[:, before[0] : before[0] + out[0], before[1] : before[1] + out[1]]
        y[:, : part.shape[1], : part.shape[2]] = part
        return y

    options = {"padding": padding, "stride_h": stride[0], "stride_w": stride[1]}
    return layer(
        "TRANSPOSE_CONV", draw, dtype, size, (5, *kernel, size[-1]), 0, sums, options, each=each, bias=bias, act=act,
        order=(1, 0, 2), first=(shape,), version=4 if act != "NONE" else 3,
    )  # fmt: skip


def _fully_connected(
    draw: Draw, dtype: str, size: tuple[int, ...], outputs: int, act: str, each: bool, bias: bool, keep: bool
) -> Case:
    inner = size[-1] if keep or len(size) < 3 else int(np.prod(size[1:]))
    options = {"keep_num_dims": keep}

    def sums(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        rows = x if keep else x.reshape(-1, inner)
        return rows @ w.T

    return layer(
        "FULLY_CONNECTED", draw, dtype, size, (outputs, inner), 0, sums, options, each=each, bias=bias, act=act,
        version=12 if each else 5,
    )  # fmt: skip


def _batch_matmul(draw: Draw, dtype: str, shapes: tuple[Any, Any], adj_x: bool, adj_y: bool, const: bool) -> Case:
    def turned(shape: tuple[int, ...], flag: bool) -> tuple[int, ...]:
        return (*shape[:-2], shape[-1], shape[-2]) if flag else shape

    a, b = (draw.values(dtype, turned(s, f), -2, 2) for s, f in zip(shapes, (adj_x, adj_y)))
    qa, qb = draw.params(dtype, -2, 2), draw.params(dtype, -2, 2)
    left, right = (np.swapaxes(real(v, q), -1, -2) if f else real(v, q) for v, q, f in ((a, qa, adj_x), (b, qb, adj_y)))
    truth = left @ right
    options = {"adj_x": adj_x, "adj_y": adj_y}
    return Case(
        "BATCH_MATMUL", [a, b], options, const=(1,) if const else (), quant={0: qa, 1: qb}, steps=ROUNDING,
        output_quant=(draw.fitting(dtype, truth),), truth=truth if qa else None, version=3 if qa else 1,
    )  # fmt: skip


def _pool(op: str, dtypes: tuple[str, ...]) -> Row:
    def make(
        draw: Draw,
        dtype: str,
        size: tuple[int, ...],
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: str,
        act: str,
    ) -> Case | None:
        if padding == "VALID" and any(k > n for k, n in zip(kernel, size[1:3])):
            return None
        options = {"padding": padding, "stride_h": stride[0], "stride_w": stride[1], "filter_height": kernel[0]}
        options |= {"filter_width": kernel[1], "fused_activation_function": act}
        q = draw.params(dtype)
        version = {"int8": 2, "int16": 3}.get(dtype, 1)
        # LiteRT's average of codes rounds once, in integers: halves away from zero.
        steps = ROUNDING if op == "AVERAGE_POOL_2D" and q is not None else 0
        return Case(
            op, [draw.values(dtype, size)], options, quant={0: q}, output_quant=(q,), steps=steps, version=version
        )

    axes: dict[str, tuple[Any, ...]] = {
        "size": ((1, 6, 7, 3), (2, 5, 5, 16), (1, 1, 1, 8), (2, 9, 4, 33)), "kernel": ((2, 2), (3, 3), (1, 3), (5, 4)),
        "stride": ((1, 1), (2, 2), (3, 1)), "padding": ("SAME", "VALID"), "act": ACTS,
    }  # fmt: skip
    return Row(op, make, dtypes, axes)


_SIZES = ((1, 6, 7, 4), (2, 5, 5, 3), (1, 9, 8, 16), (1, 1, 1, 8))
_KERNELS = ((1, 1), (3, 3), (2, 3), (5, 2))
_COMMON: dict[str, tuple[Any, ...]] = {
    "padding": ("SAME", "VALID"), "act": ACTS, "each": (True, False), "bias": (True, False)
}  # fmt: skip
_PRODUCTS = (
    ((3, 5), (5, 4)), ((2, 3, 5), (2, 5, 4)), ((2, 3, 5), (5, 4)), ((1, 3, 5), (4, 5, 2)), ((2, 1, 3, 5), (1, 4, 5, 2)),
    ((1, 5), (5, 1)),
)  # fmt: skip
ROWS = [
    Row(
        "CONV_2D",
        _conv,
        DTYPES,
        {
            "size": _SIZES,
            "kernel": _KERNELS,
            "outputs": (1, 8, 6),
            "stride": ((1, 1), (2, 2), (1, 3)),
            "dilation": ((1, 1), (1, 1), (2, 1), (2, 3)),
            "group": (1, 1, 1, 2),
        }
        | _COMMON
        | {"bias": (True,)},
    ),
    Row(
        "DEPTHWISE_CONV_2D",
        _depthwise,
        ("float32", *CODES, "hybrid"),
        {"size": _SIZES, "kernel": _KERNELS, "many": (1, 2, 3), "stride": (1, 2), "dilation": ((1, 1), (1, 1), (2, 3))}
        | _COMMON
        | {"bias": (True,)},
    ),
    Row(
        "CONV_3D",
        _conv_3d,
        ("float32",),
        {
            "size": ((1, 4, 5, 6, 3), (2, 3, 3, 3, 2)),
            "kernel": ((1, 1, 1), (2, 3, 2), (3, 3, 3)),
            "stride": (1, 2),
            "dilation": (1, 2),
            "padding": ("SAME", "VALID"),
            "act": ACTS,
            "bias": (True, False),
        },
    ),
    Row(
        "TRANSPOSE_CONV",
        _transpose_conv,
        ("float32", *CODES),
        {
            "size": ((1, 4, 5, 4), (2, 3, 3, 3), (1, 1, 1, 8)),
            "kernel": ((2, 2), (3, 3), (4, 2)),
            "stride": ((1, 1), (2, 2), (3, 2)),
        }
        | _COMMON,
    ),
    Row(
        "FULLY_CONNECTED",
        _fully_connected,
        DTYPES,
        {
            "size": ((1, 8), (3, 7), (4, 33), (2, 3, 16), (2, 2, 2, 6)),
            "outputs": (1, 5, 16),
            "act": ACTS,
            "each": (True, False),
            "bias": (True, False),
            "keep": (True, False),
        },
    ),
    Row(
        "BATCH_MATMUL",
        _batch_matmul,
        ("float32", "int8", "int16"),
        {"shapes": _PRODUCTS, "adj_x": (False, True), "adj_y": (False, True), "const": (False, True)},
    ),
    _pool("AVERAGE_POOL_2D", ("float32", *CODES)),
    _pool("MAX_POOL_2D", ("float32", *CODES)),
]
