"""Keeps weights that ONNX's DequantizeLinear says in blocks as codes beside the product that reads them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node, Tensor
from ..numeric.blocks import packed_blocks
from .edit import Edit
from .match import made_by
from .record import Change, Record, Refusal

_NAME = "fuse_block_product"
_LEAST_BLOCK = 16  # and powers of two are what a file can say of such a product
Stored = tuple[int, list[Tensor]]


def fuse_block_product(graph: Graph) -> Iterator[Record]:
    """DequantizeLinear(codes, scales by blocks) → MatMul or FullyConnected ⇒ BlockFullyConnected.

    y = x · ((q - z) · s) with s and z of each block of the inputs of an output: codes stay packed in memory, of 4 bits
    where all of them fit, instead of becoming a float weight. Codes without a sign are lowered by half of their range,
    and their zero points with them.

    Not for codes that are computed, blocks along the outputs or of no power of two, nor values other than float32.
    """
    edit = Edit(graph)
    stored: dict[tuple[Node, int], Stored | str] = {}
    for node in edit.nodes():
        source = made_by(edit, node.input(1), "DequantizeLinear") if node.op in ("MatMul", "FullyConnected") else None
        if source is None or not source.attrs["block"]:
            continue
        depth = 1 if node.op == "FullyConnected" or node.attrs["transpose_b"] else 0
        reason = _refused(node)
        if (source, depth) not in stored:
            stored[source, depth] = _stored(edit, source, depth)
        found = stored[source, depth]
        if reason or isinstance(found, str):
            yield Refusal(_NAME, node.name, reason or str(found))
            continue
        x, bias, (bits, (codes, *grid)) = node.required(0), node.input(2), found
        size = source.required(0).size(depth)
        node.op = "BlockFullyConnected"
        node.attrs = {"bits": bits, "block": source.attrs["block"], "depth": size, "act": node.attrs["act"]}
        edit.set_inputs(node, [x, codes, bias, *grid])
        yield Change(_NAME, node.name, f"a weight of {bits} bits in blocks of {source.attrs['block']}")
    edit.finish()


def _refused(node: Node) -> str:
    x, bias = node.required(0), node.input(2)
    if x.dtype != np.float32 or x.quant is not None or x.rank is None or x.rank < 2:
        return f"the data are {x.type_text()}"
    if (
        node.attrs.get("transpose_a")
        or node.attrs.get("dynamic")
        or not (node.attrs.get("keep_dims", True) or x.rank == 2)
    ):
        return "the data are not rows as they are"
    return "" if bias is None or bias.is_const else "its bias is computed"


def _stored(edit: Edit, source: Node, depth: int) -> Stored | str:
    """(bits, codes, scales, zero points where there are any), or why not; depth: the axis of the inputs."""
    w, s, z, block = source.required(0), source.required(1), source.input(2), source.attrs["block"]
    if w.data is None or w.quant is not None or w.dtype not in (np.int8, np.uint8) or w.data.ndim != 2:
        return f"its codes are {w.type_text()}"
    if (
        s.data is None
        or s.dtype != np.float32
        or source.attrs["dtype"] != "float32"
        or (z is not None and z.data is None)
    ):
        return "its scales are no constants in float32"
    if source.attrs["axis"] % 2 != depth or block < _LEAST_BLOCK or block & (block - 1):
        return f"blocks of {block} along axis {source.attrs['axis']}"
    q = w.data.astype(np.int16) if depth else w.data.T.astype(np.int16)
    zero = np.zeros(s.data.shape, np.int16) if z is None else z.value.astype(np.int16)
    scale, zero = (a if depth else a.T for a in (s.data, zero))
    bits = next(b for b in (4, 8) if all(_fits(a, b, w.dtype.kind == "i") for a in (q, zero)))
    if w.dtype.kind == "u":
        q, zero = q - 2 ** (bits - 1), zero - 2 ** (bits - 1)
    packed = packed_blocks(np.ascontiguousarray(q, np.int8), block, bits)
    found = [edit.constant(packed, w.name), edit.constant(np.ascontiguousarray(scale), s.name)]
    if zero.any():
        found.append(
            edit.constant(np.ascontiguousarray(zero, np.int8), f"{w.name}/zero_point" if z is None else z.name)
        )
    return bits, found


def _fits(values: np.ndarray, bits: int, signed: bool) -> bool:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return bool(values.min(initial=0) >= low and values.max(initial=0) <= high)
