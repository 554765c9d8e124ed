"""A matrix product whose weight is stored in blocks along the inputs, each with a scale of its own."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from ..ir import Node, Tensor
from ..numeric.blocks import block_reals, packed_blocks, unpacked_blocks
from ..numeric.qparams import QuantParam
from ..schema.op import REQUIRED, Case, Inferred, op, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.acts import apply_act
from ._support.types import fail, need, sum_type
from ._support.writers import write_fused, write_onnx, write_onnx_product


def infer_block_product(node: Node) -> Inferred:
    x, w, scale, (bits, block, k) = node.required(0), node.required(1), node.required(3), _form(node)
    need(node, x, "f", "the input")
    if bits not in (4, 8) or block < 2 or block % 2 or k < 1:
        fail(node, f"{k} inputs in blocks of {block} codes of {bits} bits are no row")
    row = (-(-k // block), block * bits // 8)
    if not w.is_const or w.dtype != np.uint8 or w.rank != 3 or w.static_shape[1:] != row:
        fail(node, f"a weight of {w.dtype} and shape {w.shape} does not hold rows of {k} {bits}-bit codes by {block}")
    o, blocks, _ = w.static_shape
    sizes = (o, blocks)
    wrong = [t.name for t in (scale, node.input(4)) if t is not None and (not t.is_const or t.shape != sizes)]
    if wrong:
        fail(node, f"{wrong[0]!r} is no constant of shape {sizes}, as blocks of {block} want")
    if x.shape is None:
        return [(x.dtype, None)]
    if not x.shape or x.shape[-1] not in (k, None):
        fail(node, f"an input of shape {x.shape} does not meet a weight of shape {w.shape}")
    return [(x.dtype, (*x.shape[:-1], o))]


def _form(node: Node) -> tuple[int, int, int]:
    """Bits of a code, codes of a block, codes of a row."""
    return node.attrs["bits"], node.attrs["block"], node.attrs["depth"]


def _case(shape: tuple[int, ...], o: int, block: int, bits: int, zero: bool, act: str = "none") -> Case:
    rng = np.random.default_rng(o)
    k, half = shape[-1], 2 ** (bits - 1)
    blocks = (o, -(-k // block))
    inputs = [
        shape,
        packed_blocks(rng.integers(-half, half, (o, k)).astype(np.int8), block, bits),
        (o,),
        rng.uniform(0.01, 0.1, blocks).astype(np.float32),
        rng.integers(-half, half, blocks).astype(np.int8) if zero else None,
    ]
    attrs = {"bits": bits, "block": block, "depth": k, "act": act}
    return Case(tuple(inputs[: 5 if zero else 4]), attrs, const=(2,))


@op(
    "BlockFullyConnected",
    attrs={"bits": REQUIRED, "block": REQUIRED, "depth": REQUIRED, "act": "none"},
    infer=infer_block_product,
    arity=(4, 5),
    kernel="block_fully_connected",
    cases=[
        _case((3, 64), 5, 32, 4, False),
        _case((2, 3, 80), 33, 32, 4, True),
        _case((1, 96), 16, 32, 8, True, "relu"),
    ],
)
def block_fully_connected(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    scale: np.ndarray,
    zero: np.ndarray | None = None,
    *,
    bits: int,
    block: int,
    depth: int,
    act: str,
) -> np.ndarray:
    """x [...,K] · W [O,K]ᵀ + b [O] → [...,O], W = (w - zero) · scale by blocks of `block` of a row.

    w uint8 [O,⌈K/block⌉,bytes], codes of 4 or 8 bits as `packed_blocks` stores them, K = depth; scale float32
    and zero int8 [O,⌈K/block⌉].
    """
    real = block_reals(unpacked_blocks(w, depth, bits), scale, zero, block)
    y = (sum_type(x) @ real.T).astype(x.dtype, copy=False)
    return apply_act(y if b is None else y + b, act)


@writes("onnx", "BlockFullyConnected")
def write_onnx_block_product(w: Writing, node: Node) -> None:
    """onnxruntime's MatMulNBits, of unsigned codes, or the standard's DequantizeLinear and MatMul (`blocks`)."""
    if w.options.get("blocks") == "DequantizeLinear":
        _write_standard(w, node)
        return
    codes, bias, scale, zero = node.required(1), node.input(2), node.required(3), node.input(4)
    bits, block, k = _form(node)
    half = 2 ** (bits - 1)
    inputs: list[Tensor | None] = [node.required(0), codes, scale]
    if zero is not None:
        points = (zero.value.astype(np.int16) + half).astype(np.uint8)
        if bits == 4:
            points = np.pad(points, ((0, 0), (0, points.shape[1] % 2)))
            points = points[:, 0::2] | (points[:, 1::2] << 4)
        inputs.append(w.constant(points, name=zero.name))
    if bias is not None:
        inputs += [None] * (5 - len(inputs)) + [bias]
    fields = {"K": k, "N": codes.size(0), "bits": bits, "block_size": block}
    write_onnx(w, node, "MatMulNBits", inputs, fields, domain="com.microsoft")


def _write_standard(w: Writing, node: Node) -> None:
    """Signed codes [K, O] with scales by blocks of K, as runtimes look for them beside a MatMul."""
    x, bias, zero, (bits, block, k) = node.required(0), node.input(2), node.input(4), _form(node)
    if w.options.get("opset", 0) < 21:
        w.refuse(node, "scales per block need opset 21")
    packed, y = node.required(1), node.outputs[0]
    matrix = w.constant(unpacked_blocks(packed.value, k, bits).T, name=packed.name)
    parts = [matrix, w.constant(node.required(3).value.T, name=node.required(3).name)]
    if zero is not None:
        parts.append(w.constant(zero.value.T, name=zero.name))
    if bits == 4:
        for t in (parts[0], *parts[2:]):
            t.quant = QuantParam(np.ones(1), np.zeros(1, np.int32), None, 4)  # the type that holds two in a byte
    real = w.between(y, (k, packed.size(0)), f"{node.name}/real")
    w.node("DequantizeLinear", node, parts, [real], fields={"axis": 0, "block_size": block})
    write_onnx_product(w, node, x, real, bias)


@writes("tflite", "BlockFullyConnected")
def write_tflite_block_product(w: Writing, node: Node) -> None:
    """A FULLY_CONNECTED whose weight has BlockwiseQuantization: 4 bits, whole blocks, scales in float16."""
    x, packed, scale, zero = node.required(0), node.required(1), node.required(3), node.input(4)
    bits, block, k = _form(node)
    if bits != 4 or k % block or (zero is not None and zero.value.any()):
        w.refuse(
            node, f"{k} inputs in blocks of {block} codes of {bits} bits: there are 4 bits, whole blocks, symmetric"
        )
    half = scale.value.astype(np.float16)
    if (half.astype(np.float32) != scale.value).any():
        w.refuse(node, "scales of blocks that float16 does not hold")
    matrix = unpacked_blocks(packed.value, k, bits)
    codes = Tensor(packed.name, matrix.dtype, matrix.shape, matrix)
    scales = Tensor(scale.name, half.dtype, half.shape, half)
    fields = {"keep_num_dims": x.rank != 2}
    inputs = [x, codes, node.input(2)]
    key = "fused_activation_function"
    write_fused(w, node, "FULLY_CONNECTED", inputs, fields, key=key, blocks={codes: (scales, block)})


def read_tflite_block_product(r: Reading, *, keep: bool, act: str) -> Tensor:
    """FULLY_CONNECTED of a weight with scales per block; `blocks`: them, zero points, inputs of a block, bits."""
    x, w, (stored, zero, block, bits) = r.input(0), r.input(1), r.attr("blocks")
    codes = r.const(1, "the weight")
    if w.dtype != np.int8 or bits not in (4, 8) or stored.dtype.kind != "f" or x.dtype != np.float32:
        r.refuse(
            f"{bits}-bit {w.dtype} weights in blocks with scales of {stored.dtype} and {x.dtype} inputs are not read"
        )
    if zero is not None and zero.any():
        r.refuse("zero points of blocks are not read")
    o, k = codes.shape
    scale = stored.value.astype(np.float32)
    if block < 2 or block % 2 or k % block or scale.size * block != o * k or not np.isfinite(scale).all():
        reason = f"{scale.size} scales of blocks of {block} do not fit a weight of shape {[o, k]}"
        raise ModelError(reason, file=r.file, node=f"{r.name} ({r.op})")
    packed = r.constant(packed_blocks(codes, block, bits), name=w.name)
    scales = r.constant(scale.reshape(o, k // block), name=stored.name)
    if not keep and r.rank(x) != 2:
        x = r.emit("Reshape", x, r.constant([-1, k], np.int64, f"{r.name}/shape"))
    return r.emit("BlockFullyConnected", x, packed, r.optional(2), scales, bits=bits, block=block, depth=k, act=act)
