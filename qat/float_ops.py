"""What the IR's float operators compute, in torch, so that gradients run through them.

`FLOAT[op](node, *arguments) → tensor or tuple`: tensors as the IR has them (channels last where it has them so), None
where an input is absent; attributes are the row's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..converter.errors import UnsupportedError
from ..converter.ir import Node
from ..converter.numeric.qparams import ACT_BOUNDS
from ..converter.ops._support.spatial import resolve_pads
from .recurrent import gru, lstm

FLOAT: dict[str, Callable[..., Any]] = {}


def named(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        FLOAT.update(dict.fromkeys(names, function))
        return function

    return declare


def refuse(node: Node, what: str) -> UnsupportedError:
    return UnsupportedError(f"{node.name} ({node.op}): {what} cannot be trained", hint="keep it outside of the model")


def act(x: Tensor, name: str) -> Tensor:
    """A fused activation."""
    if name == "none":
        return x
    if name in ACT_BOUNDS:
        return x.clamp(*ACT_BOUNDS[name])
    return _ACTS[name](x)


_ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "swish": F.silu,
    "hard_swish": F.hardswish,
}


def _first(x: Tensor) -> Tensor:
    """Channels last → channels first, a view."""
    return x.movedim(-1, 1)


def _last(x: Tensor) -> Tensor:
    return x.movedim(1, -1)


def _pads(node: Node, x: Tensor, kernel: Sequence[int]) -> list[int]:
    """Before and after each spatial axis of a window over x [N, *S, C]."""
    attrs = dict(node.attrs)
    resolve_pads(attrs, list(x.shape[1:-1]), kernel)
    return list(attrs["pad"])


def _even(pads: list[int]) -> list[int] | None:
    """One pad per axis, where both sides have the same."""
    return pads[::2] if pads[::2] == pads[1::2] else None


def _padded(x: Tensor, pads: list[int], value: float) -> Tensor:
    """x, channels first, with (before, after) per spatial axis."""
    pairs = [pads[2 * i : 2 * i + 2] for i in range(len(pads) // 2)]
    return F.pad(x, [n for pair in reversed(pairs) for n in pair], value=value)


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def products(node: Node, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """The sums of products of a layer, with a bias, before its activation; in the dtype of x."""
    return PRODUCTS[node.op](node, x, w, bias)


def _conv(node: Node, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    a, pads = node.attrs, _pads(node, x, w.shape[1:-1])
    x, even = _first(x), _even(pads)
    if even is None:
        x, even = _padded(x, pads, 0.0), [0] * len(a["stride"])
    run = _CONV[len(even)]
    return _last(run(x, _first(w), bias, list(a["stride"]), even, list(a["dilation"]), a["group"]))


def _conv_transpose(node: Node, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    a = node.attrs
    if a["pad_mode"] not in ("explicit", "valid"):
        raise refuse(node, f"a transposed convolution with pad_mode {a['pad_mode']}")
    even = _even(_pads(node, x, w.shape[1:-1]))
    if even is None:
        raise refuse(node, "a transposed convolution with uneven pads")
    run, stride = _TRANSPOSED[len(even)], list(a["stride"])
    extra, dilation = list(a["output_padding"]), list(a["dilation"])
    return _last(run(_first(x), _first(w), bias, stride, even, extra, a["group"], dilation))


def _fully_connected(node: Node, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x if node.attrs["keep_dims"] else x.reshape(-1, w.shape[1]), w, bias)


def _matmul(node: Node, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    a = x.mT if node.attrs["transpose_a"] else x
    y = a @ (w.mT if node.attrs["transpose_b"] else w)
    return y if bias is None else y + bias


PRODUCTS: dict[str, Callable[..., Tensor]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "FullyConnected": _fully_connected,
    "MatMul": _matmul,
}


@named(*PRODUCTS)
def _layer(node: Node, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    return act(products(node, x, w, bias), node.attrs["act"])


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs, "Neg": torch.neg, "Exp": torch.exp, "Log": torch.log, "Log1p": torch.log1p,
    "Sqrt": torch.sqrt, "Rsqrt": torch.rsqrt, "Square": torch.square, "Reciprocal": torch.reciprocal,
    "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan,
    "Sinh": torch.sinh, "Cosh": torch.cosh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh,
    "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign, "Erf": torch.erf,
    "Relu": torch.relu, "Relu6": F.relu6, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "HardSwish": F.hardswish,
    "Softplus": F.softplus, "Softsign": F.softsign, "Mish": F.mish, "Swish": F.silu, "Identity": lambda x: x,
    "LogicalNot": torch.logical_not,
}  # fmt: skip
FLOAT.update({name: lambda node, x, f=f: f(x) for name, f in _UNARY.items()})

_OF_ATTRIBUTES: dict[str, Callable[[Tensor, dict[str, Any]], Tensor]] = {
    "Clip": lambda x, a: x.clamp(a["min"], a["max"]) if a["min"] is not None or a["max"] is not None else x,
    "LeakyRelu": lambda x, a: F.leaky_relu(x, a["alpha"]),
    "HardSigmoid": lambda x, a: (a["alpha"] * x + a["beta"]).clamp(0.0, 1.0),
    "Gelu": lambda x, a: F.gelu(x, approximate="tanh" if a["approximate"] else "none"),
    "Elu": lambda x, a: F.elu(x, a["alpha"]),
    "Selu": lambda x, a: a["gamma"] * F.elu(x, a["alpha"]),
    "Celu": lambda x, a: F.celu(x, a["alpha"]),
    "Softmax": lambda x, a: torch.softmax(x * a["beta"], a["axis"]),
    "LogSoftmax": lambda x, a: torch.log_softmax(x, a["axis"]),
}
FLOAT.update({name: lambda node, x, f=f: f(x, node.attrs) for name, f in _OF_ATTRIBUTES.items()})

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Maximum": torch.maximum,
    "Minimum": torch.minimum, "Pow": torch.pow, "SquaredDifference": lambda a, b: (a - b).square(),
    "Equal": torch.eq, "NotEqual": torch.ne, "Less": torch.lt, "LessEqual": torch.le, "Greater": torch.gt,
    "GreaterEqual": torch.ge, "LogicalAnd": torch.logical_and, "LogicalOr": torch.logical_or,
}  # fmt: skip


def _divided(node: Node, a: Tensor, b: Tensor) -> Tensor:
    y = a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")
    return act(y, node.attrs.get("act", "none"))


FLOAT.update({name: lambda node, a, b, f=f: act(f(a, b), node.attrs.get("act", "none")) for name, f in _BINARY.items()})
FLOAT["Div"] = _divided


@named("PRelu")
def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, x * slope)


@named("MaxPool")
def _max_pool(node: Node, x: Tensor) -> Tensor:
    a, pads = node.attrs, _pads(node, x, node.attrs["kernel"])
    even = _even(pads)
    if even is None or any(2 * p > k for p, k in zip(even, a["kernel"])):
        x, even = _last(_padded(_first(x), pads, -math.inf)), [0] * len(a["kernel"])
    run = _MAX[len(even)]
    y = run(_first(x), list(a["kernel"]), list(a["stride"]), even, list(a["dilation"]), a["ceil_mode"])
    return act(_last(y), a["act"])


def pool_sums(node: Node, x: Tensor) -> Tensor:
    """The sum of each window of x [N,*S,C]; padding adds nothing."""
    a, pads = node.attrs, _pads(node, x, node.attrs["kernel"])
    if a["ceil_mode"] or any(d != 1 for d in a["dilation"]):
        raise refuse(node, "a mean over windows with ceil_mode or dilation")
    kernel, stride = list(a["kernel"]), list(a["stride"])
    y = _padded(_first(x), pads, 0.0) if any(pads) else _first(x)
    if len(kernel) == 1:
        return _last(F.avg_pool2d(y.unsqueeze(2), [1, *kernel], [1, *stride], divisor_override=1).squeeze(2))
    run = {2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]
    return _last(run(y, kernel, stride, divisor_override=1))


def pool_counts(node: Node, x: Tensor) -> Tensor | int:
    """How many elements each window counts."""
    a = node.attrs
    if a["count_include_pad"] or not any(_pads(node, x, a["kernel"])):
        return math.prod(a["kernel"])
    return pool_sums(node, torch.ones_like(x[:1, ..., :1]))


@named("AveragePool")
def _average_pool(node: Node, x: Tensor) -> Tensor:
    return act(pool_sums(node, x) / pool_counts(node, x), node.attrs["act"])


def reduced_axes(node: Node, x: Tensor, axes: Any = None) -> list[int]:
    given = node.attrs["axes"] if axes is None else axes.reshape(-1).tolist()
    if not given:
        return [] if node.attrs["noop_if_empty"] else list(range(x.ndim))
    return sorted({int(a) % x.ndim for a in given})


_REDUCE: dict[str, Callable[..., Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "max": torch.amax,
    "min": torch.amin,
    "sum_square": lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim),
    "l1": lambda x, axes, keepdim: x.abs().sum(axes, keepdim=keepdim),
    "l2": lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim).sqrt(),
}


@named("Reduce")
def _reduce(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    mode, at = node.attrs["mode"], reduced_axes(node, x, axes)
    if mode not in _REDUCE:
        raise refuse(node, f"reduction {mode}")
    return _REDUCE[mode](x, at, keepdim=node.attrs["keep_dims"]) if at else x


@named("LayerNorm")
def _layer_norm(node: Node, x: Tensor, scale: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
    axes = tuple(range(node.attrs["axis"] % x.ndim, x.ndim))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    y = (x - mean) * (variance + node.attrs["epsilon"]).rsqrt()
    y = y if scale is None else y * scale
    return y if offset is None else y + offset


@named("RmsNorm")
def _rms_norm(node: Node, x: Tensor, scale: Tensor | None = None) -> Tensor:
    axes = tuple(range(node.attrs["axis"] % x.ndim, x.ndim))
    y = x * (x.square().mean(axes, keepdim=True) + node.attrs["epsilon"]).rsqrt()
    return y if scale is None else y * scale


@named("BatchNorm")
def _batch_norm(node: Node, x: Tensor, scale: Tensor, offset: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (x - mean) * (scale * (variance + node.attrs["epsilon"]).rsqrt()) + offset


FLOAT["Lstm"], FLOAT["Gru"] = lstm, gru
