"""Convolutions and matrix products of ONNX's integer operators: QLinear*, *Integer, and onnxruntime's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node, Tensor
from ..numeric.blocks import block_reals
from ..numeric.qparams import QuantParam
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.integer import wrapped
from ._support.layout import first_perm
from ._support.spatial import onnx_pads
from ._support.types import fail
from ._support.windowed import onnx_window, read_onnx_window_weight
from ._support.writers import write_onnx
from .conv import conv, infer_conv
from .dense import infer_matmul, matmul
from .pool import read_onnx_pool_window
from .qparam_views import as_codes, as_plain, parameters, typed

_BYTES = (np.dtype(np.int8), np.dtype(np.uint8))


def _plain_bytes(node: Node) -> None:
    for t in node.inputs:
        if t is not None and t.dtype not in _BYTES:
            fail(node, f"{t.name!r} is {t.dtype}, allowed are int8 and uint8")


def _offset(a: np.ndarray, zero: np.ndarray | None) -> np.ndarray:
    return a.astype(np.float64) - (0.0 if zero is None else zero.astype(np.float64))


def _on_codes(reference: Any) -> Any:
    """These rows compute on stored integers, whatever they stand for."""

    def integer(node: Node, arrays: Sequence[Any]) -> np.ndarray:
        return reference(*arrays, **node.attrs)

    return integer


def _infer_conv_integer(node: Node) -> Inferred:
    _plain_bytes(node)
    (x, w), xz, wz = node.operands(2), node.input(2), node.input(3)
    if xz is not None and xz.shape is not None and int(np.prod([d or 1 for d in xz.shape])) != 1:
        fail(node, f"the input's zero point has shape {xz.shape}, expected one number")
    if wz is not None and wz.shape is not None and w.shape is not None and wz.shape not in ((), (1,), (w.shape[0],)):
        fail(node, f"the weight's zero point has shape {wz.shape}, expected one number or {w.shape[0]}")
    probe = Node(node.op, node.name, [x, w], [], node.attrs)
    [(_, shape)] = infer_conv(probe)
    return [(np.dtype(np.int32), shape)]


def _conv_integer(
    x: np.ndarray, w: np.ndarray, x_zero: np.ndarray | None = None, w_zero: np.ndarray | None = None, **attrs: Any
) -> np.ndarray:
    if w_zero is not None and w_zero.size > 1:
        w_zero = w_zero.reshape(-1, *([1] * (w.ndim - 1)))
    shift = None if x_zero is None else x_zero.reshape(())
    return wrapped(conv(_offset(x, shift), _offset(w, w_zero), act="none", **attrs))


_BYTE_X = np.arange(2 * 5 * 6 * 4, dtype=np.uint8).reshape(2, 5, 6, 4)
_BYTE_W = (np.arange(6 * 3 * 2 * 4) % 251 - 120).astype(np.int8).reshape(6, 3, 2, 4)


@op(
    "ConvInteger",
    attrs={"stride": REQUIRED, "dilation": REQUIRED, "pad": REQUIRED, "pad_mode": "explicit", "group": 1},
    infer=_infer_conv_integer,
    arity=(2, 4),
    foldable=False,
    quant=Quant(int8=False),
    integer=_on_codes(_conv_integer),
    cases=[
        Case((_BYTE_X, _BYTE_W), {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}),
        Case(
            (_BYTE_X, _BYTE_W, np.uint8(7), np.arange(6, dtype=np.int8)),
            {"stride": [2, 1], "dilation": [1, 1], "pad": [1, 0, 1, 1]},
        ),
    ],
)
def conv_integer(
    x: np.ndarray, w: np.ndarray, x_zero: np.ndarray | None = None, w_zero: np.ndarray | None = None, **attrs: Any
) -> np.ndarray:
    """Σ (x - x_zero)(w - w_zero) in int32; x [N,*S,C], w [O,*K,C/group], w_zero one number or [O]."""
    return _conv_integer(x, w, x_zero, w_zero, **attrs)


def _infer_matmul_integer(node: Node) -> Inferred:
    _plain_bytes(node)
    (a, b), az, bz = node.operands(2), node.input(2), node.input(3)
    plain = [Tensor(t.name, np.dtype(np.int32), t.shape) for t in (a, b)]
    [(_, shape)] = infer_matmul(
        Node("MatMul", node.name, list(plain), [], {"transpose_a": False, "transpose_b": False})
    )
    for t, factor, axis in ((az, a, -2), (bz, b, -1)):
        if t is None or t.shape in (None, (), (1,)) or factor.shape is None:
            continue
        size = factor.shape[axis] if len(factor.shape) >= -axis else None
        flat = len(t.shape) == 1 and t.known_shape[0] == size
        full = len(t.shape) == len(factor.shape) and t.known_shape[axis] == size and t.known_shape[-3 - axis] == 1
        if not (flat or full) or None in t.shape:
            fail(node, f"a zero point of shape {t.shape} for a factor of shape {factor.shape}")
    return [(np.dtype(np.int32), shape)]


def _matmul_integer(
    a: np.ndarray, b: np.ndarray, a_zero: np.ndarray | None = None, b_zero: np.ndarray | None = None
) -> np.ndarray:
    if a_zero is not None and a_zero.ndim == 1 and a_zero.size > 1:
        a_zero = a_zero[:, None]
    y = matmul(_offset(a, a_zero), _offset(b, b_zero), transpose_a=False, transpose_b=False, act="none")
    return wrapped(np.asarray(y))


@op(
    "MatMulInteger",
    infer=_infer_matmul_integer,
    arity=(2, 4),
    quant=Quant(int8=False),
    integer=_on_codes(_matmul_integer),
    cases=[
        Case((_BYTE_X[0, 0], _BYTE_W[0, 0].T)),
        Case((_BYTE_X[0], _BYTE_W[0, 0].T, np.uint8(9), np.array([-5, 3], np.int8))),
        Case((_BYTE_X[0, 0], _BYTE_W[0, 0].T, np.array([1, 2, 3, 4, 5, 6], np.uint8), np.int8(2))),
    ],
)
def matmul_integer(
    a: np.ndarray, b: np.ndarray, a_zero: np.ndarray | None = None, b_zero: np.ndarray | None = None
) -> np.ndarray:
    """Σ (a - a_zero)(b - b_zero) in int32; a_zero one number or per row, b_zero one number or per column."""
    return _matmul_integer(a, b, a_zero, b_zero)


@reads("onnx", "ConvInteger")
def read_conv_integer(r: Reading) -> Tensor:
    x = r.channels_last(r.input(0))
    attrs = onnx_window(r, r.rank(x) - 2) | {"group": r.attr("group", 1)}
    w = read_onnx_window_weight(r)
    return r.channels_first(r.emit("ConvInteger", x, w, r.optional(2), r.optional(3), **attrs))


@reads("onnx", "MatMulInteger")
def read_matmul_integer(r: Reading) -> Tensor:
    return r.emit("MatMulInteger", r.input(0), r.input(1), r.optional(2), r.optional(3))


def _bias(r: Reading, bias: Tensor | None, qx: QuantParam, qw: QuantParam) -> Tensor | None:
    if bias is None:
        return None
    scale = qx.scale * qw.scale
    quant = QuantParam(scale, np.zeros(1, np.int32), 0 if len(scale) > 1 else None, 32)
    if bias.rank == 2 and bias.data is not None:
        bias = r.constant(bias.data.reshape(-1), name=bias.name)
    if bias.dtype != np.int32 or bias.rank != 1:
        r.refuse(f"a bias of type {bias.dtype} and shape {bias.shape}")
    return as_codes(r, bias, quant)


def _at_run_time(r: Reading, indices: Sequence[int]) -> bool:
    """Whether a scale, zero point or weight among the inputs is computed while running."""
    return any(t is not None and not t.is_const for t in (r.optional(i) for i in indices))


def _requantized(r: Reading, acc: Tensor, scales: Sequence[Tensor], zero: Tensor) -> Tensor:
    """saturate(round(acc · s₀ · s₁ / s₂) + zero) node by node, for scales that are computed while running."""
    left, right, out = (t if t.dtype == np.float32 else r.emit("Cast", t, dtype="float32") for t in scales)
    y = r.emit("Mul", r.emit("Cast", acc, dtype="float32"), r.emit("Div", r.emit("Mul", left, right), out))
    y = r.emit("Add", r.emit("Round", y), r.emit("Cast", zero, dtype="float32"))
    info = np.iinfo(zero.dtype)
    return r.emit("Cast", r.emit("Clip", y, min=float(info.min), max=float(info.max)), dtype=zero.dtype.name)


def _one_number(r: Reading, *indices: int) -> None:
    for i in indices:
        t = r.input(i)
        if t.shape not in ((), (1,)):
            r.refuse(f"{t.name!r} of shape {t.shape}: scales computed at run time are read per tensor only")


@reads("onnx", "QLinearConv", "com.microsoft::QLinearConv")
def read_qlinear_conv(r: Reading) -> Tensor:
    """x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias int32."""
    last = bool(r.attr("channels_last", 0))
    x, w = r.input(0), r.input(3)
    if _at_run_time(r, range(1, 8)):
        _one_number(r, 1, 2, 4, 5, 6, 7)
        sums = r.channels_last(x) if not last else x
        attrs = onnx_window(r, r.rank(x) - 2) | {"group": r.attr("group", 1)}
        acc = r.emit("ConvInteger", sums, read_onnx_window_weight(r, 3), r.input(2), r.input(5), **attrs)
        acc = acc if r.optional(8) is None else r.emit("Add", acc, r.input(8))
        y = _requantized(r, acc, [r.input(1), r.input(4), r.input(6)], r.input(7))
        return y if last else r.channels_first(y)
    qx, qw = parameters(r, 1, 2, None, x.dtype), parameters(r, 4, 5, 0, w.dtype)
    qy = parameters(r, 6, 7, None, r.input(7).dtype)
    r.inputs[3] = as_codes(r, w, qw)
    codes = as_codes(r, x, qx)
    rank = r.rank(codes)
    codes = codes if last else typed(r.channels_last(codes), qx)
    attrs = onnx_window(r, rank - 2) | {"group": r.attr("group", 1)}
    y = r.emit("Conv", codes, read_onnx_window_weight(r, 3), _bias(r, r.optional(8), qx, qw), **attrs)
    typed(y, qy, r.input(7).dtype)
    return as_plain(r, y if last else typed(r.channels_first(y), qy))


@reads("onnx", "QLinearMatMul", "com.microsoft::QLinearMatMul")
def read_qlinear_matmul(r: Reading) -> Tensor:
    a, b = r.input(0), r.input(3)
    rank = r.rank(b)
    if _at_run_time(r, (1, 2, 4, 5, 6, 7)):
        _one_number(r, 1, 2, 4, 5, 6, 7)
        acc = r.emit("MatMulInteger", a, b, r.input(2), r.input(5))
        return _requantized(r, acc, [r.input(1), r.input(4), r.input(6)], r.input(7))
    qa, qb = parameters(r, 1, 2, None, a.dtype), parameters(r, 4, 5, rank - 1 if b.is_const else None, b.dtype)
    qy = parameters(r, 6, 7, None, r.input(7).dtype)
    left, right = as_codes(r, a, qa), as_codes(r, b, qb)
    if right.is_const and rank == 2 and r.rank(left) >= 2:
        y = r.emit("FullyConnected", left, r.permuted(right, [1, 0]))
    else:
        y = r.emit("MatMul", left, right)
    return as_plain(r, typed(y, qy, r.input(7).dtype))


@reads("onnx", "com.microsoft::QGemm")
def read_qgemm(r: Reading) -> Tensor:
    """a, a_scale, a_zero, b, b_scale, b_zero, c int32, y_scale, y_zero; without y_scale the result is float."""
    a, b = r.input(0), r.input(3)
    if r.attr("transA", 0) or float(r.attr("alpha", 1.0)) != 1.0 or not b.is_const:
        r.refuse("only a constant second factor, transA=0 and alpha=1 are read")
    transposed = bool(r.attr("transB", 0))
    qa, qb = parameters(r, 1, 2, None, a.dtype), parameters(r, 4, 5, 0 if transposed else 1, b.dtype)
    w = as_codes(r, b, qb)
    w = w if transposed else r.permuted(w, [1, 0])
    bias = _bias(r, r.optional(6), qa, qb)
    x = as_codes(r, a, qa)
    if r.optional(7) is None:
        real = None if bias is None else r.emit("Dequantize", bias)
        return r.emit("FullyConnected", r.emit("Dequantize", x), w, real)
    zero = r.optional(8)
    dtype = a.dtype if zero is None else zero.dtype
    y = r.emit("FullyConnected", x, w, bias)
    return as_plain(r, typed(y, parameters(r, 7, 8, None, dtype), dtype))


@reads("onnx", "com.microsoft::MatMulIntegerToFloat")
def read_matmul_integer_to_float(r: Reading) -> Tensor:
    """a, b, a_scale, b_scale, a_zero, b_zero, bias float."""
    product = r.emit("MatMulInteger", r.input(0), r.input(1), r.optional(4), r.optional(5))
    scale = r.emit("Mul", r.input(2), r.input(3))
    y = r.emit("Mul", r.emit("Cast", product, dtype="float32"), scale)
    return y if r.optional(6) is None else r.emit("Add", y, r.input(6))


@reads("onnx", "com.microsoft::DynamicQuantizeMatMul")
def read_dynamic_quantize_matmul(r: Reading) -> Tensor:
    """a float, b (8 bits), its scale and zero point, bias float: a is quantized on its own range while running."""
    codes, scale, zero = r.emit_many("DynamicQuantizeLinear", [r.input(0)])
    product = r.emit("MatMulInteger", codes, r.input(1), zero, r.optional(3))
    y = r.emit("Mul", r.emit("Cast", product, dtype="float32"), r.emit("Mul", scale, r.input(2)))
    return y if r.optional(4) is None else r.emit("Add", y, r.input(4))


@reads("onnx", "com.microsoft::GatherBlockQuantized")
def read_gather_block_quantized(r: Reading) -> Tensor:
    """data (4 bits, or uint8 of `bits`), indices, scales, zero points: one scale per block along an axis."""
    x, axis, block = r.input(0), int(r.attr("quantize_axis", 1)), int(r.attr("block_size", 128))
    bits = int(r.attr("bits", 4))
    q, scales = r.const(0, "the data"), r.const(2, "the scales").astype(np.float32)
    rank = q.ndim
    axis %= rank
    stored = None if r.optional(3) is None else r.const(3, "the zero points")
    if q.dtype == np.uint8 and x not in r.build.narrow:
        if axis != rank - 1 or bits not in (2, 4, 8):
            r.refuse(f"uint8 data of {bits} bits along axis {axis} is not read")
        q = _unpacked(q, bits)
        stored = None if stored is None else _unpacked(stored, bits)[..., : scales.shape[-1]]
        zero: Any = 2 ** (bits - 1)
    else:
        zero = 0
    zero = zero if stored is None else stored.astype(np.float32)
    if block < 16 or scales.ndim != rank or scales.shape[axis] != -(-q.shape[axis] // block):
        r.refuse(f"scales of shape {scales.shape} for data of shape {q.shape} in blocks of {block}")

    def spread(a: Any) -> Any:
        return a if np.ndim(a) == 0 else np.repeat(a, block, axis)[tuple(slice(0, n) for n in q.shape)]

    real = ((q.astype(np.float32) - spread(zero)) * spread(scales)).astype(r.input(2).dtype)
    return r.emit("Gather", r.constant(real, name=x.name), r.input(1), axis=int(r.attr("gather_axis", 0)))


@reads("onnx", "com.microsoft::MatMulNBits")
def read_matmul_nbits(r: Reading) -> Tensor:
    """a, b uint8 [N, blocks, bytes], scales, zero points, g_idx, bias: blocks as they are, or, of forms that
    BlockFullyConnected lacks (2 bits, zero points that are no whole numbers), a float weight [N,K]."""
    k, n, bits, size = (int(r.attr(key)) for key in ("K", "N", "bits", "block_size"))
    if bits not in (2, 4, 8) or size < 16 or k < 1 or n < 1 or n * k > 2**31:
        r.refuse(f"bits={bits}, block_size={size}, K={k}, N={n}")
    if r.optional(4) is not None:
        r.refuse("g_idx is not read")
    blocks = -(-k // size)
    packed = r.const(1, "the weight").reshape(-1)
    if packed.dtype != np.uint8 or packed.size != n * blocks * (size * bits // 8):
        r.refuse(f"a weight of {packed.size} {packed.dtype} does not hold {n} rows of {blocks} blocks")
    scales = r.const(2, "the scales").astype(np.float32, copy=False).reshape(n, blocks)
    half = 2 ** (bits - 1)
    zero: np.ndarray | None = None
    if r.optional(3) is not None:
        stored = r.const(3, "the zero points")
        whole = stored.dtype == np.uint8
        zero = (_unpacked(stored.reshape(n, -1), bits)[:, :blocks] if whole else stored).astype(np.float32)
        zero = zero.reshape(n, blocks) - half
    name, x, bias = r.input(1).name, r.input(0), r.optional(5)
    packed = packed.reshape(n, blocks, -1)
    if bits == 2 or x.dtype != np.float32 or (zero is not None and (zero != np.clip(np.rint(zero), -128, 127)).any()):
        codes = _unpacked(packed.reshape(n, -1), bits)[:, :k].astype(np.float32) - half
        return r.emit("FullyConnected", x, r.constant(block_reals(codes, scales, zero, size), x.dtype, name), bias)
    inputs = [
        x,
        _stored_as(r, 1, packed),
        bias,
        _stored_as(r, 2, scales),
    ]
    if zero is not None:
        inputs.append(r.constant(zero.astype(np.int8), name=f"{name}/zero_point"))
    return r.emit("BlockFullyConnected", *inputs, bits=bits, block=size, depth=k)


def _stored_as(r: Reading, index: int, value: np.ndarray) -> Tensor:
    """The constant of that input itself where it has the form of `value`."""
    t = r.input(index)
    return t if (t.shape, t.dtype) == (value.shape, value.dtype) else r.constant(value, name=t.name)


def _unpacked(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes of `bits` bits, the lowest first, along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((codes[..., None] >> shifts) & (2**bits - 1)).reshape(*codes.shape[:-1], -1)


@reads("onnx", "com.microsoft::QLinearAveragePool", "com.microsoft::QLinearGlobalAveragePool")
def read_qlinear_pool(r: Reading) -> Tensor:
    x, last = r.input(0), bool(r.attr("channels_last", 0))
    qx, qy = parameters(r, 1, 2, None, x.dtype), parameters(r, 3, 4, None, x.dtype)
    codes = as_codes(r, x, qx)
    rank = r.rank(codes)
    if r.op.endswith("GlobalAveragePool"):
        axes = list(range(1, rank - 1)) if last else list(range(2, rank))
        return as_plain(r, typed(r.emit("Reduce", codes, mode="mean", axes=axes, keep_dims=True), qy, x.dtype))
    attrs = read_onnx_pool_window(r) | {"count_include_pad": bool(r.attr("count_include_pad", 0))}
    codes = codes if last else typed(r.channels_last(codes), qx)
    y = typed(r.emit("AveragePool", codes, **attrs), qy, x.dtype)
    return as_plain(r, y if last else typed(r.channels_first(y), qy))


@writes("onnx", "ConvInteger")
def write_conv_integer(w: Writing, node: Node) -> None:
    a, weight = node.attrs, node.required(1)
    fields = {"strides": a["stride"], "dilations": a["dilation"], "pads": onnx_pads(a["pad"]), "group": a["group"]}
    fields["kernel_shape"] = list(weight.known_shape[1:-1])
    stored = w.permuted(weight, first_perm(weight.known_rank))
    write_onnx(w, node, "ConvInteger", [node.inputs[0], stored, *node.inputs[2:]], fields, spatial=True)


@writes("onnx", "MatMulInteger")
def write_matmul_integer(w: Writing, node: Node) -> None:
    w.node("MatMulInteger", node, node.inputs)
