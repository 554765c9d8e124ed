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
from ._support.channels import of_equal_shapes
from ._support.integer import per_tensor
from ._support.layout import same_layout
from ._support.types import broadcast, joint_dtype, known_size, need, value_dtype
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
_MUL = Quant(mslite=no_act_in_mslite, clamps=True, rounds=True)
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
    return per_tensor(node.inputs[0]) and per_tensor(node.inputs[1]) and per_tensor(node.outputs[0])


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


def _chain(name: str) -> Callable[[Reading], Tensor]:
    """ONNX's operators of any number of inputs."""

    def read(r: Reading) -> Tensor:
        y = r.input(0)
        for i in range(1, len(r.inputs)):
            y = r.emit(name, y, r.input(i))
        return y

    return read


for _onnx, _name in (("Max", "Maximum"), ("Min", "Minimum"), ("Sum", "Add")):
    reads("onnx", _onnx)(_chain(_name))
reads("tflite", "ADD_N")(_chain("Add"))
reads("ms", "AddN")(_chain("Add"))
reads("ms", "RealDiv")(lambda r: r.emit("Div", r.input(0), r.input(1)))


@reads("onnx", "Mean")
def read_onnx_mean(r: Reading) -> Tensor:
    y = _chain("Add")(r)
    return r.emit("Div", y, r.constant(len(r.inputs), value_dtype(y))) if len(r.inputs) > 1 else y


@reads("onnx", "Mod")
def read_onnx_mod(r: Reading) -> Tensor:
    return r.emit("Fmod" if r.attr("fmod", 0) else "FloorMod", r.input(0), r.input(1))


@reads("onnx", "BitShift")
def read_onnx_bit_shift(r: Reading) -> Tensor:
    name = {"LEFT": "ShiftLeft", "RIGHT": "ShiftRight"}.get(r.attr("direction"))
    if name is None:
        r.refuse(f"direction {r.attr('direction')!r}, allowed are LEFT and RIGHT")
    return r.emit(name, r.input(0), r.input(1))


def _power(r: Reading, x: Tensor, y: Tensor) -> Tensor:
    """x to the power of y; the square, where y is the number 2."""
    if y.is_const and y.value.size == 1 and y.real().reshape(-1)[0] == 2 and _leaves_shape(x, y):
        return r.emit("Square", x)
    return r.emit("Pow", x, y)


def _leaves_shape(x: Tensor, y: Tensor) -> bool:
    """Whether one number y, [1, …, 1], leaves the shape of x alone."""
    return not y.shape or (x.shape is not None and len(y.shape) <= len(x.shape))


@reads("onnx", "Pow")
@reads("tflite", "POW")
def read_pow(r: Reading) -> Tensor:
    return _power(r, r.input(0), r.input(1))


@writes("onnx", "Pow")
@writes("tflite", "Pow")
def write_pow(w: Writing, node: Node) -> None:
    w.node("POW" if w.container == "tflite" else "Pow", node, node.inputs)


@reads("ms", "PowFusion")
def read_ms_pow(r: Reading) -> Tensor:
    """(scale · x + shift) ^ y."""
    x, scale, shift = r.input(0), r.attr("scale", 1.0), r.attr("shift", 0.0)
    if scale != 1:
        x = r.emit("Mul", x, r.constant(scale, value_dtype(x)))
    if shift != 0:
        x = r.emit("Add", x, r.constant(shift, value_dtype(x)))
    return _power(r, x, r.input(1))


@reads("ms", "BiasAdd")
def read_ms_bias_add(r: Reading) -> Tensor:
    return r.emit("Add", r.input(0), r.input(1))


@reads("ms", "Eltwise")
def read_ms_eltwise(r: Reading) -> Tensor:
    name = {0: "Mul", 1: "Add", 2: "Maximum"}.get(r.attr("mode", 0))
    if name is None:
        r.refuse(f"mode {r.attr('mode')} is not read")
    return _chain(name)(r)


@reads("tflite", "ATAN2")
def read_tflite_atan2(r: Reading) -> Tensor:
    return r.emit("Atan2", r.input(0), r.input(1))


@writes("tflite", "Atan2")
def write_tflite_atan2(w: Writing, node: Node) -> None:
    a, b = node.required(0), node.required(1)
    if a.shape != b.shape:
        w.refuse(node, f"its inputs of shapes {a.shape} and {b.shape} broadcast")
    w.node("ATAN2", node, node.inputs)


@writes("ms", "Pow")
def write_ms_pow(w: Writing, node: Node) -> None:
    """Its kernel does not broadcast: an exponent of the result's size, or one for all."""
    x, e, y = node.required(0), node.required(1), node.outputs[0]
    if x.shape != y.shape or (e.shape != y.shape and known_size(e.shape) != 1):
        w.refuse(node, f"its inputs of shapes {x.shape} and {e.shape} broadcast")
    w.node("PowFusion", node, node.inputs, fields={"scale": 1.0, "shift": 0.0})


@writes("onnx", "Maximum", "Minimum")
def write_onnx_max(w: Writing, node: Node) -> None:
    w.node("Max" if node.op == "Maximum" else "Min", node, node.inputs)


@writes("onnx", "FloorMod", "Fmod")
def write_onnx_mod(w: Writing, node: Node) -> None:
    """ONNX's Mod of floats is C's; the remainder with the divisor's sign is a - b · floor(a / b)."""
    y = node.outputs[0]
    if y.dtype.kind != "f" or node.op == "Fmod":
        w.node("Mod", node, node.inputs, fields={"fmod": int(node.op == "Fmod")})
        return
    first = w.between(y, name=f"{y.name}/fmod")
    shifted = w.between(y, name=f"{y.name}/shifted")
    w.node("Mod", node, node.inputs, [first], fields={"fmod": 1})
    w.node("Add", node, [first, node.inputs[1]], [shifted])
    w.node("Mod", node, [shifted, node.inputs[1]], fields={"fmod": 1})


@writes("onnx", "FloorDiv")
def write_onnx_floor_div(w: Writing, node: Node) -> None:
    y = node.outputs[0]
    if y.dtype.kind == "i":
        w.refuse(node, "ONNX divides integers towards zero")
    if y.dtype.kind == "u":
        w.node("Div", node, node.inputs)
        return
    ratio = w.between(y, name=f"{y.name}/ratio")
    w.node("Div", node, node.inputs, [ratio])
    w.node("Floor", node, [ratio])


@writes("onnx", "SquaredDifference")
def write_onnx_squared_difference(w: Writing, node: Node) -> None:
    d = w.between(node.outputs[0], name=f"{node.outputs[0].name}/difference")
    w.node("Sub", node, node.inputs, [d])
    w.node("Mul", node, [d, d])


@writes("onnx", "NotEqual")
def write_onnx_not_equal(w: Writing, node: Node) -> None:
    same = w.between(node.outputs[0], name=f"{node.outputs[0].name}/equal")
    w.node("Equal", node, node.inputs, [same])
    w.node("Not", node, [same])


@writes("onnx", "ShiftLeft", "ShiftRight")
def write_onnx_shift(w: Writing, node: Node) -> None:
    w.node("BitShift", node, node.inputs, fields={"direction": "LEFT" if node.op == "ShiftLeft" else "RIGHT"})
