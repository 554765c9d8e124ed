"""Rows of reductions, places of extremes, running sums, softmaxes and normalizations."""

from __future__ import annotations

from typing import Any

import numpy as np

from .elementwise import _q
from .table import CODES, COPY, PLAIN, ROUNDING, Case, Draw, Row, real

SHAPES = ((7,), (3, 5), (2, 3, 4), (2, 3, 4, 5), (2, 2, 3, 2, 3))
AXES = ("first", "last", "negative", "two", "all", "twice", "scalar", "none")


def _axes(draw: Draw, rank: int, kind: str) -> np.ndarray:
    two = sorted(draw.rng.permutation(rank)[:2].tolist())
    axes = {
        "first": [0], "last": [rank - 1], "negative": [-1], "two": two, "all": list(range(rank)), "twice": [0, 0],
        "none": [],
    }  # fmt: skip
    return np.int32(rank - 1) if kind == "scalar" else np.asarray(axes[kind], np.int32)


def _reduction(op: str, dtypes: tuple[str, ...], function: Any, *, same: bool = False) -> Row:
    def make(draw: Draw, dtype: str, shape: tuple[int, ...], axes: str, keep: bool, const: bool) -> Case:
        low, high = (-1.5, 1.5) if op == "REDUCE_PROD" else (-3, 3)
        x, q, at = draw.values(dtype, shape, low, high), draw.params(dtype, low, high), _axes(draw, len(shape), axes)
        qy, truth = q if same else None, None
        if q is not None and not same:
            over = tuple(sorted({int(a) % len(shape) for a in at.reshape(-1)}))
            truth = function(real(x, q), axis=over, keepdims=keep)
            qy = draw.fitting(dtype, truth)
        return Case(
            op, [x, at], {"keep_dims": keep}, const=(1,) if const else (), quant={0: q}, output_quant=(qy,),
            steps=COPY if same or q is None else ROUNDING, truth=truth, version={"int8": 2, "int16": 3}.get(dtype, 1),
        )  # fmt: skip

    axes: dict[str, tuple[Any, ...]] = {"shape": SHAPES, "axes": AXES, "keep": (False, True), "const": (True, False)}
    return Row(op, make, dtypes, axes)


def _place(op: str) -> Row:
    def make(draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, to: str, ties: bool) -> Case:
        if axis >= len(shape):
            return None  # type: ignore[return-value]
        x = draw.values(dtype, shape)
        x = np.asarray(np.rint(x / (40 if x.dtype.itemsize == 1 else 1)), x.dtype) if ties and dtype != "bool" else x
        options = {"output_type": {"int32": 2, "int64": 4}[to]}
        return Case(
            op, [x, np.int32(axis)], options, const=(1,), outputs=(np.dtype(to),), quant={0: draw.params(dtype)}
        )

    axes: dict[str, tuple[Any, ...]] = {
        "shape": SHAPES, "axis": (0, 1, 2, -1), "to": ("int32", "int64"), "ties": (False, True)
    }  # fmt: skip
    return Row(op, make, ("float32", "int32", "int8", "uint8", "bool"), axes)


def _cumsum(draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, exclusive: bool, reverse: bool) -> Case | None:
    if axis >= len(shape):
        return None
    options = {"exclusive": exclusive, "reverse": reverse}
    return Case("CUMSUM", [draw.values(dtype, shape), np.int32(axis)], options, const=(1,))


_SOFT = {"int8": _q(1 / 256, -128), "uint8": _q(1 / 256, 0), "int16": _q(1 / 32768, 0, 16)}
_LOGSOFT = {"int8": _q(16 / 256, 127), "uint8": _q(16 / 256, 255)}
_UNIT = {"int8": _q(1 / 128, 0), "uint8": _q(1 / 128, 128)}


def _softmax(draw: Draw, dtype: str, shape: tuple[int, ...], beta: float, spread: float) -> Case:
    x, q = draw.values(dtype, shape, -spread, spread), draw.params(dtype, -spread, spread)
    if dtype == "int16" and beta != 1:
        return None  # type: ignore[return-value]
    e = np.exp(beta * (real(x, q) - real(x, q).max(-1, keepdims=True)))
    return Case(
        "SOFTMAX", [x], {"beta": beta}, quant={0: q}, output_quant=(_SOFT.get(dtype),), steps=ROUNDING,
        truth=e / e.sum(-1, keepdims=True) if q else None,
    )  # fmt: skip


def _log_softmax(draw: Draw, dtype: str, shape: tuple[int, ...], spread: float) -> Case:
    x, q = draw.values(dtype, shape, -spread, spread), draw.params(dtype, -spread, spread)
    shifted = real(x, q) - real(x, q).max(-1, keepdims=True)
    return Case(
        "LOG_SOFTMAX", [x], {}, quant={0: q}, output_quant=(_LOGSOFT.get(dtype),), steps=ROUNDING,
        truth=shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)) if q else None,
        version=2 if dtype == "int8" else 1,
    )  # fmt: skip


def _l2(draw: Draw, dtype: str, shape: tuple[int, ...]) -> Case:
    x, q = draw.values(dtype, shape), draw.params(dtype)
    v = real(x, q)
    truth = v / np.maximum(np.sqrt((v**2).sum(-1, keepdims=True)), 1e-6) if q else None
    return Case(
        "L2_NORMALIZATION", [x], {}, quant={0: q}, output_quant=(_UNIT.get(dtype),), steps=ROUNDING, truth=truth,
        version=2 if dtype == "int8" else 1,
    )  # fmt: skip


def _lrn(draw: Draw, dtype: str, shape: tuple[int, ...], radius: int, alpha: float, beta: float, bias: float) -> Case:
    options = {"radius": radius, "alpha": alpha, "beta": beta, "bias": bias}
    return Case("LOCAL_RESPONSE_NORMALIZATION", [draw.values(dtype, shape)], options)


_RANKS = ((10,), (3, 7), (2, 3, 5), (2, 3, 4, 9), (1, 1), (1, 1001))
_NUMBERS = (*PLAIN, *CODES)
ROWS = [
    _reduction("MEAN", _NUMBERS, np.mean),
    _reduction("SUM", _NUMBERS[:5], np.sum),
    _reduction("REDUCE_PROD", (*PLAIN, "int8"), np.prod),
    _reduction("REDUCE_MAX", _NUMBERS, np.max, same=True),
    _reduction("REDUCE_MIN", _NUMBERS, np.min, same=True),
    _reduction("REDUCE_ALL", ("bool",), np.all),
    _reduction("REDUCE_ANY", ("bool",), np.any),
    _place("ARG_MAX"),
    _place("ARG_MIN"),
    Row(
        "CUMSUM", _cumsum, PLAIN,
        {"shape": SHAPES, "axis": (0, 1, 2, -1), "exclusive": (False, True), "reverse": (False, True)},
    ),
    Row("SOFTMAX", _softmax, ("float32", *CODES), {"shape": _RANKS, "beta": (1.0, 0.3, 2.0), "spread": (0.5, 4, 30)}),
    Row("LOG_SOFTMAX", _log_softmax, ("float32", "int8", "uint8"), {"shape": _RANKS, "spread": (0.5, 4, 10)}),
    Row("L2_NORMALIZATION", _l2, ("float32", "int8", "uint8"), {"shape": (*_RANKS[1:], (2, 1, 3, 4, 5))}),
    Row(
        "LOCAL_RESPONSE_NORMALIZATION", _lrn, ("float32",),
        {"shape": ((1, 3, 4, 7), (2, 1, 1, 16), (1, 2, 2, 1)), "radius": (0, 1, 2, 5), "alpha": (1e-4, 0.3),
         "beta": (0.5, 0.75, 1.0), "bias": (1.0, 2.0)},
    ),
]  # fmt: skip
