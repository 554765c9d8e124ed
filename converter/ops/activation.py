"""Activations of one input as nodes of their own, made by `unary.declare`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import OPS, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import clip_attrs
from ._support.caffe import param
from ._support.ms_activation import write_in_parts
from .unary import Unary, declare


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, x.dtype.type(0))


def bound(x: np.ndarray, value: Any, *, low: bool) -> Any:
    """A bound in x's type; one outside an integer type is that type's own."""
    if value is None or x.dtype.kind == "f":
        return None if value is None else x.dtype.type(value)
    info = np.iinfo(x.dtype)
    if not math.isfinite(value):
        return info.min if value < 0 else info.max
    exact = math.ceil(value) if low else math.floor(value)
    return x.dtype.type(min(max(exact, info.min), info.max))


def _clip(x: np.ndarray, *, min: float | None, max: float | None) -> np.ndarray:
    low, high = bound(x, min, low=True), bound(x, max, low=False)
    y = x if low is None else np.maximum(x, low)
    return y if high is None else np.minimum(y, high)


def _clip1(x: float, *, min: float | None, max: float | None) -> float:
    x = x if min is None or x > min else float(min)
    return x if max is None or x < max else float(max)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # exp only of what is not positive, so that it cannot overflow.
    e = np.exp(-np.abs(x))
    one = x.dtype.type(1)
    return np.where(x >= 0, one / (one + e), e / (one + e))


def _sigmoid1(x: float) -> float:
    e = math.exp(-abs(x))
    return 1 / (1 + e) if x >= 0 else e / (1 + e)


def _hard_swish(x: np.ndarray) -> np.ndarray:
    t = x.dtype.type
    return x * np.clip(x + t(3), t(0), t(6)) / t(6)


def _hard_sigmoid(x: np.ndarray, *, alpha: float, beta: float) -> np.ndarray:
    t = x.dtype.type
    return np.clip(x * t(alpha) + t(beta), t(0), t(1))


TANH_GELU = math.sqrt(2 / math.pi)


def _gelu(x: np.ndarray, *, approximate: bool) -> np.ndarray:
    t = x.dtype.type
    if approximate:
        return t(0.5) * x * (t(1) + np.tanh(t(TANH_GELU) * (x + t(0.044715) * x * x * x)))
    from scipy.special import erf

    return t(0.5) * x * (t(1) + erf(x * t(math.sqrt(0.5))))


def _gelu1(x: float, *, approximate: bool) -> float:
    inner = math.tanh(TANH_GELU * (x + 0.044715 * x**3)) if approximate else math.erf(x * math.sqrt(0.5))
    return 0.5 * x * (1 + inner)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x.dtype.type(0), x)


def _softplus1(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _where(x: np.ndarray, negative: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, negative)


def _elu(x: np.ndarray, *, alpha: float) -> np.ndarray:
    return _where(x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


def _selu(x: np.ndarray, *, alpha: float, gamma: float) -> np.ndarray:
    t = x.dtype.type
    return t(gamma) * _where(x, t(alpha) * np.expm1(np.minimum(x, 0)))


def _celu(x: np.ndarray, *, alpha: float) -> np.ndarray:
    t = x.dtype.type
    return np.maximum(x, t(0)) + t(alpha) * np.expm1(np.minimum(x, t(0)) / t(alpha))


def _shrink(x: np.ndarray, *, lambd: float, bias: float) -> np.ndarray:
    zero = np.zeros_like(x)
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, zero))


def _shrink1(x: float, *, lambd: float, bias: float) -> float:
    return x + bias if x < -lambd else x - bias if x > lambd else 0.0


_SELU = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
_RELU6 = clip_attrs("relu6")
_LOSSY_RELU = "the real kernel rounds before it scales up"
_ROWS = [
    Unary(
        "Relu",
        _relu,
        lambda x: max(x, 0.0),
        "iuf",
        "RELU",
        "Relu",
        mslite=_LOSSY_RELU,
        mslite_close=True,
        homogeneous=True,
    ),
    Unary(
        "Relu6",
        lambda x: _clip(x, **_RELU6),
        lambda x: _clip1(x, **_RELU6),
        "iuf",
        "RELU6",
        mslite=_LOSSY_RELU,
        mslite_close=True,
    ),
    Unary(
        "Clip",
        _clip,
        _clip1,
        "iuf",
        attrs={"min": None, "max": None},
        variants=({}, {"min": -1.0, "max": 1.0}, {"min": 0.5}, {"max": 0.0}),
    ),
    Unary(
        "LeakyRelu",
        lambda x, *, alpha: np.where(x >= 0, x, x * x.dtype.type(alpha)),
        lambda x, *, alpha: x if x >= 0 else x * alpha,
        attrs={"alpha": 0.01},
        variants=({}, {"alpha": 0.2}),
        homogeneous=True,
    ),
    Unary(
        "Sigmoid",
        _sigmoid,
        _sigmoid1,
        "f",
        "LOGISTIC",
        "Sigmoid",
        fixed=(1 / 256, -128),
        mslite="the real kernel's table is short",
    ),
    Unary("Tanh", np.tanh, math.tanh, "f", "TANH", "Tanh", fixed=(1 / 128, 0)),
    Unary("HardSwish", _hard_swish, lambda x: x * min(max(x + 3, 0.0), 6.0) / 6, "f", "HARD_SWISH", "HardSwish"),
    Unary(
        "HardSigmoid",
        _hard_sigmoid,
        lambda x, *, alpha, beta: min(max(alpha * x + beta, 0.0), 1.0),
        attrs={"alpha": 0.2, "beta": 0.5},
        variants=({}, {"alpha": 1 / 6}),
        fixed=(1 / 256, -128),
    ),
    Unary("Gelu", _gelu, _gelu1, attrs={"approximate": False}, variants=({}, {"approximate": True})),
    Unary("Softplus", _softplus, _softplus1, "f", "", "Softplus"),
    Unary("Softsign", lambda x: x / (1 + np.abs(x)), lambda x: x / (1 + abs(x)), "f", "", "Softsign"),
    Unary("Mish", lambda x: x * np.tanh(_softplus(x)), lambda x: x * math.tanh(_softplus1(x)), "f", "", "Mish"),
    Unary("Swish", lambda x: x * _sigmoid(x), lambda x: x * _sigmoid1(x)),
    Unary(
        "Elu",
        _elu,
        lambda x, *, alpha: x if x > 0 else alpha * math.expm1(x),
        attrs={"alpha": 1.0},
        variants=({}, {"alpha": 0.5}),
    ),
    Unary(
        "Selu",
        _selu,
        lambda x, *, alpha, gamma: gamma * (x if x > 0 else alpha * math.expm1(x)),
        attrs=_SELU,
    ),
    Unary(
        "Celu",
        _celu,
        lambda x, *, alpha: max(x, 0.0) + alpha * math.expm1(min(x, 0.0) / alpha),
        attrs={"alpha": 1.0},
        variants=({}, {"alpha": 2.0}),
    ),
    Unary(
        "ThresholdedRelu",
        lambda x, *, alpha: np.where(x > x.dtype.type(alpha), x, x.dtype.type(0)),
        lambda x, *, alpha: x if x > alpha else 0.0,
        attrs={"alpha": 1.0},
        variants=({}, {"alpha": 0.3}),
    ),
    Unary(
        "Shrink",
        _shrink,
        _shrink1,
        "iuf",
        attrs={"lambd": 0.5, "bias": 0.0},
        variants=({}, {"lambd": 1.5, "bias": 1.5}),
    ),
]
_KERNELS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Clip": "clip",
    "LeakyRelu": "leaky_relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "HardSwish": "hard_swish",
    "HardSigmoid": "hard_sigmoid",
    "Gelu": "gelu",
    "Elu": "elu",
    "Selu": "selu",
    "Swish": "swish",
    "Softplus": "softplus",
    "Mish": "mish",
}
for _row in _ROWS:
    declare(_row, _KERNELS.get(_row.name))


def _attrs_reader(name: str, *keys: str) -> Callable[[Reading], Tensor]:
    """An ONNX activation whose attributes have the row's names and defaults."""

    def read(r: Reading) -> Tensor:
        defaults = OPS[name].attrs
        return r.emit(name, r.input(0), **{k: float(r.attr(k, defaults[k])) for k in keys})

    return read


def _attrs_writer(name: str, *keys: str) -> Callable[[Writing, Node], None]:
    def write(w: Writing, node: Node) -> None:
        w.node(name, node, node.inputs, fields={k: float(node.attrs[k]) for k in keys})

    return write


for _name, _keys in {
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Elu": ("alpha",),
    "Selu": ("alpha", "gamma"),
    "Celu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "Shrink": ("lambd", "bias"),
}.items():
    reads("onnx", _name)(_attrs_reader(_name, *_keys))
    writes("onnx", _name)(_attrs_writer(_name, *_keys))


@reads("tflite", "LEAKY_RELU")
def read_tflite_leaky_relu(r: Reading) -> Tensor:
    return r.emit("LeakyRelu", r.input(0), alpha=float(r.attr("alpha", 0.0)))


# MINDIR's primitive → (IR operator, attributes from its arguments).
_MINDIR: dict[str, tuple[str, Callable[[Reading], dict[str, Any]]]] = {
    **{name: ("Relu", lambda r: {}) for name in ("ReLU", "ReLUV2")},
    "ReLU6": ("Relu6", lambda r: {}),
    "Sigmoid": ("Sigmoid", lambda r: {}),
    "Tanh": ("Tanh", lambda r: {}),
    "Elu": ("Elu", lambda r: {"alpha": r.real(1, "alpha", 1.0)}),
    "EluExt": ("Elu", lambda r: {"alpha": r.real(1, "alpha", 1.0)}),
    "LeakyReLU": ("LeakyRelu", lambda r: {"alpha": r.real(1, "negative_slope", r.attr("alpha", 0.2))}),
    "LeakyReLUExt": ("LeakyRelu", lambda r: {"alpha": r.real(1, "negative_slope", 0.01)}),
    "SeLU": ("Selu", lambda r: {}),
    "CeLU": ("Celu", lambda r: {"alpha": r.real(1, "alpha", 1.0)}),
    **{name: ("HardSwish", lambda r: {}) for name in ("HSwish", "HardSwish")},
    **{name: ("HardSigmoid", lambda r: {"alpha": 1 / 6, "beta": 0.5}) for name in ("HSigmoid", "HardSigmoid")},
    "Softsign": ("Softsign", lambda r: {}),
    "Softplus": ("Softplus", lambda r: {}),
    "Mish": ("Mish", lambda r: {}),
    **{name: ("Swish", lambda r: {}) for name in ("SiLU", "Swish")},
    "GeLU": ("Gelu", lambda r: {"approximate": True}),
    "GeluExt": ("Gelu", lambda r: {"approximate": r.arg(1, "approximate", "none") in ("tanh", 1)}),
    "HShrink": ("Shrink", lambda r: {"lambd": r.real(1, "lambd", 0.5), "bias": 0.0}),
    "SoftShrink": ("Shrink", lambda r: dict.fromkeys(("lambd", "bias"), r.real(1, "lambd", 0.5))),
}
for _primitive, (_name, _attrs) in _MINDIR.items():
    reads("mindir", _primitive)(lambda r, name=_name, attrs=_attrs: r.emit(name, r.input(0), **attrs(r)))


@reads("mindir", "LogSigmoid")
def read_mindir_log_sigmoid(r: Reading) -> Tensor:
    """-softplus(-x)."""
    return r.emit("Neg", r.emit("Softplus", r.emit("Neg", r.input(0))))


@reads("mindir", "SoftplusExt")
def read_mindir_softplus(r: Reading) -> Tensor:
    beta = r.real(1, "beta", 1.0)
    if beta == 1:
        return r.emit("Softplus", r.input(0))
    x = r.input(0)
    return r.emit("Div", r.emit("Softplus", r.emit("Mul", x, r.constant(beta, x.dtype))), r.constant(beta, x.dtype))


# Caffe's layer → (IR operator, attributes from its parameters).
_CAFFE: dict[str, tuple[str, Callable[[Reading], dict[str, Any]]]] = {
    "ReLU6": ("Relu6", lambda r: {}),
    "Sigmoid": ("Sigmoid", lambda r: {}),
    "TanH": ("Tanh", lambda r: {}),
    "BNLL": ("Softplus", lambda r: {}),
    "HardSwish": ("HardSwish", lambda r: {}),
    "ELU": ("Elu", lambda r: {"alpha": param(r, "elu_param").alpha}),
}
for _layer, (_name, _attrs) in _CAFFE.items():
    reads("caffe", _layer)(lambda r, name=_name, attrs=_attrs: r.emit(name, r.input(0), **attrs(r)))


@reads("caffe", "ReLU")
def read_caffe_relu(r: Reading) -> Tensor:
    slope = param(r, "relu_param").negative_slope
    return r.emit("LeakyRelu", r.input(0), alpha=slope) if slope else r.emit("Relu", r.input(0))


@reads("caffe", "Swish")
def read_caffe_swish(r: Reading) -> Tensor:
    """x · sigmoid(beta · x)."""
    x, beta = r.input(0), param(r, "swish_param").beta
    if beta == 1:
        return r.emit("Swish", x)
    return r.emit("Mul", x, r.emit("Sigmoid", r.emit("Mul", x, r.constant(beta, x.dtype))))


@writes("tflite", "LeakyRelu")
def write_tflite_leaky_relu(w: Writing, node: Node) -> None:
    w.node("LEAKY_RELU", node, node.inputs, fields={"alpha": node.attrs["alpha"]})


@reads("tflite", "ELU")
def read_tflite_elu(r: Reading) -> Tensor:
    return r.emit("Elu", r.input(0))


@writes("tflite", "Elu")
def write_tflite_elu(w: Writing, node: Node) -> None:
    if node.attrs["alpha"] != 1:
        w.refuse(node, f"alpha={node.attrs['alpha']} is not 1")
    w.node("ELU", node, node.inputs)


# MindSpore Lite ActivationType → (IR operator, attributes from its fields); what the fields must be when written.
_MS: dict[int, tuple[str, Callable[[Reading], dict[str, Any]]]] = {
    1: ("Relu", lambda r: {}),
    2: ("Sigmoid", lambda r: {}),
    3: ("Relu6", lambda r: {}),
    4: ("Elu", lambda r: {"alpha": r.attr("alpha", 0.0)}),
    5: ("LeakyRelu", lambda r: {"alpha": r.attr("alpha", 0.0)}),
    6: ("Abs", lambda r: {}),
    8: ("Softsign", lambda r: {}),
    9: ("Softplus", lambda r: {}),
    10: ("Tanh", lambda r: {}),
    11: ("Selu", lambda r: {}),
    12: ("HardSwish", lambda r: {}),
    13: ("HardSigmoid", lambda r: {"alpha": 1 / 6, "beta": 0.5}),
    14: ("ThresholdedRelu", lambda r: {"alpha": r.attr("alpha", 0.0)}),
    16: ("Clip", lambda r: {"min": r.attr("min_val", 0.0), "max": r.attr("max_val", 0.0)}),
    17: ("Sign", lambda r: {}),
    18: ("Swish", lambda r: {}),
    19: ("Gelu", lambda r: {"approximate": bool(r.attr("approximate", False))}),
    27: ("Celu", lambda r: {"alpha": r.attr("alpha", 0.0)}),
}


@reads("ms", "Activation")
def read_ms_activation(r: Reading) -> Tensor:
    number = r.attr("activation_type", 0)
    if number == 0:
        return r.input(0)
    if number not in _MS:
        r.refuse(f"activation type {number} is not read")
    name, attrs = _MS[number]
    return r.emit(name, r.input(0), **attrs(r))


reads("ms", "LeakyRelu")(lambda r: r.emit("LeakyRelu", r.input(0), alpha=r.attr("negative_slope", 0.0)))
reads("ms", "Elu")(lambda r: r.emit("Elu", r.input(0), alpha=r.attr("alpha", 0.0)))


_NO_KERNEL = ("Celu", "Selu", "Softsign", "ThresholdedRelu")


def _write_ms(number: int) -> Callable[[Writing, Node], None]:
    def write(w: Writing, node: Node) -> None:
        a = node.attrs
        if node.op in _NO_KERNEL and write_in_parts(w, node):
            return
        fields: dict[str, Any] = {"activation_type": number, "alpha": 0.0, "min_val": 0.0, "max_val": 0.0}
        if node.op in ("Elu", "LeakyRelu", "ThresholdedRelu", "Celu"):
            fields["alpha"] = float(a["alpha"])
        if node.op == "Clip":
            top = float(np.finfo(np.float32).max)
            fields["min_val"] = -top if a["min"] is None else float(a["min"])
            fields["max_val"] = top if a["max"] is None else float(a["max"])
        if node.op == "Gelu":
            fields["approximate"] = bool(a["approximate"])
        expected = {"Selu": _SELU, "HardSigmoid": {"alpha": 1 / 6, "beta": 0.5}}
        for key, value in expected.get(node.op, {}).items():
            if not math.isclose(a[key], value, rel_tol=1e-6):
                if write_in_parts(w, node):
                    return
                w.refuse(node, f"{key}={a[key]}; MindSpore Lite has {value:.6g} only")
        w.node("Activation", node, node.inputs, fields=fields)

    return write


for _number, (_name, _) in _MS.items():
    if _name not in ("Abs", "Sign"):
        writes("ms", _name)(_write_ms(_number))


@writes("ms", "Mish")
def write_ms_mish(w: Writing, node: Node) -> None:
    if not write_in_parts(w, node):
        w.refuse(node, "it is in float32 only")
