"""Functions of two tensors where containers have other names, other operands or no operator of their own for them."""

from __future__ import annotations

from collections.abc import Callable

from ..ir import Node, Tensor
from ..schema.op import reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.caffe import param, scalar, scaled
from ._support.mindir import needs_nchw, operands
from ._support.types import known_size, value_dtype


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


_MINDIR = {
    "Add": ("Add", "TensorAdd", "Adds"),
    "Sub": ("Sub", "Subs"),
    "Mul": ("Mul", "Muls"),
    "Div": ("Div", "RealDiv", "Divs"),
    "Maximum": ("Maximum",),
    "Minimum": ("Minimum",),
    "FloorDiv": ("FloorDiv",),
    "FloorMod": ("FloorMod",),
    "Fmod": ("Mod", "TruncateMod"),
    "SquaredDifference": ("SquaredDifference",),
    "Atan2": ("Atan2",),
    "Equal": ("Equal", "EqualScalar"),
    "NotEqual": ("NotEqual", "NeScalar"),
    "Less": ("Less", "LessScalar"),
    "LessEqual": ("LessEqual", "LessEqualScalar"),
    "Greater": ("Greater", "GreaterScalar"),
    "GreaterEqual": ("GreaterEqual", "GreaterEqualScalar"),
    "LogicalAnd": ("LogicalAnd",),
    "LogicalOr": ("LogicalOr",),
    "LogicalXor": ("LogicalXor",),
}
for _name, _primitives in _MINDIR.items():
    reads("mindir", *_primitives)(lambda r, name=_name: r.emit(name, *operands(r)))


@reads("mindir", "Pow", "PowTensorScalar", "PowScalarTensor")
def read_mindir_pow(r: Reading) -> Tensor:
    return _power(r, *operands(r))


@reads("mindir", "AddExt", "SubExt")
def read_mindir_scaled_sum(r: Reading) -> Tensor:
    """x ± alpha · y."""
    x, y = operands(r)
    alpha = r.real(2, "alpha", 1)
    y = y if alpha == 1 else r.emit("Mul", y, r.constant(alpha, value_dtype(y)))
    return r.emit("Add" if r.op == "AddExt" else "Sub", x, y)


@reads("mindir", "BiasAdd")
def read_mindir_bias_add(r: Reading) -> Tensor:
    """The bias belongs to axis 1."""
    needs_nchw(r, 2)
    return r.channels_first(r.emit("Add", r.channels_last(r.input(0)), r.input(1)))


@reads("mindir", "AddN", "AccumulateNV2")
def read_mindir_add_n(r: Reading) -> Tensor:
    first, *others = r.tensors(0)
    for other in others:
        first = r.emit("Add", first, other)
    return first


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


@reads("caffe", "Eltwise")
def read_caffe_eltwise(r: Reading) -> Tensor:
    p = param(r, "eltwise_param")
    name = {0: "Mul", 1: "Add", 2: "Maximum"}[p.operation]
    if p.coeff:
        if name != "Add" or len(p.coeff) != len(r.inputs):
            r.refuse(f"{len(p.coeff)} coefficients for {len(r.inputs)} inputs of {name}")
        r.inputs[:] = [scaled(r, r.input(k), c, 0.0) for k, c in enumerate(p.coeff)]
    return _chain(name)(r)


@reads("caffe", "Power")
def read_caffe_power(r: Reading) -> Tensor:
    """(shift + scale · x) ^ power."""
    p = param(r, "power_param")
    x = scaled(r, r.input(0), p.scale, p.shift)
    return x if p.power == 1 else _power(r, x, scalar(r, x, p.power))


@reads("caffe", "Threshold")
def read_caffe_threshold(r: Reading) -> Tensor:
    x = r.input(0)
    above = r.emit("Greater", x, scalar(r, x, param(r, "threshold_param").threshold))
    return r.emit("Cast", above, dtype=x.dtype.name)
