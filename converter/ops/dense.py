"""Matrix products: FullyConnected and MatMul."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Shape, Tensor, is_quantized
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import apply_act, fused_activation, read_act
from ._support.c_steps import count, layer, matrix
from ._support.caffe import axis_of, blob, flat_blob, param
from ._support.integer import is_dynamic, weighted_sum
from ._support.types import broadcast, fail, joint_dtype, known_size, need, sum_type
from ._support.writers import need_constants, write_fused, write_onnx, write_onnx_product, write_transposed
from .block_product import read_tflite_block_product


def infer_fully_connected(node: Node) -> Inferred:
    x, w, bias = node.required(0), node.required(1), node.input(2)
    need(node, x, "f", "the input")
    if w.shape is None or len(w.shape) != 2 or None in w.shape:
        fail(node, f"the weight's shape {w.shape} must be known, [outputs, inputs]")
    o, k = w.static_shape
    if bias is not None and bias.is_static and bias.shape != (o,):
        fail(node, f"bias shape {bias.shape}, expected ({o},)")
    if x.shape is None:
        return [(x.dtype, None)]
    if node.attrs["keep_dims"]:
        if not x.shape or x.shape[-1] not in (k, None):
            fail(node, f"an input of shape {x.shape} does not meet a weight of shape {w.shape}")
        return [(x.dtype, (*x.shape[:-1], o))]
    size = known_size(x.shape)
    if size is not None and (not k or size % k):
        fail(node, f"an input of shape {x.shape} cannot be rows of {k}")
    return [(x.dtype, (None if size is None else size // k, o))]


def _integer_fc(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    attrs = node.attrs | {"act": "none"}
    return weighted_sum(node, arrays, lambda x, w: fully_connected(x, w, **attrs), 0)


def _mixes_channels(node: Node) -> str:
    x = node.required(0)
    channels = x.shape[-1] if x.shape else None
    return "full" if channels and node.required(1).static_shape[1] % channels == 0 else ""


@op(
    "FullyConnected",
    attrs={"act": "none", "keep_dims": True, "dynamic": False},
    infer=infer_fully_connected,
    arity=(2, 3),
    kernel="fully_connected",
    quant=Quant(
        int16=True,
        weight=1,
        axis=0,
        bias=2,
        mslite="",
        addends=lambda node, w: w,
        clamps=True,
        mixes_channels=_mixes_channels,
    ),
    integer=_integer_fc,
    cases=[
        Case(((3, 7), (5, 7), (5,)), const=(1, 2)),
        Case(((2, 3, 16), (33, 16)), {"act": "relu"}, const=(1,)),
        Case(((2, 2, 3, 4), (5, 12), (5,)), {"keep_dims": False}, const=(1, 2)),
        Case(((1, 9), (4, 9), (4,)), {"keep_dims": False, "act": "relu6"}, const=(1, 2)),
    ],
)
def fully_connected(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, *, act: str, keep_dims: bool, dynamic: bool = False
) -> np.ndarray:
    """x [...,K] · w [O,K]ᵀ + b [O] → [...,O]; without keep_dims x is rows of K.

    dynamic: an int8 w meets x quantized while running; see `integer.is_dynamic`.
    """
    rows = x if keep_dims else x.reshape(-1, w.shape[1])
    y = (sum_type(rows) @ sum_type(w).T).astype(np.result_type(x, w), copy=False)
    return apply_act(y if b is None else y + b, act)


def _swapped(shape: Shape, transpose: bool) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if transpose and len(shape) > 1 else shape


def infer_matmul(node: Node) -> Inferred:
    a, b, bias = node.required(0), node.required(1), node.input(2)
    need(node, a, "iuf", "a factor")
    dtype = joint_dtype(node, a, b)
    if a.shape is None or b.shape is None:
        return [(dtype, None)]
    if not a.shape or not b.shape:
        fail(node, "a factor is a scalar")
    left, right = _swapped(a.shape, node.attrs["transpose_a"]), _swapped(b.shape, node.attrs["transpose_b"])
    inner = right[max(len(right) - 2, 0)]
    if None not in (left[-1], inner) and left[-1] != inner:
        fail(node, f"factors of shapes {left} and {right} do not meet")
    if bias is not None and bias.is_static and (len(right) < 2 or bias.shape != right[-1:]):
        fail(node, f"bias shape {bias.shape}, expected {right[-1:]}")
    batch = broadcast(node, left[:-2], right[:-2]) or ()
    rows = left[-2:-1] if len(left) > 1 else ()
    columns = right[-1:] if len(right) > 1 else ()
    return [(dtype, (*batch, *rows, *columns))]


def _matmul_axis(node: Node) -> int:
    rank = node.required(1).rank or 2
    return max(rank - (2 if node.attrs["transpose_b"] else 1), 0)


def _matmul_addends(node: Node, w: np.ndarray) -> np.ndarray:
    return w if node.attrs["transpose_b"] or w.ndim < 2 else w.swapaxes(-1, -2)


def _integer_matmul(node: Node, arrays: Sequence[Any]) -> np.ndarray | None:
    if arrays[0].ndim < 2 or arrays[1].ndim < 2:
        return None
    attrs = node.attrs | {"act": "none"}
    return weighted_sum(node, arrays, lambda a, b: matmul(a, b, **attrs), _matmul_axis(node))


@op(
    "MatMul",
    attrs={"transpose_a": False, "transpose_b": False, "act": "none", "dynamic": False},
    infer=infer_matmul,
    arity=(2, 3),
    kernel="matmul",
    quant=Quant(weight=1, axis=_matmul_axis, bias=2, mslite="", addends=_matmul_addends, clamps=True),
    integer=_integer_matmul,
    cases=[
        Case(((3, 5), (5, 4))),
        Case(((2, 3, 5), (5, 4), (4,)), {"act": "relu"}, const=(1, 2)),
        Case(((2, 1, 3, 5), (4, 7, 5)), {"transpose_b": True}),
        Case(((2, 5, 3), (2, 5, 4)), {"transpose_a": True}),
        Case(((5,), (5, 4))),
        Case(((2, 3, 5), (5,))),
        Case(((5,), (5,))),
    ],
)
def matmul(
    a: np.ndarray,
    b: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    transpose_a: bool,
    transpose_b: bool,
    act: str,
    dynamic: bool = False,
) -> np.ndarray:
    """a [...,M,K] · b [...,K,N] + bias [N], batches broadcast, 1-D factors as in numpy; transposes swap the last.

    dynamic: a constant int8 b meets a quantized while running; see `integer.is_dynamic`.
    """
    left = np.swapaxes(a, -1, -2) if transpose_a and a.ndim > 1 else a
    right = np.swapaxes(b, -1, -2) if transpose_b and b.ndim > 1 else b
    y = np.matmul(sum_type(left), sum_type(right)).astype(np.result_type(a, b), copy=False)
    return apply_act(y if bias is None else y + bias, act)


@reads("tflite", "FULLY_CONNECTED")
def read_tflite_fully_connected(r: Reading) -> Tensor:
    if r.attr("weights_format", 0):
        r.refuse("shuffled weights (weights_format 1) are not read")
    x, w = r.input(0), r.input(1)
    if w.shape is None or len(w.shape) != 2:
        r.refuse(f"a weight of shape {w.shape} is not a matrix")
    keep = bool(r.attr("keep_num_dims", False))
    attrs = read_act(r, "tflite", "fused_activation_function")
    if r.attr("blocks", None) is not None:
        return read_tflite_block_product(r, keep=keep, **attrs)
    return r.emit("FullyConnected", x, w, r.optional(2), keep_dims=keep or r.rank(x) == 2, **attrs)


@reads("tflite", "BATCH_MATMUL")
def read_tflite_batch_matmul(r: Reading) -> Tensor:
    flags = {"transpose_a": bool(r.attr("adj_x", False)), "transpose_b": bool(r.attr("adj_y", False))}
    return r.emit("MatMul", r.input(0), r.input(1), **flags)


@reads("onnx", "MatMul")
def read_onnx_matmul(r: Reading) -> Tensor:
    a, b = r.input(0), r.input(1)
    if b.is_const and b.rank == 2 and b.dtype.kind == "f" and a.rank is not None and a.rank >= 2:
        return r.emit("FullyConnected", a, r.permuted(b, [1, 0]))
    return r.emit("MatMul", a, b)


@reads("onnx", "Gemm")
def read_onnx_gemm(r: Reading) -> Tensor:
    return gemm(r, r.optional(2))


@reads("onnx", "com.microsoft::FusedGemm")
def read_onnx_fused_gemm(r: Reading) -> Tensor:
    r.options["activation_params"] = [
        v for k in ("alpha", "beta", "gamma") if (v := r.attr(f"activation_{k}", None)) is not None
    ]
    return fused_activation(r, gemm(r, r.optional(2)))


@reads("onnx", "com.microsoft::FusedMatMul")
def read_onnx_fused_matmul(r: Reading) -> Tensor:
    if r.attr("transBatchA", 0) or r.attr("transBatchB", 0):
        r.refuse("transBatchA and transBatchB are not read")
    flags = {"transpose_a": bool(r.attr("transA", 0)), "transpose_b": bool(r.attr("transB", 0))}
    return _scaled(r, r.emit("MatMul", r.input(0), r.input(1), **flags), float(r.attr("alpha", 1.0)))


def _scaled(r: Reading, y: Tensor, factor: float) -> Tensor:
    return y if factor == 1.0 else r.emit("Mul", y, r.constant(factor, y.dtype))


def gemm(r: Reading, c: Tensor | None) -> Tensor:
    """alpha·A'·B' + beta·C as FullyConnected where it is one, else as a product and a sum."""
    a, b = r.input(0), r.input(1)
    alpha, beta = float(r.attr("alpha", 1.0)), float(r.attr("beta", 1.0))
    if r.rank(a) != 2 or r.rank(b) != 2:
        r.refuse(f"factors of ranks {a.rank} and {b.rank}; both must be matrices")
    transposed = bool(r.attr("transB", 0))
    columns = b.known_shape[0 if transposed else 1]
    if c is not None and beta == 0.0:
        c = None
    vector = c is not None and c.shape in ((columns,), (1, columns)) and c.shape[0] is not None and c.dtype.kind == "f"
    # A bias that is stored in codes, as exporters of trained quantizers have it, is one as it stands.
    vector |= c is not None and c.quant is not None and c.dtype == np.int32 and c.shape == (columns,) and beta == 1.0
    scaled_c = None if c is None else _scaled(r, c, beta)
    fused: Tensor | None = None
    if vector and alpha == 1.0 and scaled_c is not None:
        fused = scaled_c
        if fused.rank == 2:
            fused = (
                r.constant(fused.data.reshape(-1), name=fused.name)
                if fused.data is not None and fused.quant is None
                else r.emit("Reshape", fused, r.constant([-1], np.int64))
            )
        scaled_c = None
    if b.is_const and not r.attr("transA", 0) and a.dtype.kind == "f":
        y = r.emit("FullyConnected", a, b if transposed else r.permuted(b, [1, 0]), fused)
    else:
        y = r.emit("MatMul", a, b, fused, transpose_a=bool(r.attr("transA", 0)), transpose_b=transposed)
    y = _scaled(r, y, alpha)
    return y if scaled_c is None else r.emit("Add", y, scaled_c)


@reads("ms", "FullConnection")
def read_ms_full_connection(r: Reading) -> Tensor:
    x, w, act = r.input(0), r.input(1), read_act(r, "ms", "activation_type")
    rank = r.rank(x)
    if r.attr("use_axis", False):
        axis = int(r.attr("axis", 1))
        if axis < 1 or axis >= rank:
            r.refuse(f"axis={axis} of an input of rank {rank} is not read")
        if axis < rank - 1:
            shape = [0] * axis + [-1]
            if None in x.known_shape[:axis]:
                r.refuse("the leading sizes of the input are not known", hint=Setting("input_shape"))
            shape[:axis] = x.sizes(0, axis)
            x = r.emit("Reshape", x, r.constant(shape, np.int64))
    elif rank != 2:
        return r.emit("FullyConnected", x, w, r.optional(2), keep_dims=False, **act)
    return r.emit("FullyConnected", x, w, r.optional(2), **act)


@reads("ms", "MatMulFusion")
def read_ms_matmul(r: Reading) -> Tensor:
    a, b, act = r.input(0), r.input(1), read_act(r, "ms", "activation_type")
    flags = {"transpose_a": bool(r.attr("transpose_a", False)), "transpose_b": bool(r.attr("transpose_b", False))}
    if b.is_const and b.rank == 2 and not flags["transpose_a"] and (a.rank or 0) >= 2:
        w = b if flags["transpose_b"] else r.permuted(b, [1, 0])
        return r.emit("FullyConnected", a, w, r.optional(2), **act)
    return r.emit("MatMul", a, b, r.optional(2), **flags, **act)


@reads("mindir", "MatMul", "BatchMatMul", "MatMulExt", "BatchMatMulExt")
def read_mindir_matmul(r: Reading) -> Tensor:
    flags = {k: bool(r.arg(i, k, False)) for i, k in ((2, "transpose_a"), (3, "transpose_b"))}
    if r.op.endswith("Ext"):
        flags = dict.fromkeys(flags, False)
    a, b = r.input(0), r.input(1)
    if b.is_const and b.rank == 2 and a.rank is not None and a.rank >= 2 and not flags["transpose_a"]:
        return r.emit("FullyConnected", a, b if flags["transpose_b"] else r.permuted(b, [1, 0]))
    return r.emit("MatMul", a, b, **flags)


@reads("mindir", "Dense")
def read_mindir_dense(r: Reading) -> Tensor:
    return r.emit("FullyConnected", r.input(0), r.input(1), r.optional(2))


@reads("caffe", "InnerProduct")
def read_caffe_inner_product(r: Reading) -> Tensor:
    """The axes from `axis` on are one row; older files have a weight of 1 x 1 x N x K."""
    p, x, w = param(r, "inner_product_param"), r.input(0), blob(r, 0)
    axis = axis_of(r, x, p.axis)
    if r.rank(w) == 4:
        w = r.constant(w.value.reshape(w.value.shape[2:]), name=w.name)
    if r.rank(w) != 2:
        r.refuse(f"a weight of shape {w.shape}")
    w = r.permuted(w, [1, 0]) if p.transpose else w
    if axis != r.rank(x) - 1:
        head = x.known_shape[:axis]
        if None in head[1:]:
            r.refuse(f"the shape of {x.name!r} is not known", hint=Setting("input_shape"))
        x = r.emit("Reshape", x, r.constant([-1, *head[1:], w.size(1)], np.int64, f"{r.name}/shape"))
    return r.emit("FullyConnected", x, w, flat_blob(r, 1) if p.bias_term else None)


@writes("ms", "FullyConnected")
def write_ms_fully_connected(w: Writing, node: Node) -> None:
    x, weight = node.required(0), node.required(1)
    if node.attrs["keep_dims"]:
        fields = {"transpose_a": False, "transpose_b": True}
        _write_ms_product(w, node, fields)
        return
    need_constants(w, node)
    if x.shape is None or known_size(x.shape[1:]) != weight.size(1):
        w.refuse(
            node,
            f"an input of shape {x.shape} is not one row of {weight.known_shape[1]} each",
            hint=Setting("input_shape"),
        )
    fields = {"has_bias": node.input(2) is not None, "use_axis": True, "axis": 1}
    write_fused(w, node, "FullConnection", node.inputs, fields, key="activation_type")


@writes("ms", "MatMul")
def write_ms_matmul(w: Writing, node: Node) -> None:
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None or min(a.rank or 0, b.rank or 0) < 2:
        w.refuse(node, "a product with a vector, or of unknown rank, is not there")
    _write_ms_product(w, node, {k: node.attrs[k] for k in ("transpose_a", "transpose_b")})


def _write_ms_product(w: Writing, node: Node, fields: dict[str, Any]) -> None:
    """A MatMulFusion, behind a DynamicQuant where the node quantizes its input while running, by symmetric weights."""
    x = node.required(0)
    bias = node.input(2)
    if bias is not None and not bias.is_const and node.outputs[0].quant is None:
        raw = w.between(node.outputs[0], name=f"{node.outputs[0].name}/product")
        w.node("MatMulFusion", node, node.inputs[:2], [raw], fields={**fields, "activation_type": 0})
        write_fused(w, node, "AddFusion", [raw, bias], key="activation_type")
        return
    # The runtime leaves zero points of weights out of sums of codes, not where it decodes weights for a float product.
    if not is_dynamic(node, _ms_axis(node)) or node.required(1).qparams.zero_point.any():
        write_fused(w, node, "MatMulFusion", node.inputs, fields, key="activation_type")
        return
    codes = w.between(x, name=f"{node.name}/codes")
    codes.dtype, codes.quant = np.dtype(np.int8), None
    w.node("DynamicQuant", node, [x], [codes], fields={"dst_type": 32}, dynamic=True)
    write_fused(w, node, "MatMulFusion", [codes, *node.inputs[1:]], fields, key="activation_type", dynamic=True)


def _ms_axis(node: Node) -> int:
    return 0 if node.op == "FullyConnected" else _matmul_axis(node)


@reads("ms", "DynamicQuant")
def read_ms_dynamic_quant(r: Reading) -> Tensor:
    if r.attr("dst_type", 32) != 32 or r.attr("symmetric", False) or r.attr("activation_channel", False):
        r.refuse("only int8, asymmetric, one range per tensor is read")
    return r.emit("DynamicRound", r.input(0))


@writes("tflite", "FullyConnected")
def write_tflite_fully_connected(w: Writing, node: Node) -> None:
    x = node.inputs[0]
    keep = node.attrs["keep_dims"] and (x is None or x.rank != 2)
    write_fused(w, node, "FULLY_CONNECTED", node.inputs, {"keep_num_dims": keep}, key="fused_activation_function")


@writes("tflite", "MatMul")
def write_tflite_matmul(w: Writing, node: Node) -> None:
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None or min(a.rank or 0, b.rank or 0) < 2:
        w.refuse(node, "a product with a vector, or of unknown rank, is not there")
    y, bias, act = node.outputs[0], node.input(2), node.attrs["act"]
    fields = {"adj_x": node.attrs["transpose_a"], "adj_y": node.attrs["transpose_b"]}
    if bias is None:
        write_fused(w, node, "BATCH_MATMUL", [a, b], fields)
        return
    product = w.between(y, name=f"{y.name}/product")
    w.node("BATCH_MATMUL", node, [a, b], [product], fields=fields)
    total = Node("Add", node.name, [product, bias], [y], {"act": act}, node.origin)
    write_fused(w, total, "ADD", [product, bias], key="fused_activation_function")


@writes("onnx", "FullyConnected", "MatMul")
def write_onnx_matmul(w: Writing, node: Node) -> None:
    """Gemm for matrices; otherwise MatMul (with a Transpose where needed) and Add."""
    a, b, bias, y, at = node.required(0), node.required(1), node.input(2), node.outputs[0], node.attrs
    fc = node.op == "FullyConnected"
    flip_a, flip_b = (False, True) if fc else (at["transpose_a"], at["transpose_b"])
    if fc and not at["keep_dims"] and a.rank != 2:
        k = b.known_shape[1]
        flat = w.between(a, (None if y.shape is None else y.shape[0], k), f"{a.name}/rows")
        w.node("Reshape", node, [a, w.constant([-1, k], np.int64, f"{a.name}/shape")], [flat])
        a = flat
    if a.rank == 2 and b.rank == 2 and a.dtype.kind == "f":
        write_onnx(w, node, "Gemm", [a, b, bias], {"transA": int(flip_a), "transB": int(flip_b)})
        return
    if fc and is_quantized(b) and w.reaches_logarithm(node) and (a.shape or (None,) * 9).count(None) < 2:
        _write_float_gemm(w, node, a, b, bias)
        return
    a, b = (_flipped(w, node, t) if flip else t for t, flip in ((a, flip_a), (b, flip_b)))
    write_onnx_product(w, node, a, b, bias)


def _write_float_gemm(w: Writing, node: Node, a: Tensor, b: Tensor, bias: Tensor | None) -> None:
    """As rows: onnxruntime takes inputs of a MatMul by stored codes to 8 bits, those of a Gemm transB=1 it does not."""
    (outputs, k), y = b.known_shape, node.outputs[0]
    flat, rows = w.between(a, (None, k), f"{a.name}/rows"), w.between(y, (None, outputs), f"{y.name}/rows")
    w.node("Reshape", node, [a, w.constant([-1, k], np.int64, f"{a.name}/shape")], [flat])
    w.node("Gemm", node, [flat, b, bias], [rows], fields={"transA": 0, "transB": 1})
    sizes = [-1 if d is None else d for d in (*a.known_shape[:-1], outputs)]
    write_onnx(w, node, "Reshape", [rows, w.constant(sizes, np.int64, f"{y.name}/shape")])


def _flipped(w: Writing, node: Node, t: Tensor) -> Tensor:
    rank = t.rank
    if rank is None:
        w.refuse(node, f"the rank of {t.name!r} is not known")
    if rank < 2:
        return t
    perm = [*range(rank - 2), rank - 1, rank - 2]
    if t.is_const:
        return w.permuted(t, perm)
    return write_transposed(w, node, t, perm)


@writes("c", "FullyConnected")
def write_c_fully_connected(w: Writing, node: Node) -> None:
    n, k = node.required(1).static_shape
    layer(w, node, matrix(count(node.required(0)) // k, k, n))


@writes("c", "MatMul")
def write_c_matmul(w: Writing, node: Node) -> None:
    a, b = node.required(0), node.required(1)
    if not b.is_const or b.rank != 2 or (node.attrs["transpose_a"] and a.known_rank > 1):
        w.refuse(node, "it multiplies by what is no constant matrix")
    weights = b.value if node.attrs["transpose_b"] else np.ascontiguousarray(b.value.T)
    n, k = weights.shape
    layer(w, node, matrix(count(a) // k, k, n), weights)
