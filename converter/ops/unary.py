"""Mathematical functions of one tensor, elementwise. One table; an int8 node is a table of 256 codes (see `tables`)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.op import row as row_of
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.c_steps import count, is_f32, is_s8, refuse_types, unary
from ._support.caffe import param, scaled
from ._support.channels import channel_by_channel
from ._support.layout import same_layout
from ._support.ms_activation import write_in_parts
from ._support.tables import SCALARS, by_table, table_s8
from ._support.types import need, value_dtype


@dataclass(frozen=True)
class Unary:
    """A row of the table.

    name, function of an array, function of a Python float (None where codes are not taken), dtype kinds taken, the
    containers' names ("" where there is none), attributes with defaults, the range of the cases' inputs. homogeneous:
    f(s·x) = s·f(x) for positive s.
    """

    name: str
    function: Callable[..., np.ndarray]
    scalar: Callable[..., float] | None = None
    kinds: str = "f"
    tflite: str = ""
    onnx: str = ""
    ms: str = ""
    attrs: dict[str, Any] = field(default_factory=dict)
    span: tuple[float, float] = (-3.0, 3.0)
    fixed: tuple[float, int] | None = None
    variants: tuple[dict[str, Any], ...] = ()
    dtype: type | None = None
    mslite: str = str(Quant.mslite)
    mslite_close: bool = False
    homogeneous: bool = False


def declare(row: Unary, kernel: str | None = None) -> None:
    """Declares the row with its reference, integer table and cases."""

    def infer(node: Node) -> Inferred:
        x = node.required(0)
        need(node, x, row.kinds, "the input")
        return [(np.dtype(row.dtype) if row.dtype else value_dtype(x), x.shape)]

    def reference(x: np.ndarray, **attrs: Any) -> np.ndarray:
        y = np.asarray(row.function(x, **attrs))
        return y if row.dtype else y.astype(x.dtype, copy=False)

    reference.__doc__ = row.function.__doc__
    table = row.scalar is not None
    if row.scalar is not None:
        SCALARS[row.name] = row.scalar
    quant = Quant(int8=False)
    if table:
        quant = Quant(output="fixed" if row.fixed else "own", fixed=row.fixed, table=True)
        quant = replace(quant, mslite=row.mslite, mslite_close=row.mslite_close)
    if row.homogeneous:
        quant = replace(quant, passes_channels=channel_by_channel)
    rng = np.random.default_rng(11)
    inputs: list[np.ndarray] = []
    if row.kinds == "b":
        inputs = [rng.random((3, 5)) < 0.5]
    if "i" in row.kinds:
        inputs.append(rng.integers(-9, 9, (4, 3)).astype(np.int32))
    if "f" in row.kinds:
        inputs += [rng.uniform(*row.span, shape).astype(np.float32) for shape in ((2, 3, 5), (17,), ())]
    cases = [Case((x,), attrs) for attrs in (row.variants or ({},)) for x in inputs]
    op(
        row.name,
        attrs=row.attrs,
        infer=infer,
        kernel=kernel,
        quant=quant,
        permute=same_layout,
        integer=by_table if table else None,
        cases=cases,
    )(reference)
    for container, name in (("tflite", row.tflite), ("onnx", row.onnx), ("ms", row.ms)):
        if name:
            reads(container, name)(_reader(row.name))
            writes(container, row.name)(_writer(name))

    writes("c", row.name)(_write_c)


# The kernel's function, and the attributes that are its parameters.
_C_FUNCTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        [
            "Abs",
            "Ceil",
            "Cos",
            "Erf",
            "Exp",
            "Floor",
            "HardSwish",
            "Log",
            "Neg",
            "Reciprocal",
            "Rsqrt",
            "Sigmoid",
            "Sin",
            "Softplus",
            "Sqrt",
            "Square",
            "Swish",
            "Tanh",
        ],
        (),
    ),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
}
_C_CLAMPS = {"Relu": (0.0, None), "Relu6": (0.0, 6.0)}


def _write_c(w: Writing, node: Node) -> None:
    """Of codes a table, of float32 a function or a clamp."""
    x, y, attrs = node.required(0), node.outputs[0], node.attrs
    if is_s8(x, y) and row_of(node.op).integer is by_table:
        w.node("lookup_s8", node, [x], fields={"count": count(y), "table": table_s8(node)})
    elif not is_f32(x, y):
        refuse_types(w, node)
    elif node.op in _C_CLAMPS or node.op == "Clip":
        low, high = _C_CLAMPS.get(node.op) or (attrs["min"], attrs["max"])
        ends = {"low": -math.inf if low is None else low, "high": math.inf if high is None else high}
        w.node("clip_f32", node, [x], fields={"count": count(y)} | {k: np.float32(v) for k, v in ends.items()})
    elif node.op == "Gelu":
        w.node("unary_f32", node, [x], fields=unary("GELU_TANH" if attrs["approximate"] else "GELU", y))
    elif node.op in _C_FUNCTIONS:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.op).upper()
        w.node("unary_f32", node, [x], fields=unary(name, y, *(attrs[key] for key in _C_FUNCTIONS[node.op])))
    else:
        w.refuse(node, f"{node.op} of float32 has no C kernel")


def _reader(name: str) -> Callable[[Reading], Tensor]:
    return lambda r: r.emit(name, r.input(0))


def _writer(name: str) -> Callable[[Writing, Node], None]:
    return lambda w, node: w.node(name, node, node.inputs) and None


def _erf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(x)


def _round_even(x: float) -> float:
    return float(round(x))


def _sign(x: float) -> float:
    return (x > 0) - (x < 0)


def _is_inf(x: np.ndarray, *, negative: bool, positive: bool) -> np.ndarray:
    return (np.isposinf(x) if positive else False) | (np.isneginf(x) if negative else np.zeros(x.shape, bool))


def _reciprocal(x: np.ndarray) -> np.ndarray:
    return x.dtype.type(1) / x


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return x.dtype.type(1) / np.sqrt(x)


def _log(x: float) -> float:
    """Of codes: what is not positive gives the lowest code, as in TFLite."""
    return math.log(x) if x > 0 else -math.inf


_POSITIVE, _UNIT = (0.1, 4.0), (-0.9, 0.9)
_ROWS = [
    Unary("Abs", np.abs, math.fabs, "iuf", "ABS", "Abs", "Abs"),
    Unary("Neg", np.negative, lambda x: -x, "if", "NEG", "Neg", "Neg"),
    Unary("Exp", np.exp, math.exp, "f", "EXP", "Exp", ""),
    Unary("Log", np.log, _log, "f", "LOG", "Log", "Log", span=_POSITIVE, mslite=""),
    Unary("Log1p", np.log1p, math.log1p, "f", "", "", "Log1p", span=_POSITIVE),
    Unary("Sqrt", np.sqrt, math.sqrt, "f", "SQRT", "Sqrt", "Sqrt", span=_POSITIVE),
    Unary("Rsqrt", _rsqrt, lambda x: 1 / math.sqrt(x), "f", "RSQRT", "", "Rsqrt", span=_POSITIVE),
    Unary("Square", np.square, lambda x: x * x, "iuf", "SQUARE", "", "Square"),
    Unary("Reciprocal", _reciprocal, lambda x: 1 / x, "f", "", "Reciprocal", "Reciprocal", span=_POSITIVE),
    Unary("Sin", np.sin, math.sin, "f", "SIN", "Sin", "Sin"),
    Unary("Cos", np.cos, math.cos, "f", "COS", "Cos", "Cos"),
    Unary("Tan", np.tan, math.tan, "f", "", "Tan", "", span=_UNIT),
    Unary("Asin", np.arcsin, math.asin, "f", "", "Asin", "", span=_UNIT),
    Unary("Acos", np.arccos, math.acos, "f", "", "Acos", "", span=_UNIT),
    Unary("Atan", np.arctan, math.atan, "f", "", "Atan"),
    Unary("Sinh", np.sinh, math.sinh, "f", "", "Sinh"),
    Unary("Cosh", np.cosh, math.cosh, "f", "", "Cosh"),
    Unary("Asinh", np.arcsinh, math.asinh, "f", "", "Asinh"),
    Unary("Acosh", np.arccosh, math.acosh, "f", "", "Acosh", span=(1.1, 4.0)),
    Unary("Atanh", np.arctanh, math.atanh, "f", "", "Atanh", span=_UNIT),
    Unary("Floor", np.floor, math.floor, "f", "FLOOR", "Floor", "Floor"),
    Unary("Ceil", np.ceil, math.ceil, "f", "CEIL", "Ceil", "Ceil"),
    Unary("Round", np.rint, _round_even, "f", "ROUND", "Round", "Round"),
    Unary("Sign", np.sign, _sign, "iuf", "SIGN", "Sign", ""),
    Unary("Erf", _erf, math.erf, "f", "", "Erf", "Erf"),
    Unary("LogicalNot", np.logical_not, None, "b", "LOGICAL_NOT", "Not", "LogicalNot", dtype=np.bool_),
    Unary("BitwiseNot", np.bitwise_not, None, "iu", "", "BitwiseNot"),
    Unary("IsNaN", np.isnan, None, "f", "", "IsNaN", dtype=np.bool_),
    Unary("IsFinite", np.isfinite, None, "f", "", "", "IsFinite", dtype=np.bool_),
    Unary(
        "IsInf",
        _is_inf,
        None,
        "f",
        attrs={"negative": True, "positive": True},
        variants=({}, {"negative": False}, {"positive": False}),
        dtype=np.bool_,
    ),
]
_KERNELS = {
    "Abs",
    "Neg",
    "Exp",
    "Log",
    "Sqrt",
    "Rsqrt",
    "Square",
    "Reciprocal",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Erf",
}
for _row in _ROWS:
    declare(_row, _row.name.lower() if _row.name in _KERNELS else None)


@reads("onnx", "IsInf")
def read_onnx_is_inf(r: Reading) -> Tensor:
    signs = {"negative": bool(r.attr("detect_negative", 1)), "positive": bool(r.attr("detect_positive", 1))}
    return r.emit("IsInf", r.input(0), **signs)


_MINDIR = {
    **{name: (name,) for name in ("Abs", "Neg", "Exp", "Log", "Log1p", "Sqrt", "Rsqrt", "Square", "Sin", "Cos", "Tan")},
    **{name: (name,) for name in ("Asin", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Floor", "Ceil")},
    **{name: (name,) for name in ("Sign", "Erf", "LogicalNot", "IsFinite")},
    "Acos": ("ACos", "Acos"),
    "Reciprocal": ("Reciprocal", "Inv"),
    "Round": ("Round", "Rint"),
    "IsNaN": ("IsNan",),
}
for _name, _primitives in _MINDIR.items():
    reads("mindir", *_primitives)(_reader(_name))


@reads("caffe", "Exp", "Log")
def read_caffe_exp(r: Reading) -> Tensor:
    """base ^ (shift + scale · x), and the logarithm of shift + scale · x to the base; a base of -1 is e."""
    p = param(r, "exp_param" if r.op == "Exp" else "log_param")
    if p.base != -1 and p.base <= 0:
        r.refuse(f"base {p.base} is not positive")
    factor = 1.0 if p.base == -1 else math.log(p.base)
    if r.op == "Exp":
        return r.emit("Exp", scaled(r, r.input(0), p.scale * factor, p.shift * factor))
    return scaled(r, r.emit("Log", scaled(r, r.input(0), p.scale, p.shift)), 1 / factor, 0.0)


reads("caffe", "AbsVal")(_reader("Abs"))


@writes("onnx", "IsInf")
def write_onnx_is_inf(w: Writing, node: Node) -> None:
    fields = {f"detect_{k}": int(node.attrs[k]) for k in ("negative", "positive")}
    w.node("IsInf", node, node.inputs, fields=fields)


@reads("ms", "ExpFusion")
def read_ms_exp(r: Reading) -> Tensor:
    """base ^ (scale · x + shift); a base of -1 is e."""
    x, base = r.input(0), r.attr("base", -1.0)
    scale, shift = r.attr("scale", 1.0), r.attr("shift", 0.0)
    if base != -1 and base <= 0:
        r.refuse(f"base {base} is not positive")
    factor = 1.0 if base == -1 else math.log(base)
    for name, value, neutral in (("Mul", scale * factor, 1.0), ("Add", shift * factor, 0.0)):
        if value != neutral:
            x = r.emit(name, x, r.constant(value, value_dtype(x)))
    return r.emit("Exp", x)


@writes("ms", "Exp")
def write_ms_exp(w: Writing, node: Node) -> None:
    w.node("ExpFusion", node, node.inputs, fields={"base": -1.0, "scale": 1.0, "shift": 0.0})


@writes("ms", "Sign")
def write_ms_sign(w: Writing, node: Node) -> None:
    if not write_in_parts(w, node):
        w.node("Activation", node, node.inputs, fields={"activation_type": 17})


def _composed(steps: Sequence[tuple[str, str]]) -> Callable[[Writing, Node], None]:
    """Several ONNX operators in a row; "xx" of a step gives it its input twice."""

    def write(w: Writing, node: Node) -> None:
        x = node.required(0)
        for i, (name, form) in enumerate(steps):
            y = node.outputs[0] if i == len(steps) - 1 else w.between(node.outputs[0], name=f"{node.name}/{name}")
            if i < len(steps) - 1:
                y.quant, y.dtype = None, x.dtype
            w.node(name, node, [x, x] if form == "xx" else [x], [y])
            x = y

    return write


@writes("onnx", "Log1p")
def write_onnx_log1p(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    more = w.between(y, name=f"{node.name}/more")
    w.node("Add", node, [x, w.constant(1, y.dtype, f"{node.name}/one")], [more])
    w.node("Log", node, [more])


writes("onnx", "Rsqrt")(_composed([("Sqrt", "x"), ("Reciprocal", "x")]))
writes("onnx", "Square")(_composed([("Mul", "xx")]))


@writes("tflite", "Reciprocal")
def write_tflite_reciprocal(w: Writing, node: Node) -> None:
    one = w.constant(1, node.outputs[0].dtype, f"{node.name}/one")
    if node.outputs[0].quant is not None:
        w.refuse(node, "it is quantized")
    w.node("DIV", node, [one, node.inputs[0]], fields={"fused_activation_function": 0})
