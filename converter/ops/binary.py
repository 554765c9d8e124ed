"""Functions of two tensors, elementwise with numpy broadcasting: arithmetic, comparisons, logic, bits. One table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..numeric.qparams import activation_range, foldable, requantize_rne_f32
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import apply_act, no_act_in_mslite, read_act
from ._support.c_steps import (
    bounds,
    broadcast_space,
    codes,
    count,
    float_step,
    gemmlowp,
    is_f32,
    is_s8,
    multiplier,
    ratio,
    real_operand,
    refuse_types,
    same_codes,
    scale,
    zero,
)
from ._support.channels import of_equal_shapes
from ._support.integer import one_scale
from ._support.layout import same_layout
from ._support.types import broadcast, joint_dtype, need, value_dtype
from ._support.writers import write_fused, write_onnx
from .qparam_views import stored


def _div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integers as C divides them: towards zero."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    if a.dtype.kind == "u":
        return np.floor_divide(a, b)
    q = np.floor_divide(a, b)
    return q + ((np.mod(a, b) != 0) & ((a < 0) != (b < 0))).astype(q.dtype)


def _floor_div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.floor(np.divide(a, b)).astype(a.dtype) if a.dtype.kind == "f" else np.floor_divide(a, b)


def _pow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In the base's type. Mixed types and negative integer exponents go through float64."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu" and not (b < 0).any():
        return np.power(a, b.astype(a.dtype))
    if a.dtype == b.dtype and a.dtype.kind == "f":
        return np.power(a, b)
    return np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)


def _squared_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    d = a - b
    return d * d


@dataclass(frozen=True)
class _Row:
    """name; function; kinds of dtype taken; the containers' names ("" where there is none); what else the row says."""

    name: str
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    kinds: str
    tflite: str = ""
    onnx: str = ""
    ms: str = ""
    act: bool = False
    truth: bool = False
    kernel: str = ""
    quant: Quant | None = None
    stored: bool = False  # TFLite's form computes on the integers themselves, whatever they stand for


def _mslite_add(node: Node) -> str:
    y = node.outputs[0].shape or ()
    for t in node.inputs:
        shape = list(t.shape or ()) if t is not None else []
        while shape[:1] == [1]:
            del shape[0]
        if shape and tuple(shape) != y[-len(shape) :]:
            return "the real kernel adds other elements where inner dimensions repeat"
    return ""


_NUMBERS, _FLOAT = "iuf", Quant(int8=False)
_MUL = Quant(int16=True, mslite=no_act_in_mslite, clamps=True, rounds=True)
_SUB = replace(_MUL, passes_channels=of_equal_shapes)
_ADD = replace(_SUB, mslite=_mslite_add)
_ROWS = [
    _Row("Add", np.add, _NUMBERS, "ADD", "Add", "AddFusion", act=True, kernel="add", quant=_ADD),
    _Row("Sub", np.subtract, _NUMBERS, "SUB", "Sub", "SubFusion", act=True, kernel="sub", quant=_SUB),
    _Row("Mul", np.multiply, _NUMBERS, "MUL", "Mul", "MulFusion", act=True, kernel="mul", quant=_MUL),
    _Row("Div", _div, _NUMBERS, "DIV", "Div", "DivFusion", act=True, kernel="div"),
    _Row("Maximum", np.maximum, _NUMBERS, "MAXIMUM", "", "Maximum", kernel="maximum", quant=Quant(output="same")),
    _Row("Minimum", np.minimum, _NUMBERS, "MINIMUM", "", "Minimum", kernel="minimum", quant=Quant(output="same")),
    _Row("Pow", _pow, _NUMBERS),
    _Row("FloorDiv", _floor_div, _NUMBERS, "FLOOR_DIV", "", "FloorDiv", stored=True),
    _Row("FloorMod", np.mod, _NUMBERS, "FLOOR_MOD", "", "FloorMod", stored=True),
    _Row("Fmod", np.fmod, _NUMBERS, "", "", "Mod"),
    _Row(
        "SquaredDifference",
        _squared_difference,
        _NUMBERS,
        "SQUARED_DIFFERENCE",
        "",
        "SquaredDifference",
        kernel="squared_difference",
    ),
    _Row("Atan2", np.arctan2, "f"),
    _Row("Equal", np.equal, "biuf", "EQUAL", "Equal", "Equal", truth=True),
    _Row("NotEqual", np.not_equal, "biuf", "NOT_EQUAL", "", "NotEqual", truth=True),
    _Row("Less", np.less, _NUMBERS, "LESS", "Less", "Less", truth=True),
    _Row("LessEqual", np.less_equal, _NUMBERS, "LESS_EQUAL", "LessOrEqual", "LessEqual", truth=True),
    _Row("Greater", np.greater, _NUMBERS, "GREATER", "Greater", "Greater", truth=True),
    _Row("GreaterEqual", np.greater_equal, _NUMBERS, "GREATER_EQUAL", "GreaterOrEqual", "GreaterEqual", truth=True),
    _Row("LogicalAnd", np.logical_and, "b", "LOGICAL_AND", "And", "LogicalAnd", truth=True),
    _Row("LogicalOr", np.logical_or, "b", "LOGICAL_OR", "Or", "LogicalOr", truth=True),
    _Row("LogicalXor", np.logical_xor, "b", "", "Xor", "", truth=True),
    _Row("BitwiseAnd", np.bitwise_and, "iu", "", "BitwiseAnd"),
    _Row("BitwiseOr", np.bitwise_or, "iu", "", "BitwiseOr"),
    _Row("BitwiseXor", np.bitwise_xor, "biu", "BITWISE_XOR", "BitwiseXor"),
    _Row("ShiftLeft", np.left_shift, "iu"),
    _Row("ShiftRight", np.right_shift, "iu", "RIGHT_SHIFT"),
]


def _infer(row: _Row) -> Callable[[Node], Inferred]:
    def infer(node: Node) -> Inferred:
        a, b = node.required(0), node.required(1)
        need(node, a, row.kinds, "input 0")
        need(node, b, row.kinds, "input 1")
        dtype = value_dtype(a) if row.name == "Pow" else joint_dtype(node, a, b)
        return [(np.dtype(np.bool_) if row.truth else dtype, broadcast(node, a.shape, b.shape))]

    return infer


def _byte_operands(node: Node) -> bool:
    ends = (*node.operands(2), node.outputs[0])
    return all(map(one_scale, ends)) and len({t.dtype.itemsize for t in ends}) == 1


def _centred(node: Node, arrays: Sequence[Any], i: int) -> np.ndarray:
    return arrays[i].astype(np.int32) - node.required(i).qparams.zero_point[0]


def _add_codes(node: Node, arrays: Sequence[Any], sign: int = 1) -> np.ndarray | None:
    """clamp(rne(float32(a - za) · ma ± float32(b - zb) · mb) + zy), m = float32(s/sy); every step rounds to float32."""
    act = node.attrs["act"]
    if not _byte_operands(node) or not foldable(act):
        return None
    y = node.outputs[0]
    qa, qb, qy = node.required(0).qparams, node.required(1).qparams, y.qparams
    a = _centred(node, arrays, 0).astype(np.float32) * np.float32(qa.scale[0] / qy.scale[0])
    b = _centred(node, arrays, 1).astype(np.float32) * np.float32(qb.scale[0] / qy.scale[0])
    low, high = activation_range(act, qy, y.dtype)
    zero = int(qy.zero_point[0])
    total = np.rint(a + b if sign > 0 else a - b)
    return (np.clip(total, np.float32(low - zero), np.float32(high - zero)) + zero).astype(y.dtype)


def _sub_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    return _add_codes(node, arrays, -1)


def _mul_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    """clamp(rne(float32((a - za)(b - zb)) · m) + zy), m = float32(sa·sb/sy)."""
    act = node.attrs["act"]
    if not _byte_operands(node) or not foldable(act):
        return None
    y = node.outputs[0]
    qa, qb, qy = node.required(0).qparams, node.required(1).qparams, y.qparams
    low, high = activation_range(act, qy, y.dtype)
    acc = _centred(node, arrays, 0) * _centred(node, arrays, 1)
    return requantize_rne_f32(acc, qa.scale * qb.scale / qy.scale, int(qy.zero_point[0]), low, high, y.dtype)


def _ordered_codes(function: Callable[..., np.ndarray]) -> Callable[[Node, Sequence[Any]], np.ndarray | None]:
    """With one set of parameters the order of codes is the order of values."""

    def integer(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
        if not _byte_operands(node):
            return None
        ends = (*node.operands(2), node.outputs[0])
        same = len({t.quant for t in ends}) == 1 and len({t.dtype for t in ends}) == 1
        return function(arrays[0], arrays[1]) if same else None

    return integer


_INTEGER: dict[str, Any] = {
    "Add": _add_codes,
    "Sub": _sub_codes,
    "Mul": _mul_codes,
    "Maximum": _ordered_codes(np.maximum),
    "Minimum": _ordered_codes(np.minimum),
}
_BROADCAST = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((3, 1), (2, 1, 5)), ((5,), ())]


def _cases(row: _Row) -> list[Case]:
    rng = np.random.default_rng(7)

    def value(shape: tuple[int, ...], low: float) -> np.ndarray:
        if row.kinds == "b":
            return np.asarray(rng.random(shape) < 0.5)
        if "f" not in row.kinds:
            return rng.integers(0, 8, shape).astype(np.int32)
        return np.asarray(rng.uniform(low, 3, shape), np.float32)

    low = 0.1 if row.name == "Pow" else -3.0
    plain = row.kinds in ("iuf", "f") and row.name != "Pow"
    cases = [Case(pair if plain else (value(pair[0], low), value(pair[1], low))) for pair in _BROADCAST]
    if row.act:
        cases += [Case(_BROADCAST[0], {"act": "relu"}), Case(_BROADCAST[1], {"act": "relu6"})]
    if "i" in row.kinds:
        a = rng.integers(-20, 20, (3, 4)).astype(np.int32)
        b = rng.integers(1, 5, (4,)).astype(np.int32)
        cases.append(Case((abs(a) if row.name in ("Pow", "ShiftLeft", "ShiftRight") else a, b)))
    return cases


def _reference(row: _Row) -> Callable[..., np.ndarray]:
    function = row.function
    if row.act:

        def with_act(a: np.ndarray, b: np.ndarray, *, act: str) -> np.ndarray:
            return apply_act(np.asarray(function(a, b)), act)

        return with_act

    def plain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(function(a, b))

    return plain


def _read_tflite(row: _Row) -> Callable[[Reading], Tensor]:
    def read(r: Reading) -> Tensor:
        act = read_act(r, "tflite", "fused_activation_function") if row.act else {}
        a, b = (stored(r, r.input(i)) if row.stored else r.input(i) for i in (0, 1))
        return r.emit(row.name, a, b, **act)

    return read


def _read_ms(row: _Row) -> Callable[[Reading], Tensor]:
    def read(r: Reading) -> Tensor:
        act = read_act(r, "ms", "activation_type") if row.act else {}
        return r.emit(row.name, r.input(0), r.input(1), **act)

    return read


def _read_onnx(row: _Row) -> Callable[[Reading], Tensor]:
    return lambda r: r.emit(row.name, r.input(0), r.input(1))


def _write_tflite(row: _Row) -> Callable[[Writing, Node], None]:
    key = "fused_activation_function" if row.act else ""
    return lambda w, node: write_fused(w, node, row.tflite, node.inputs, key=key)


def _write_ms(row: _Row) -> Callable[[Writing, Node], None]:
    # The runtime's DivFusion and SubFusion do not look at their activation_type.
    key = "activation_type" if row.act and row.name not in ("Div", "Sub") else ""
    return lambda w, node: write_fused(w, node, row.ms, node.inputs, key=key)


def _write_onnx(row: _Row) -> Callable[[Writing, Node], None]:
    return lambda w, node: write_onnx(w, node, row.onnx, node.inputs)


_C_FUNCTIONS = {
    "Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Maximum": "MAXIMUM", "Minimum": "MINIMUM",
    "SquaredDifference": "SQUARED_DIFFERENCE",
}  # fmt: skip
_VECTOR = 16  # elements that MindSpore Lite adds at once


def _sum_fields(w: Writing, node: Node) -> dict[str, Any]:
    """The scales of a sum or difference, in the profile's own arithmetic."""
    (a, b), y, sub = node.operands(2), node.outputs[0], node.op == "Sub"
    if not gemmlowp(w):
        return {"a_scale": ratio(a, y), "b_scale": -ratio(b, y) if sub else ratio(b, y)}
    common = 2 * max(scale(a), scale(b))
    parts = {"a": scale(a) / common, "b": scale(b) / common, "y": common / (1048576.0 * scale(y))}
    fields: dict[str, Any] = {f"{key}_scale": multiplier(value, True) for key, value in parts.items()}
    return fields | {"b_sign": -1 if sub else 1, "vector_run": 1 if sub else _vector_run(a, b, y)}


def _vector_run(a: Tensor, b: Tensor, y: Tensor) -> int:
    """How many elements MindSpore Lite adds in one go: all, or those of the trailing axes that the operands share."""
    if count(a) == 1 or count(b) == 1:
        return count(y)
    run = 1
    for m, n in zip(reversed(a.static_shape), reversed(b.static_shape)):
        if m != n:
            break
        run *= n
    return run


def _write_c(w: Writing, node: Node) -> None:
    a, b = node.operands(2)
    y, space = node.outputs[0], broadcast_space(w, node, (a, b))
    if is_f32(a, b, y):
        fields = {"space": space, "function": f"BITLITE_{_C_FUNCTIONS[node.op]}"}
        float_step(w, node, "binary_f32", [real_operand(w, a), real_operand(w, b)], fields | bounds(node))
    elif not is_s8(a, b, y) or node.op in ("Div", "SquaredDifference"):
        refuse_types(w, node)
    elif node.op in ("Maximum", "Minimum"):
        if not (same_codes(a, b) and same_codes(a, y)):
            refuse_types(w, node)
        w.node(f"{node.op.lower()}_s8", node, [a, b], fields={"space": space})
    else:
        fields = {"space": space, "a_zero": zero(a), "b_zero": zero(b), "out": codes(w, node)}
        if node.op == "Mul":
            factor = scale(a) * scale(b) / scale(y)
            if gemmlowp(w):
                factor = float(
                    np.float32(float(np.float32(scale(a)) * np.float32(scale(b))) / float(np.float32(scale(y))))
                )
            w.node("mul_s8", node, [a, b], fields=fields | {"scale": multiplier(factor, gemmlowp(w))})
        else:
            w.node("add_s8", node, [a, b], fields=fields | _sum_fields(w, node))


for _row in _ROWS:
    op(
        _row.name,
        attrs={"act": "none"} if _row.act else {},
        infer=_infer(_row),
        arity=2,
        kernel=_row.kernel or None,
        quant=_row.quant or _FLOAT,
        permute=same_layout,
        integer=_INTEGER.get(_row.name),
        cases=_cases(_row),
    )(_reference(_row))
    if _row.tflite:
        reads("tflite", _row.tflite)(_read_tflite(_row))
        writes("tflite", _row.name)(_write_tflite(_row))
    if _row.onnx:
        reads("onnx", _row.onnx)(_read_onnx(_row))
        writes("onnx", _row.name)(_write_onnx(_row))
    if _row.ms:
        reads("ms", _row.ms)(_read_ms(_row))
        writes("ms", _row.name)(_write_ms(_row))
    if _row.name in _C_FUNCTIONS:
        writes("c", _row.name)(_write_c)
