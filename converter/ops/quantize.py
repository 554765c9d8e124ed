"""The casts between floats and codes: Quantize and Dequantize, and ONNX's forms with computed or blocked scales.

The parameters stand on the tensors: the output of Quantize and the input of Dequantize carry a `QuantParam`; without
one the codes are the numbers themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor, is_quantized
from ..numeric.dynamic import dynamic_codes
from ..numeric.qparams import QuantParam, code_range, dequantize, quantize_f32
from ..numeric.qparams import quantize as quantize_codes
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.c_steps import codes, count, gemmlowp, ratio, refuse_types, same_codes, scale, zero
from ._support.integer import per_tensor, rescaled
from ._support.layout import same_layout
from ._support.types import dtype_number, fail
from .qparam_views import as_codes, as_plain, typed


def infer_quantize(node: Node) -> Inferred:
    x, dtype = node.required(0), np.dtype(node.attrs["dtype"])
    if dtype.kind not in "iu" or (x.dtype.kind != "f" and not is_quantized(x)):
        fail(node, f"it cannot quantize {x.dtype} to {dtype}")
    return [(dtype, x.shape)]


def _quantize_codes(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    x, y = node.inputs[0], node.outputs[0]
    if y.quant is None:
        return None
    if is_quantized(x):
        requantized = rescaled(node, arrays[0])
        # Codes wider than a byte: the real number once more.
        return (
            requantized
            if requantized is not None
            else quantize_codes(dequantize(arrays[0], x.qparams), y.quant, y.dtype)
        )
    return quantize_f32(arrays[0], y.quant, y.dtype)


@op(
    "Quantize",
    attrs={"dtype": "int8"},
    infer=infer_quantize,
    kernel="quantize",
    quant=Quant(int8=False, clamps=True, rounds=True),
    permute=same_layout,
    foldable=False,
    integer=_quantize_codes,
    cases=[Case(((3, 4),)), Case(((2, 5),), {"dtype": "uint8"})],
)
def quantize(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """x as codes of the output's parameters, rounded half to even; codes of other parameters are requantized."""
    info = np.iinfo(dtype)
    return np.clip(np.rint(x), info.min, info.max).astype(dtype)


def infer_dequantize(node: Node) -> Inferred:
    x = node.required(0)
    if x.dtype.kind not in "iu":
        fail(node, f"its input {x.name!r} ({x.dtype}) holds no codes")
    return [(np.dtype(np.float32), x.shape)]


@op(
    "Dequantize",
    infer=infer_dequantize,
    kernel="dequantize",
    quant=Quant(int8=False),
    permute=same_layout,
    foldable=False,
    integer=lambda node, arrays: dequantize(arrays[0], x.qparams) if is_quantized(x := node.inputs[0]) else None,
    cases=[Case((np.array([[1, -3], [127, -128]], np.int8),))],
)
def dequantize_(x: np.ndarray) -> np.ndarray:
    """The real value of codes, float32."""
    return x.astype(np.float32)


@reads("tflite", "QUANTIZE")
def read_tflite_quantize(r: Reading) -> Tensor:
    x, declared = r.input(0), r.outputs[0]
    if declared.quant is None:
        r.refuse("its output has no quantization parameters")
    if x.is_const and x.dtype == np.float32:
        constant = r.constant(quantize_f32(x.value, declared.quant, declared.dtype), name=x.name)
        constant.quant = declared.quant
        return constant
    return r.emit("Quantize", x, dtype=declared.dtype.name)


@reads("tflite", "DEQUANTIZE")
def read_tflite_dequantize(r: Reading) -> Tensor:
    """float16 data are cast; a quantized constant is itself the weight of whatever reads it."""
    x = r.input(0)
    if x.dtype.kind == "f":
        return r.emit("Cast", x, dtype="float32")
    if x.quant is None:
        r.refuse(f"its input {x.name!r} has no quantization parameters")
    if r.outputs[0].dtype.kind != "f":
        r.refuse(f"its output is {r.outputs[0].dtype}, and must be float")
    return x if x.is_const else r.emit("Dequantize", x)


@reads("tflite", "FAKE_QUANT")
def read_tflite_fake_quant(r: Reading) -> Tensor:
    """Quantize → Dequantize on the grid of TensorFlow's nudged range; of a constant, its codes.

    Where the codes do not fill int8, values are clipped to the grid's ends before.
    """
    bits, low, high = r.attr("num_bits", 8) or 8, float(r.attr("min", 0.0)), float(r.attr("max", 0.0))
    if not 2 <= bits <= 16 or not low <= 0 <= high or low == high:
        r.refuse(f"{bits} bits and a range of {low} to {high}: the range must hold 0")
    qmin, qmax = int(bool(r.attr("narrow_range", False))), 2**bits - 1
    f, half = np.float32, 2 ** (bits - 1)
    scale = f((f(high) - f(low)) / f(qmax - qmin))
    zero = f(qmin - f(low) / scale)
    nudged = qmin if zero < qmin else qmax if zero > qmax else int(np.floor(zero + f(0.5)))
    bottom, top = f((qmin - nudged) * scale), f((qmax - nudged) * scale)
    dtype = np.dtype(np.int8 if bits <= 8 else np.int16)
    quant = QuantParam(np.array([scale], np.float64), np.array([nudged - half], np.int32), None, 8 * dtype.itemsize)
    x = r.input(0)
    if x.is_const and x.dtype == np.float32:
        inside = np.clip(x.value, bottom, top)
        constant = r.constant(quantize_f32(inside, quant, dtype), name=x.name)
        constant.quant = dataclasses.replace(quant, bits=bits)
        return constant
    if qmin or bits not in (8, 16):
        x = r.emit("Clip", x, min=float(bottom), max=float(top))
    return r.emit("Dequantize", typed(r.emit("Quantize", x, dtype=dtype.name), quant))


def onnx_param(scale: Tensor, zero_point: Tensor | None, axis: int, bits: int, rank: int | None) -> QuantParam | None:
    """The QuantParam of constant ONNX parameters; None when they are computed, or one per block of an axis."""
    if not scale.is_const or (zero_point is not None and not zero_point.is_const):
        return None
    s = scale.real().astype(np.float64)
    z = np.zeros(s.shape, np.int64) if zero_point is None else zero_point.value.astype(np.int64)
    if s.size == 1 and s.ndim <= 1:
        return QuantParam(s.reshape(1), z.reshape(-1)[:1].astype(np.int32), None, bits)
    if s.ndim != 1 or rank is None or not -rank <= axis < rank or z.shape != s.shape:
        return None
    return QuantParam(s, z.astype(np.int32), axis % rank, bits)


def _bits(r: Reading, t: Tensor | None, dtype: Any, *, narrow: int = 0) -> int:
    """The width of a quantized type: integers of 2 and 4 bits are stored a byte each."""
    width = 8 * np.dtype(dtype).itemsize
    behind = r.build.codes.get(t) if t is not None else None
    if behind is not None and behind.quant is not None:
        return behind.quant.bits
    return narrow or (width if t is None else r.build.narrow.get(t, width))


@reads("onnx", "QuantizeLinear", "com.microsoft::QuantizeLinear")
def read_onnx_quantize(r: Reading) -> Tensor:
    x, scale, zero = r.input(0), r.input(1), r.optional(2)
    number = r.attr("output_dtype", 0)
    names = {0: "uint8", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16"}
    names |= {21: "uint8", 22: "int8", 25: "uint8", 26: "int8"}
    if zero is None and number not in names:
        r.refuse(f"a quantized type {number} is not read")
    dtype = names[number] if zero is None else zero.dtype.name
    bits = _bits(r, zero, dtype, narrow={21: 4, 22: 4, 25: 2, 26: 2}.get(number, 0))
    if zero is not None and zero.dtype.kind not in "iu":
        r.refuse(f"a quantized type {zero.dtype} is not read")
    axis, block = r.attr("axis", 1), r.attr("block_size", 0)
    quant = None if block else onnx_param(scale, zero, axis, bits, x.rank)
    if quant is None or x.dtype != np.float32 or not (quant.scale > 0).all():
        inputs = [x, scale, *([] if zero is None else [zero])]
        return r.emit_many("QuantizeLinear", inputs, axis=axis, block=block, dtype=dtype, bits=bits)[0]
    return as_plain(r, typed(r.emit("Quantize", x, dtype=dtype), quant))


@reads("onnx", "DequantizeLinear", "com.microsoft::DequantizeLinear")
def read_onnx_dequantize(r: Reading) -> Tensor:
    """Of a constant: the constant itself with its parameters, a weight stored quantized."""
    x, scale, zero = r.input(0), r.input(1), r.optional(2)
    axis, block = r.attr("axis", 1), r.attr("block_size", 0)
    if x.dtype.kind not in "iu":
        r.refuse(f"a quantized type {x.dtype} is not read")
    quant = None if block else onnx_param(scale, zero, axis, _bits(r, x, x.dtype), x.rank)
    number = r.attr("output_dtype", 0)
    if number not in (0, 1, 10):
        r.refuse(f"its output is of type {number}")
    # The sum of int32 data and a zero point is exact here, and ONNX's int32 has none.
    if quant is None or scale.dtype != np.float32 or number == 10:
        inputs = [x, scale, *([] if zero is None else [zero])]
        attrs = {"axis": axis, "block": block, "dtype": {0: scale.dtype.name, 1: "float32", 10: "float16"}[number]}
        # A matrix in blocks stays codes for the product that reads it (`fuse_block_product`).
        return r.build.emit("DequantizeLinear", inputs, attrs, name=r.name, fold=not (block and x.rank == 2))[0]
    codes = as_codes(r, x, quant)
    return codes if codes.is_const else r.emit("Dequantize", codes)


def _spread(values: np.ndarray, x: np.ndarray, axis: int, block: int) -> np.ndarray:
    """Scales or zero points as they meet x: one for all, one per entry of `axis`, or one per `block` entries of it."""
    if values.size == 1 and values.ndim <= 1:
        return values.reshape(())
    axis %= x.ndim
    if block:
        return np.repeat(values, block, axis)[tuple(slice(0, n) for n in x.shape)]
    return values.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


def _infer_linear(node: Node) -> Inferred:
    x, scale, zero = node.required(0), node.required(1), node.input(2)
    wanted = "fi" if node.op == "QuantizeLinear" else "iu"
    if x.dtype.kind not in wanted or scale.dtype.kind != "f" or (zero is not None and zero.dtype.kind not in "iu"):
        fail(node, f"types {x.dtype} and {scale.dtype} do not fit")
    shapes = [t.shape for t in (scale, zero) if t is not None and t.shape not in ((), (1,), None)]
    if len(set(shapes)) > 1:
        fail(node, f"scales and zero points of shapes {shapes}")
    _check_scales(node, x, scale)
    return [(np.dtype(node.attrs["dtype"]), x.shape)]


def _check_scales(node: Node, x: Tensor, scale: Tensor) -> None:
    axis, block = node.attrs["axis"], node.attrs["block"]
    if scale.shape is None or None in scale.shape:
        fail(node, "the shape of its scales is not known")
    if scale.shape in ((), (1,)) and not block:
        return
    if x.shape is None or not -len(x.shape) <= axis < len(x.shape):
        fail(node, f"axis {axis} is not an axis of {x.shape}")
    axis %= len(x.shape)
    if block:
        fits = len(scale.shape) == len(x.shape) and all(
            n is None or (-(-n // block) if i == axis else n) == m for i, (n, m) in enumerate(zip(x.shape, scale.shape))
        )
    else:
        fits = len(scale.shape) == 1 and x.shape[axis] in (None, scale.shape[0])
    if not fits or block < 0:
        fail(node, f"scales of shape {scale.shape} do not fit {x.shape} with axis {axis} and block {block}")


_LINEAR = {"axis": 1, "block": 0, "dtype": REQUIRED}
_NARROW = {"bits": 8}


@op(
    "QuantizeLinear",
    attrs=_LINEAR | _NARROW,
    infer=_infer_linear,
    arity=(2, 3),
    quant=Quant(int8=False),
    cases=[
        Case(((3, 4), np.float32(0.02), np.int8(-3)), {"dtype": "int8"}),
        Case(((3, 4), np.float32(0.2), np.int8(-3)), {"dtype": "int8", "bits": 4}),
        Case(
            ((2, 3), np.array([0.1, 0.2, 0.05], np.float32), np.array([1, 2, 3], np.uint8)),
            {"axis": 1, "dtype": "uint8"},
        ),
        Case(((2, 4), np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)), {"axis": 1, "block": 2, "dtype": "uint8"}),
    ],
)
def quantize_linear(
    x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None, *, axis: int, block: int, dtype: str, bits: int
) -> np.ndarray:
    """ONNX QuantizeLinear to plain integers: saturate(rne(x / scale) + zero), scales per tensor, axis or block."""
    low, high = code_range(bits, unsigned=np.dtype(dtype).kind == "u")
    s = _spread(scale, x, axis, block)
    y = np.rint((x.astype(np.float32) / s.astype(np.float32)).astype(np.float32)).astype(np.float64)
    y = y + (0 if zero is None else _spread(zero, x, axis, block).astype(np.float64))
    return np.clip(np.nan_to_num(y, nan=0.0), low, high).astype(dtype)


@op(
    "DequantizeLinear",
    attrs=_LINEAR,
    infer=_infer_linear,
    arity=(2, 3),
    quant=Quant(int8=False),
    cases=[
        Case((np.array([[3, -4], [5, 6]], np.int8), np.float16(0.5), np.int8(1)), {"dtype": "float16"}),
        Case(
            (np.array([[3, 4], [5, 6]], np.uint8), np.array([[0.5], [2]], np.float32)),
            {"axis": 1, "block": 2, "dtype": "float32"},
        ),
    ],
)
def dequantize_linear(
    x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None, *, axis: int, block: int, dtype: str
) -> np.ndarray:
    """ONNX DequantizeLinear of plain integers: (x - zero) · scale."""
    centred = x.astype(np.int64) - (0 if zero is None else _spread(zero, x, axis, block).astype(np.int64))
    return (centred.astype(np.float32) * _spread(scale, x, axis, block).astype(np.float32)).astype(dtype)


@reads("onnx", "DynamicQuantizeLinear")
def read_onnx_dynamic_quantize(r: Reading) -> list[Tensor]:
    return r.emit_many("DynamicQuantizeLinear", [r.input(0)])


def _infer_dynamic(node: Node) -> Inferred:
    x = node.required(0)
    if x.dtype != np.float32:
        fail(node, f"its input must be float32, not {x.dtype}")
    return [(np.dtype(np.uint8), x.shape), (np.dtype(np.float32), ()), (np.dtype(np.uint8), ())]


@op(
    "DynamicQuantizeLinear",
    infer=_infer_dynamic,
    outputs=3,
    quant=Quant(int8=False),
    cases=[Case(((3, 4),)), Case((np.zeros((2, 2), np.float32),))],
)
def dynamic_quantize_linear(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [..] → uint8 data, its scale and zero point, from the data's own range widened to hold 0."""
    f = np.float32
    low, high = f(min(x.min(initial=0), 0)), f(max(x.max(initial=0), 0))
    scale = f((high - low) / f(255)) if high > low else f(1)
    zero = np.uint8(np.clip(np.rint((0 - low) / scale), 0, 255))
    y = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8)
    return y, np.asarray(scale), np.asarray(zero)


@op(
    "DynamicRound",
    infer=lambda node: [(node.required(0).dtype, node.required(0).shape)],
    quant=Quant(int8=False),
    cases=[Case(((3, 4),))],
)
def dynamic_round(x: np.ndarray) -> np.ndarray:
    """x rounded to the 256 codes of its own range: what MindSpore Lite's DynamicQuant stands for."""
    codes, scale, zero = dynamic_codes(np.asarray(x, np.float32))
    return ((codes.astype(np.int32) - zero).astype(np.float32) * scale).astype(x.dtype)


@writes("ms", "DynamicRound")
def write_ms_dynamic_round(w: Writing, node: Node) -> None:
    w.refuse(node, "only a matrix product with int8 weights quantizes its input while running there")


@reads("ms", "QuantDTypeCast")
def read_ms_cast(r: Reading) -> Tensor:
    x, to = r.input(0), r.attr("dst_t", 0)
    if to == dtype_number("ms", np.float32):
        if x.quant is None:
            r.refuse(f"its input {x.name!r} has no quantization parameters")
        return x if x.is_const else r.emit("Dequantize", x)
    if r.outputs[0].quant is None:
        r.refuse("its output has no quantization parameters")
    return r.emit("Quantize", x, dtype=r.outputs[0].dtype.name)


def _parameters(w: Writing, node: Node) -> None:
    if not is_quantized(node.outputs[0] if node.op == "Quantize" else node.inputs[0]):
        w.refuse(node, "it has no quantization parameters")


@writes("ms", "Quantize", "Dequantize")
def write_ms_casts(w: Writing, node: Node) -> None:
    """Codes of another kind go through floats: the runtime casts only between the two."""
    x, y = node.required(0), node.outputs[0]

    _parameters(w, node)

    def cast(a: Tensor, b: Tensor) -> None:
        fields = {"src_t": dtype_number("ms", a.dtype), "dst_t": dtype_number("ms", b.dtype)}
        w.node("QuantDTypeCast", node, [a], [b], fields=fields)

    if is_quantized(x) and is_quantized(y):
        real = w.between(x, name=f"{node.name}/real")
        real.dtype, real.quant = np.dtype(np.float32), None
        cast(x, real)
        x = real
    cast(x, y)


@writes("tflite", "Quantize", "Dequantize")
def write_tflite_casts(w: Writing, node: Node) -> None:
    _parameters(w, node)
    w.node("QUANTIZE" if node.op == "Quantize" else "DEQUANTIZE", node, node.inputs)


@writes("onnx", "Quantize", "Dequantize")
def write_onnx_casts(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]

    _parameters(w, node)

    def linear(name: str, a: Tensor, b: Tensor, t: Tensor) -> None:
        q = t.qparams
        shape: tuple[int, ...] = () if q.axis is None else (len(q.scale),)
        scale = w.constant(q.scale.reshape(shape), np.float32, f"{t.name}/scale")
        zero = w.constant(q.zero_point.reshape(shape), t.dtype, f"{t.name}/zero_point")
        fields = {} if q.axis is None else {"axis": q.axis}
        w.node(name, node, [a, scale, zero], [b], fields=fields)

    if node.op == "Dequantize":
        linear("DequantizeLinear", x, y, x)
        return
    if is_quantized(x):
        real = w.between(x, name=f"{node.name}/real")
        real.dtype, real.quant = np.dtype(np.float32), None
        linear("DequantizeLinear", x, real, x)
        x = real
    linear("QuantizeLinear", x, y, y)


@writes("onnx", "QuantizeLinear", "DequantizeLinear")
def write_onnx_linear(w: Writing, node: Node) -> None:
    if node.attrs["block"] and w.options.get("opset", 0) < 21:
        w.refuse(node, "scales per block need opset 21")
    fields = {"axis": node.attrs["axis"]} | ({"block_size": node.attrs["block"]} if node.attrs["block"] else {})
    if node.attrs.get("bits", 8) < 8:
        w.refuse(node, "it quantizes to fewer than 8 bits")
    w.node(node.op, node, node.inputs, fields=fields)


@writes("onnx", "DynamicQuantizeLinear")
def write_onnx_dynamic(w: Writing, node: Node) -> None:
    w.node("DynamicQuantizeLinear", node, node.inputs)


def _flip(t: Tensor) -> int:
    """What turns codes of t into int8 ones: uint8 ones are those with the highest bit turned."""
    return 128 if t.dtype == np.uint8 else 0


@writes("c", "Quantize")
def write_c_quantize(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    if not per_tensor(y) or not (per_tensor(x) or (x.dtype == np.float32 and x.quant is None)):
        refuse_types(w, node)
    out, flip = codes(w, node), _flip(y)
    out = {key: value - flip for key, value in out.items()}
    if is_quantized(x):
        n = count(x)
        w.node("requantize_s8", node, [x], fields={
            "rows": 1, "run": n, "x_row": n, "y_row": n, "x_zero": zero(x) - _flip(x),
            "same": int(same_codes(x, y)), "x_flip": _flip(x), "y_flip": flip, "scale": ratio(x, y), "out": out,
        })  # fmt: skip
        return
    one_step = gemmlowp(w) and y.dtype == np.int8
    inverse = np.float32(1) / np.float32(scale(y)) if one_step else np.float32(1 / scale(y))
    if gemmlowp(w) and not one_step:
        w.refuse(node, "uint8 codes of a model that rounds as MindSpore Lite does", hint="an int8 or float input")
    w.node("quantize_s8", node, [x], fields={"count": count(x), "y_flip": flip, "inverse": inverse, "out": out})


@writes("c", "Dequantize")
def write_c_dequantize(w: Writing, node: Node) -> None:
    x, y = node.required(0), node.outputs[0]
    if not per_tensor(x):
        refuse_types(w, node)
    fields = {"count": count(y), "x_zero": zero(x) - _flip(x), "x_flip": _flip(x), "scale": np.float32(scale(x))}
    w.node("dequantize_s8", node, [x], fields=fields)
