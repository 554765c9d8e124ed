"""Cast, and what passes its input on: Identity (also Dropout at inference), constants."""

from __future__ import annotations

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.c_steps import count, refuse_types
from ._support.channels import channel_by_channel
from ._support.integer import same_codes
from ._support.layout import same_layout
from ._support.mindir import mindir_dtype
from ._support.params import emit_cast
from ._support.types import dtype_from, fail, value_dtype

_KINDS = "biuf"


def infer_cast(node: Node) -> Inferred:
    x = node.required(0)
    try:
        dtype = np.dtype(node.attrs["dtype"])
    except TypeError:
        fail(node, f"there is no type {node.attrs['dtype']!r}")
    if dtype.kind not in _KINDS or x.dtype.kind not in _KINDS:
        fail(node, f"no cast from {x.dtype} to {dtype}")
    return [(dtype, x.shape)]


@op(
    "Cast",
    attrs={"dtype": REQUIRED},
    infer=infer_cast,
    kernel="cast",
    quant=Quant(int8=False),
    permute=same_layout,
    cases=[
        Case(((3, 4),), {"dtype": "int32"}),
        Case(((3, 4),), {"dtype": "bool"}),
        Case(((3, 4),), {"dtype": "float16"}, tolerance=1e-3),
        Case((np.array([-3, 0, 7]),), {"dtype": "float32"}),
    ],
)
def cast(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """x as another type; floats are cut towards zero, anything but 0 is true."""
    to = np.dtype(dtype)
    if x.dtype.kind == "f" and to.kind in "iu" and to.itemsize < 8:
        # Through int64, so that values outside the target wrap as they do in C on the usual machines.
        return x.astype(np.int64).astype(to)
    return x.astype(to)


def casted(r: Reading, x: Tensor, dtype: str) -> Tensor:
    """A Cast where it changes the type; never of codes, whose integers are no numbers."""
    if x.quant is not None and x.dtype.kind in "iu" and not x.is_const:
        r.refuse("it casts quantized data, whose integers only stand for numbers")
    return x if value_dtype(x) == np.dtype(dtype) and not x.is_const else r.emit("Cast", x, dtype=dtype)


@reads("onnx", "Cast")
def read_onnx_cast(r: Reading) -> Tensor:
    return casted(r, r.input(0), dtype_from("onnx", r.attr("to"), r))


@reads("onnx", "CastLike")
def read_onnx_cast_like(r: Reading) -> Tensor:
    return casted(r, r.input(0), value_dtype(r.input(1)).name)


@reads("tflite", "CAST")
def read_tflite_cast(r: Reading) -> Tensor:
    """The declared output decides: options are missing in older files."""
    return casted(r, r.input(0), r.outputs[0].dtype.name)


@reads("ms", "Cast")
def read_ms_cast(r: Reading) -> Tensor:
    return casted(r, r.input(0), dtype_from("ms", r.ints(1, "the type")[0], r))


@reads("mindir", "Cast")
def read_mindir_cast(r: Reading) -> Tensor:
    return casted(r, r.input(0), mindir_dtype(r, r.numbers.get(1) or r.attr("dst_type", r.attr("DstT", 43))))


@reads("mindir", "Dropout", "DropoutExt", "Identity")
def read_mindir_dropout(r: Reading) -> Tensor:
    """At inference: the input."""
    return r.input(0)


@reads("caffe", "Dropout")
def read_caffe_dropout(r: Reading) -> Tensor:
    """At inference: the input."""
    return r.input(0)


@reads("caffe", "Split")
def read_caffe_split(r: Reading) -> list[Tensor]:
    return [r.input(0)] * len(r.outputs)


@writes("ms", "Cast")
@writes("tflite", "Cast")
@writes("onnx", "Cast")
def write_cast(w: Writing, node: Node) -> None:
    x = node.required(0)
    emit_cast(w, node, x, node.outputs[0])


def infer_bit_cast(node: Node) -> Inferred:
    x, dtype = node.required(0), np.dtype(node.attrs["dtype"])
    if x.dtype.itemsize != dtype.itemsize or "b" in (x.dtype.kind, dtype.kind):
        fail(node, f"the bits of {x.dtype} are no {dtype}")
    return [(dtype, x.shape)]


@op(
    "BitCast",
    attrs={"dtype": REQUIRED},
    infer=infer_bit_cast,
    quant=Quant(int8=False),
    permute=same_layout,
    cases=[Case(((3, 4),), {"dtype": "int32"}), Case((np.array([1, -1], np.int64),), {"dtype": "uint64"})],
)
def bit_cast(x: np.ndarray, *, dtype: str) -> np.ndarray:
    """The same bits as another type of the same width."""
    return np.ascontiguousarray(x).view(dtype).reshape(x.shape)


@reads("onnx", "BitCast")
def read_onnx_bit_cast(r: Reading) -> Tensor:
    return r.emit("BitCast", r.input(0), dtype=dtype_from("onnx", r.attr("to"), r))


@reads("tflite", "BITCAST")
def read_tflite_bit_cast(r: Reading) -> Tensor:
    return r.emit("BitCast", r.input(0), dtype=r.outputs[0].dtype.name)


@writes("tflite", "BitCast")
def write_tflite_bit_cast(w: Writing, node: Node) -> None:
    w.node("BITCAST", node, node.inputs)


def infer_identity(node: Node) -> Inferred:
    x = node.required(0)
    return [(value_dtype(x), x.shape)]


def _identity(x: np.ndarray) -> np.ndarray:
    return x


@op(
    "Identity",
    infer=infer_identity,
    kernel="identity",
    quant=Quant(output="same", mslite="", passes_channels=channel_by_channel),
    permute=same_layout,
    integer=same_codes(_identity),
    cases=[Case(((2, 3),))],
)
def identity(x: np.ndarray) -> np.ndarray:
    """x itself. Readers drop it where names allow."""
    return x


@reads("onnx", "Identity")
def read_onnx_identity(r: Reading) -> Tensor:
    return r.input(0)


@reads("onnx", "Dropout")
def read_onnx_dropout(r: Reading) -> list[Tensor]:
    """At inference: the input, and a mask that is all true (all ones of the input's type before opset 10)."""
    x = r.input(0)
    training, ratio = r.optional(2), r.optional(1)
    if training is not None and not (training.is_const and not training.value.any()):
        off = ratio is not None and ratio.is_const and not ratio.value.any()
        if not off:
            r.refuse("it is in training mode, its result is random")
    if len(r.outputs) < 2:
        return [x]
    if x.shape is None or None in x.shape:
        r.refuse("its mask needs the input's shape", hint=Setting("input_shape"))
    shape = r.constant(x.shape, np.int64, f"{r.name}/shape")
    return [x, r.emit("Fill", shape, r.constant(1, np.bool_ if r.version >= 10 else x.dtype))]


@reads("tflite", "DENSIFY")
def read_tflite_densify(r: Reading) -> Tensor:
    """Sparse constants are unpacked where they are read."""
    return r.input(0)


@reads("ms", "Dropout")
def read_ms_dropout(r: Reading) -> Tensor:
    return r.input(0)


@reads("onnx", "Constant")
def read_onnx_constant(r: Reading) -> Tensor:
    kinds = {
        "value": None,
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    key = next((k for k in kinds if r.options.get(k) is not None), None)
    if key is None:
        r.refuse(f"a constant of {', '.join(r.options) or 'nothing'} is not read")
    data = np.asarray(r.options[key], kinds[key])
    name = r.build.rename("", r.outputs[0].name) if r.outputs else r.build.name(r.name)
    return Tensor(name, data.dtype, data.shape, data)


@writes("onnx", "Identity")
def write_onnx_identity(w: Writing, node: Node) -> None:
    w.node("Identity", node, node.inputs)


@writes("tflite", "Identity")
def write_tflite_identity(w: Writing, node: Node) -> None:
    """TFLite has none: a RESHAPE to the same shape."""
    y = node.outputs[0]
    if y.shape is None or sum(n is None for n in y.shape) > 1:
        w.refuse(node, "its shape is not known", hint=Setting("input_shape"))
    shape = [-1 if n is None else n for n in y.shape]
    at = w.constant(shape, np.int32, f"{node.name}/shape")
    w.node("RESHAPE", node, [node.inputs[0], at], fields={"new_shape": shape})


@writes("ms", "Identity")
def write_ms_identity(w: Writing, node: Node) -> None:
    y = node.outputs[0]
    if y.shape is None or sum(n is None for n in y.shape) > 1:
        w.refuse(node, "its shape is not known", hint=Setting("input_shape"))
    at = w.constant([-1 if n is None else n for n in y.shape], np.int32, f"{node.name}/shape")
    w.node("Reshape", node, [node.inputs[0], at])


@writes("c", "Cast")
def write_c_cast(w: Writing, node: Node) -> None:
    """Bytes to float32: codes of scale 1."""
    x, y = node.required(0), node.outputs[0]
    if x.dtype.itemsize != 1 or x.dtype.kind not in "iu" or y.dtype != np.float32:
        refuse_types(w, node)
    flip = 128 if x.dtype == np.uint8 else 0
    fields = {"count": count(y), "x_zero": -flip, "x_flip": flip, "scale": np.float32(1)}
    w.node("dequantize_s8", node, [x], fields=fields)
