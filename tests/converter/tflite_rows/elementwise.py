"""Rows of the operators that work element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from bitlite.converter.numeric.qparams import QuantParam

from .table import ACTS, CODES, COPY, PLAIN, ROUNDING, Case, Draw, Row, real, rounded

SHAPES = ((), (1,), (7,), (3, 5), (2, 3, 4), (2, 3, 1, 4), (2, 1, 3, 2, 2), (0, 3))
SPREADS = (
    ((), ()), ((5,), ()), ((), (5,)), ((3, 4), (3, 4)), ((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (1, 4)),
    ((2, 3, 4), (3, 1)), ((2, 3, 4, 5), (2, 3, 4, 5)), ((2, 3, 4, 5), (5,)), ((2, 1, 4, 1), (1, 3, 1, 5)),
    ((1, 3, 4, 5), (2, 1, 1, 1)), ((2, 1, 3, 2, 2), (2, 2, 1, 2, 1)), ((0, 3), (3,)),
)  # fmt: skip
FLOATS = ("float32",)


def _unary(
    op: str,
    dtypes: tuple[str, ...],
    function: Callable[..., np.ndarray] | None = None,
    *,
    low: float = -4,
    high: float = 4,
    steps: int = ROUNDING,
    fixed: dict[str, QuantParam] | None = None,
    axes: dict[str, tuple[Any, ...]] | None = None,
    outputs: tuple[Any, ...] = (None,),
) -> Row:
    """A function of one tensor. `fixed`: dtype → the parameters that LiteRT wants of the result."""

    def make(draw: Draw, dtype: str, shape: tuple[int, ...], **options: Any) -> Case:
        x, q = draw.values(dtype, shape, low, high), draw.params(dtype, low, high)
        if op == "RSQRT" and q is not None:
            x = np.asarray(np.maximum(x, q.zero_point[0] + 1), dtype)
        qy, y = None, None
        if q is not None and function is not None:
            with np.errstate(all="ignore"):
                y = function(real(x, q), **options)
            qy = fixed[dtype] if fixed else draw.fitting(dtype, y)
        return Case(
            op, [x], options, quant={0: q}, output_quant=(qy,), outputs=outputs, steps=steps, truth=y,
            # A GELU below zero is a small difference of numbers of the size of x.
            absolute=1e-6 * float(np.abs(x).max(initial=0)) if op == "GELU" and q is None else 0.0,
            version=2 if dtype in ("int8", "int16") else 1,
        )  # fmt: skip

    return Row(op, make, dtypes, {"shape": SHAPES} | (axes or {}))


def _q(scale: float, zero: int, bits: int = 8) -> QuantParam:
    return rounded(QuantParam(scale, zero, None, bits))


_SIGMOID = {"int8": _q(1 / 256, -128), "uint8": _q(1 / 256, 0), "int16": _q(1 / 32768, 0, 16)}
_TANH = {"int8": _q(1 / 128, 0), "uint8": _q(1 / 128, 128), "int16": _q(1 / 32768, 0, 16)}


def _gelu(x: np.ndarray, approximate: bool) -> np.ndarray:
    if approximate:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


def _log(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, np.log(np.where(x > 0, x, 1)), -np.inf)


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.expm1(x), x)


UNARY = [
    _unary("ABS", ("float32", "int32", "int8", "int16"), np.abs),
    _unary("CEIL", FLOATS),
    _unary("COS", FLOATS),
    _unary("ELU", ("float32", "int8"), _elu),
    _unary("EXP", ("float32", "int8", "int16"), np.exp),
    _unary("FLOOR", FLOATS),
    _unary("GELU", ("float32", "int8", "uint8"), _gelu, axes={"approximate": (False, True)}),
    _unary("HARD_SWISH", ("float32", *CODES[:2]), lambda x: x * np.clip(x + 3, 0, 6) / 6),
    _unary(
        "LEAKY_RELU", ("float32", *CODES), lambda x, alpha: np.where(x < 0, alpha * x, x),
        axes={"alpha": (0.0, 0.1, 0.7, 1.5, -0.3)},
    ),
    _unary("LOG", ("float32", "int8", "int16"), _log, low=0.05, high=5),
    _unary("LOGICAL_NOT", ("bool",), steps=COPY),
    _unary("LOGISTIC", ("float32", *CODES), lambda x: 1 / (1 + np.exp(-x)), fixed=_SIGMOID, low=-8, high=8),
    _unary("NEG", PLAIN, steps=COPY),
    _unary("RELU", ("float32", *CODES), lambda x: np.maximum(x, 0)),
    _unary("RELU6", ("float32", *CODES[:2]), lambda x: np.clip(x, 0, 6), low=-4, high=8),
    _unary("RELU_N1_TO_1", ("float32", *CODES[:2]), lambda x: np.clip(x, -1, 1)),
    _unary("ROUND", FLOATS),
    _unary("RSQRT", ("float32", "int8", "int16"), lambda x: 1 / np.sqrt(x), low=0.05, high=5),
    _unary("SIGN", ("float32", "int32", "float64"), steps=COPY),
    _unary("SIN", FLOATS),
    _unary("SQRT", FLOATS, low=0, high=9),
    _unary("SQUARE", FLOATS),
    _unary("TANH", ("float32", *CODES), np.tanh, fixed=_TANH, low=-5, high=5),
    _unary("ZEROS_LIKE", PLAIN, steps=COPY),
]  # fmt: skip


_ACTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "NONE": lambda y: y,
    "RELU": lambda y: np.maximum(y, 0),
    "RELU6": lambda y: np.clip(y, 0, 6),
    "RELU_N1_TO_1": lambda y: np.clip(y, -1, 1),
}


def _binary(
    op: str,
    dtypes: tuple[str, ...],
    function: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    *,
    acts: bool = False,
    low: float = -3,
    high: float = 3,
    positive: bool = False,
    steps: int = ROUNDING,
    same: bool = False,
    truth: bool = False,
    plain: bool = False,
) -> Row:
    """A function of two tensors. positive: the divisor is; same: one set of parameters; truth: the result is bool;
    plain: LiteRT computes on the integers themselves, whatever they stand for."""

    def make(draw: Draw, dtype: str, shapes: tuple[Any, Any], const: int | None, act: str = "NONE") -> Case:
        a = draw.values(dtype, shapes[0], low, high)
        b = draw.values(dtype, shapes[1], 0.4 if positive else low, high)
        qa = draw.params(dtype, low, high) if not plain else None
        qb = qa if same or plain else draw.params(dtype, 0.4 if positive else low, high)
        if positive and dtype in CODES:
            b = np.maximum(b, np.asarray(qb.zero_point[0] + 20 if qb else 1, np.int32)).astype(dtype)
        qy = qa if same else None
        exact = None
        if qa is not None and function is not None:
            with np.errstate(all="ignore"):
                exact = _ACTS[act](function(real(a, qa), real(b, qb)))
            qy = None if truth else draw.fitting(dtype, exact)
        options: dict[str, Any] = {"fused_activation_function": act} if acts else {}
        if dtype == "int16":
            options |= {"pot_scale_int16": False} if op in ("ADD", "SUB") else {}
        version = {"int8": 2, "int16": 3}.get(dtype, 1)
        return Case(
            op, [a, b], options, const=() if const is None else (const,), quant={0: qa, 1: qb}, output_quant=(qy,),
            outputs=(np.bool_ if truth else None,), steps=COPY if dtype not in CODES else steps, version=version,
            truth=exact,
        )  # fmt: skip

    axes: dict[str, tuple[Any, ...]] = {"shapes": SPREADS, "const": (None, 1, 0)}
    return Row(op, make, dtypes, axes | ({"act": ACTS} if acts else {}))


_ORDER = (*PLAIN, "int8", "uint8")
BINARY = [
    _binary("ADD", (*PLAIN, *CODES), np.add, acts=True),
    _binary("SUB", (*PLAIN, *CODES), np.subtract, acts=True),
    _binary("MUL", (*PLAIN, *CODES), np.multiply, acts=True),
    _binary("DIV", ("float32", "int32", "int8", "uint8"), np.divide, acts=True, positive=True),
    _binary("FLOOR_DIV", ("float32", "int32", "int16", "int8"), positive=True, plain=True, steps=COPY),
    _binary("FLOOR_MOD", (*PLAIN, "int16", "int8"), positive=True, plain=True, steps=COPY),
    _binary("MAXIMUM", (*PLAIN, *CODES), same=True, steps=COPY),
    _binary("MINIMUM", (*PLAIN, *CODES), same=True, steps=COPY),
    _binary("POW", ("float32", "int32"), low=0.1),
    _binary("SQUARED_DIFFERENCE", ("float32", "int32", "int8"), lambda a, b: (a - b) ** 2),
    _binary("EQUAL", (*_ORDER, "bool"), np.equal, truth=True, steps=COPY),
    _binary("NOT_EQUAL", (*_ORDER, "bool"), np.not_equal, truth=True, steps=COPY),
    _binary("GREATER", _ORDER, np.greater, truth=True, steps=COPY),
    _binary("GREATER_EQUAL", _ORDER, np.greater_equal, truth=True, steps=COPY),
    _binary("LESS", (*_ORDER, "int16"), np.less, truth=True, steps=COPY),
    _binary("LESS_EQUAL", _ORDER, np.less_equal, truth=True, steps=COPY),
    _binary("LOGICAL_AND", ("bool",), truth=True, steps=COPY),
    _binary("LOGICAL_OR", ("bool",), truth=True, steps=COPY),
]


def _prelu(draw: Draw, dtype: str, shapes: tuple[Any, Any], const: bool) -> Case:
    x, slope = draw.values(dtype, shapes[0]), draw.values(dtype, shapes[1], -0.5, 1)
    qx, qs = draw.params(dtype), draw.params(dtype, -0.5, 1)
    a, s = real(x, qx), real(slope, qs)
    y = np.where(a < 0, a * s, a)
    return Case(
        "PRELU", [x, slope], const=(1,) if const else (), quant={0: qx, 1: qs}, steps=ROUNDING, truth=y if qx else None,
        output_quant=(draw.fitting(dtype, y),),
    )  # fmt: skip


def _add_n(draw: Draw, dtype: str, shape: tuple[int, ...], many: int) -> Case:
    return Case("ADD_N", [draw.values(dtype, shape) for _ in range(many)], {})


_TYPES = ("float32", "int32", "int64", "bool", "int8", "uint8", "int16", "uint16", "uint32", "float16", "float64")


def _cast(draw: Draw, dtype: str, shape: tuple[int, ...], to: str) -> Case:
    low = 0 if to.startswith("u") else -5
    x = draw.values(dtype, shape, 0 if dtype.startswith("u") else low, 5)
    if dtype in CODES:
        x = np.asarray(draw.rng.integers(max(low, np.iinfo(dtype).min), 99, shape), dtype)
    return Case("CAST", [x], {}, outputs=(np.dtype(to),))


def _quantize(draw: Draw, dtype: str, shape: tuple[int, ...], to: str, wide: bool) -> Case:
    """From floats or codes to codes; `wide`: part of the values lies outside the range of the result."""
    x, q = draw.values(dtype, shape, *((-3000, 3000) if dtype == "int32" else (-3, 3))), draw.params(dtype)
    q = rounded(QuantParam(1e-3, 0, None, 32)) if dtype == "int32" else q
    qy = draw.params(to, *((-1, 0.7) if wide else (-4, 4)))
    return Case("QUANTIZE", [x], quant={0: q}, output_quant=(qy,), outputs=(np.dtype(to),), steps=ROUNDING, version=3)


def _dequantize(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool) -> Case:
    q = draw.params(dtype)
    x = draw.values(dtype, shape)
    if const and dtype == "float32":
        return None  # type: ignore[return-value]
    return Case(
        "DEQUANTIZE", [x], quant={0: q}, outputs=(np.float32,), version=3 if dtype != "uint8" else 2,
        const=(0,) if const else (),
    )  # fmt: skip


PRELU_SHAPES = (
    ((2, 3, 4, 5), (1, 1, 5)), ((2, 3, 4, 5), (3, 4, 5)), ((2, 3, 4, 5), (5,)), ((3, 5), (5,)), ((4,), (4,)),
    ((2, 3, 4), (3, 1)),
)  # fmt: skip
OTHERS = [
    Row("PRELU", _prelu, ("float32", "int8", "uint8"), {"shapes": PRELU_SHAPES, "const": (True, False)}),
    Row("ADD_N", _add_n, ("float32", "int32"), {"shape": SHAPES, "many": (1, 2, 5)}),
    Row("CAST", _cast, _TYPES, {"to": _TYPES, "shape": ((), (7,), (2, 3, 4))}),
    Row("QUANTIZE", _quantize, ("float32", "int32", *CODES), {"shape": SHAPES, "to": CODES, "wide": (False, True)}),
    Row("DEQUANTIZE", _dequantize, (*CODES, "float16"), {"shape": SHAPES, "const": (False,)}),
]
ROWS = [*UNARY, *BINARY, *OTHERS]
