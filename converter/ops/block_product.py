"""A matrix product whose weight is stored in blocks along the inputs, each with a scale of its own."""

from __future__ import annotations

import numpy as np

from ..ir import Node, Tensor
from ..numeric.blocks import block_reals, packed_blocks
from ..schema.op import REQUIRED, Case, Inferred, op, writes
from ..schema.writing import Writing
from ._support.acts import apply_act
from ._support.types import fail, need
from ._support.writers import write_onnx
from .dense import sum_type


def infer_block_product(node: Node) -> Inferred:
    x, w, scale, block = node.required(0), node.required(1), node.required(3), node.attrs["block"]
    need(node, x, "f", "the input")
    if not w.is_const or w.dtype != np.int8 or w.rank != 2 or block < 1:
        fail(node, f"a weight of {w.dtype} and shape {w.shape} in blocks of {block} is no matrix of codes")
    o, k = w.static_shape
    sizes = (o, -(-k // block))
    wrong = [t.name for t in (scale, node.input(4)) if t is not None and (not t.is_const or t.shape != sizes)]
    if wrong:
        fail(node, f"{wrong[0]!r} is no constant of shape {sizes}, as blocks of {block} want")
    if x.shape is None:
        return [(x.dtype, None)]
    if not x.shape or x.shape[-1] not in (k, None):
        fail(node, f"an input of shape {x.shape} does not meet a weight of shape {w.shape}")
    return [(x.dtype, (*x.shape[:-1], o))]


def _case(shape: tuple[int, ...], o: int, block: int, bits: int, zero: bool, act: str = "none") -> Case:
    rng = np.random.default_rng(o)
    k, half = shape[-1], 2 ** (bits - 1)
    blocks = (o, -(-k // block))
    inputs = [
        shape,
        rng.integers(-half, half, (o, k)).astype(np.int8),
        (o,),
        rng.uniform(0.01, 0.1, blocks).astype(np.float32),
        rng.integers(-half, half, blocks).astype(np.int8) if zero else None,
    ]
    return Case(tuple(inputs[: 5 if zero else 4]), {"bits": bits, "block": block, "act": act}, const=(2,))


@op(
    "BlockFullyConnected",
    attrs={"bits": REQUIRED, "block": REQUIRED, "act": "none"},
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
    act: str,
) -> np.ndarray:
    """x [...,K] · W [O,K]ᵀ + b [O] → [...,O], W = (w - zero) · scale by blocks of `block` of a row.

    w int8 [O,K], codes of 4 or 8 bits; scale float32 and zero int8 [O,⌈K/block⌉].
    """
    y = (sum_type(x) @ block_reals(w, scale, zero, block).T).astype(x.dtype, copy=False)
    return apply_act(y if b is None else y + b, act)


@writes("onnx", "BlockFullyConnected")
def write_onnx_block_product(w: Writing, node: Node) -> None:
    """onnxruntime's MatMulNBits, of unsigned codes; from opset 21 the standard's DequantizeLinear can say it, too."""
    codes, bias, scale, zero = node.required(1), node.input(2), node.required(3), node.input(4)
    bits, block = node.attrs["bits"], node.attrs["block"]
    o, k = codes.static_shape
    half = 2 ** (bits - 1)
    packed = w.constant(packed_blocks(codes.value, block, bits), name=codes.name)
    inputs: list[Tensor | None] = [node.required(0), packed, scale]
    if zero is not None:
        points = (zero.value.astype(np.int16) + half).astype(np.uint8)
        if bits == 4:
            points = np.pad(points, ((0, 0), (0, points.shape[1] % 2)))
            points = points[:, 0::2] | (points[:, 1::2] << 4)
        inputs.append(w.constant(points, name=zero.name))
    if bias is not None:
        inputs += [None] * (5 - len(inputs)) + [bias]
    fields = {"K": k, "N": o, "bits": bits, "block_size": block}
    write_onnx(w, node, "MatMulNBits", inputs, fields, domain="com.microsoft")
