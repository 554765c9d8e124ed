"""onnxruntime's quantized elementwise operators (com.microsoft QLinear…): each is the IR's own operator on codes."""

from __future__ import annotations

from typing import Any

from ..ir import Tensor
from ..numeric.qparams import QuantParam
from ..schema.op import reads
from ..schema.reading import Reading
from .qparam_views import as_codes, as_plain, parameters, typed


def _codes(r: Reading, index: int) -> Tensor:
    """Input `index` with the scale and zero point that follow it."""
    x = r.input(index)
    return as_codes(r, x, parameters(r, index + 1, index + 2, None, x.dtype))


def _result(r: Reading, y: Tensor, scale: int, dtype: Any) -> Tensor:
    """y with the parameters at inputs `scale` and `scale` + 1, as the plain integers that ONNX has."""
    zero = r.optional(scale + 1)
    dtype = dtype if zero is None else zero.dtype
    quant: QuantParam = parameters(r, scale, scale + 1, None, dtype)
    return as_plain(r, typed(y, quant, dtype))


@reads("onnx", "com.microsoft::QLinearAdd", "com.microsoft::QLinearMul")
def read_qlinear_binary(r: Reading) -> Tensor:
    """a, its scale and zero point, b, its own, those of the result."""
    name = "Add" if r.op.endswith("Add") else "Mul"
    return _result(r, r.emit(name, _codes(r, 0), _codes(r, 3)), 6, r.input(0).dtype)


@reads("onnx", "com.microsoft::QLinearSigmoid")
def read_qlinear_sigmoid(r: Reading) -> Tensor:
    return _result(r, r.emit("Sigmoid", _codes(r, 0)), 3, r.input(0).dtype)


@reads("onnx", "com.microsoft::QLinearLeakyRelu")
def read_qlinear_leaky_relu(r: Reading) -> Tensor:
    y = r.emit("LeakyRelu", _codes(r, 0), alpha=float(r.attr("alpha", 0.01)))
    return _result(r, y, 3, r.input(0).dtype)


@reads("onnx", "com.microsoft::QLinearSoftmax")
def read_qlinear_softmax(r: Reading) -> Tensor:
    """`opset` says which Softmax it stands for; before 13 that took all axes from `axis` on as one."""
    x = _codes(r, 0)
    rank = r.rank(x)
    axis = r.axis(r.attr("axis", -1), rank)
    if r.attr("opset", 13) < 13 and axis != rank - 1:
        r.refuse("it stands for a Softmax of an opset before 13 along another axis than the last")
    return _result(r, r.emit("Softmax", x, axis=axis), 3, r.input(0).dtype)


@reads("onnx", "com.microsoft::QLinearConcat")
def read_qlinear_concat(r: Reading) -> Tensor:
    """The result's scale and zero point, then each input with its own."""
    if len(r.inputs) < 5 or len(r.inputs) % 3 != 2:
        r.refuse(f"{len(r.inputs)} inputs are not two and then triples")
    parts = [_codes(r, i) for i in range(2, len(r.inputs), 3)]
    return _result(r, r.emit("Concat", *parts, axis=r.attr("axis")), 0, parts[0].dtype)


@reads("onnx", "com.microsoft::QLinearReduceMean")
def read_qlinear_reduce_mean(r: Reading) -> Tensor:
    axes = r.attr("axes", None)
    attrs = {"axes": None if axes is None else [int(a) for a in axes], "keep_dims": bool(r.attr("keepdims", 1))}
    return _result(r, r.emit("Reduce", _codes(r, 0), mode="mean", **attrs), 3, r.input(0).dtype)


@reads("onnx", "com.microsoft::QLinearWhere")
def read_qlinear_where(r: Reading) -> Tensor:
    """The condition, a with its scale and zero point, b with its own, those of the result."""
    return _result(r, r.emit("Where", r.input(0), _codes(r, 1), _codes(r, 4)), 7, r.input(1).dtype)
