"""Blocks of pixels into channels or batches and back: DepthToSpace, SpaceToDepth, SpaceToBatchND, BatchToSpaceND."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor, is_quantized
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.integer import same_codes
from ._support.types import fail, value_dtype
from ._support.writers import need_opset, write_onnx


def _image(node: Node) -> tuple[Any, ...]:
    x = node.required(0)
    if x.shape is None or len(x.shape) != 4:
        fail(node, f"the input has shape {x.shape}, expected [N,H,W,C]")
    if node.attrs["block"] < 1:
        fail(node, f"block {node.attrs['block']} is not positive")
    return x.shape


def _divided(node: Node, n: int | None, by: int, what: str) -> int | None:
    if n is not None and n % by:
        fail(node, f"{what} {n} is not a multiple of {by}")
    return None if n is None else n // by


def _times(n: int | None, by: int) -> int | None:
    return None if n is None else n * by


def _infer_to_space(node: Node) -> Inferred:
    n, h, w, c = _image(node)
    b = node.attrs["block"]
    if node.attrs["mode"] not in ("DCR", "CRD"):
        fail(node, f"mode={node.attrs['mode']!r}, allowed are DCR, CRD")
    shape = (n, _times(h, b), _times(w, b), _divided(node, c, b * b, "the number of channels"))
    return [(value_dtype(node.required(0)), shape)]


def _to_space(x: np.ndarray, *, block: int, mode: str) -> np.ndarray:
    n, h, w, c = x.shape
    b, d = block, c // (block * block)
    if mode == "DCR":
        parts = x.reshape(n, h, w, b, b, d).transpose(0, 1, 3, 2, 4, 5)
    else:
        parts = x.reshape(n, h, w, d, b, b).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, h * b, w * b, d)


def _mslite_order(node: Node) -> str:
    return "" if node.attrs["mode"] == "DCR" else "the real kernel knows one order of channels"


@op(
    "DepthToSpace",
    attrs={"block": REQUIRED, "mode": "DCR"},
    infer=_infer_to_space,
    kernel="depth_to_space",
    quant=Quant(output="same", mslite=_mslite_order),
    integer=same_codes(_to_space),
    cases=[
        Case(((2, 3, 4, 8),), {"block": 2}),
        Case(((1, 3, 2, 12),), {"block": 2, "mode": "CRD"}),
        Case(((1, 2, 2, 9),), {"block": 3}),
    ],
)
def depth_to_space(x: np.ndarray, *, block: int, mode: str) -> np.ndarray:
    """x [N,H,W,C] → [N,H·b,W·b,C/b²]; channel = (row·b + column)·C' + c (DCR) or c·b² + row·b + column (CRD)."""
    return _to_space(x, block=block, mode=mode)


def _infer_to_depth(node: Node) -> Inferred:
    n, h, w, c = _image(node)
    b = node.attrs["block"]
    if node.attrs["mode"] not in ("DCR", "CRD"):
        fail(node, f"mode={node.attrs['mode']!r}, allowed are DCR, CRD")
    shape = (n, _divided(node, h, b, "the height"), _divided(node, w, b, "the width"), _times(c, b * b))
    return [(value_dtype(node.required(0)), shape)]


def _to_depth(x: np.ndarray, *, block: int, mode: str) -> np.ndarray:
    n, h, w, c = x.shape
    b = block
    order = (0, 1, 3, 2, 4, 5) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return x.reshape(n, h // b, b, w // b, b, c).transpose(order).reshape(n, h // b, w // b, b * b * c)


@op(
    "SpaceToDepth",
    attrs={"block": REQUIRED, "mode": "DCR"},
    infer=_infer_to_depth,
    kernel="space_to_depth",
    quant=Quant(output="same"),
    integer=same_codes(_to_depth),
    cases=[Case(((2, 4, 6, 3),), {"block": 2}), Case(((1, 3, 6, 2),), {"block": 3, "mode": "CRD"})],
)
def space_to_depth(x: np.ndarray, *, block: int, mode: str) -> np.ndarray:
    """x [N,H,W,C] → [N,H/b,W/b,C·b²]: the inverse of DepthToSpace."""
    return _to_depth(x, block=block, mode=mode)


def _blocks(node: Node, key: str) -> tuple[tuple[Any, ...], list[int], list[int]]:
    x, block, pads = node.required(0), node.attrs["block"], node.attrs[key]
    if x.shape is None or len(x.shape) < len(block) + 1:
        fail(node, f"an input of shape {x.shape} has no {len(block)} spatial axes")
    if len(pads) != 2 * len(block) or min(block, default=1) < 1 or min(pads, default=0) < 0:
        fail(node, f"block {block} and {key} {pads} do not fit")
    return x.shape, block, pads


def _infer_to_batch(node: Node) -> Inferred:
    shape, block, pads = _blocks(node, "pads")
    m = len(block)
    spatial = [
        _divided(node, None if n is None else n + pads[2 * i] + pads[2 * i + 1], b, "the padded size")
        for i, (n, b) in enumerate(zip(shape[1 : m + 1], block))
    ]
    out = (_times(shape[0], int(np.prod(block))), *spatial, *shape[m + 1 :])
    return [(value_dtype(node.required(0)), out)]


def _to_batch(x: np.ndarray, fill: Any, *, block: list[int], pads: list[int]) -> np.ndarray:
    m = len(block)
    pairs = [(pads[2 * i], pads[2 * i + 1]) for i in range(m)]
    x = np.pad(x, [(0, 0), *pairs, *([(0, 0)] * (x.ndim - m - 1))], constant_values=fill)
    split = [v for n, b in zip(x.shape[1 : m + 1], block) for v in (n // b, b)]
    parts = x.reshape(x.shape[0], *split, *x.shape[m + 1 :])
    order = [*range(2, 2 * m + 1, 2), 0, *range(1, 2 * m, 2), *range(2 * m + 1, parts.ndim)]
    small = [n // b for n, b in zip(x.shape[1 : m + 1], block)]
    return parts.transpose(order).reshape(-1, *small, *x.shape[m + 1 :])


def _integer_to_batch(node: Node, arrays: Sequence[Any]) -> Any:
    x = node.required(0)
    fill = int(x.qparams.zero_point[0]) if is_quantized(x) else 0
    return same_codes(lambda a, **attrs: _to_batch(a, fill, **attrs))(node, arrays)


@op(
    "SpaceToBatchND",
    attrs={"block": REQUIRED, "pads": REQUIRED},
    infer=_infer_to_batch,
    quant=Quant(output="same"),
    integer=_integer_to_batch,
    cases=[
        Case(((2, 4, 6, 3),), {"block": [2, 3], "pads": [0, 0, 0, 0]}),
        Case(((1, 5, 4, 2),), {"block": [2, 2], "pads": [1, 0, 1, 1]}),
        Case(((2, 5, 3),), {"block": [3], "pads": [1, 0]}),
    ],
)
def space_to_batch(x: np.ndarray, *, block: list[int], pads: list[int]) -> np.ndarray:
    """x [N,*S,…], S padded with 0: every block's pixels go to the batch [∏b·N, S/b, …]."""
    return _to_batch(x, 0, block=block, pads=pads)


def _infer_to_image(node: Node) -> Inferred:
    shape, block, crops = _blocks(node, "crops")
    m = len(block)
    spatial: list[int | None] = []
    for i, (n, b) in enumerate(zip(shape[1 : m + 1], block)):
        size = None if n is None else n * b - crops[2 * i] - crops[2 * i + 1]
        if size is not None and size < 0:
            fail(node, f"crops {crops} leave nothing of axis {i + 1}")
        spatial.append(size)
    out = (_divided(node, shape[0], int(np.prod(block)), "the batch"), *spatial, *shape[m + 1 :])
    return [(value_dtype(node.required(0)), out)]


def _to_image(x: np.ndarray, *, block: list[int], crops: list[int]) -> np.ndarray:
    m = len(block)
    parts = x.reshape(*block, x.shape[0] // int(np.prod(block)), *x.shape[1:])
    order = [m, *(v for i in range(m) for v in (m + 1 + i, i)), *range(2 * m + 1, parts.ndim)]
    sizes = [n * b for n, b in zip(x.shape[1 : m + 1], block)]
    y = parts.transpose(order).reshape(-1, *sizes, *x.shape[m + 1 :])
    return y[(slice(None), *(slice(crops[2 * i], n - crops[2 * i + 1]) for i, n in enumerate(sizes)))]


@op(
    "BatchToSpaceND",
    attrs={"block": REQUIRED, "crops": REQUIRED},
    infer=_infer_to_image,
    quant=Quant(output="same"),
    integer=same_codes(_to_image),
    cases=[
        Case(((12, 2, 2, 3),), {"block": [2, 3], "crops": [0, 0, 0, 0]}),
        Case(((4, 3, 3, 2),), {"block": [2, 2], "crops": [1, 0, 0, 2]}),
        Case(((6, 2, 3),), {"block": [3], "crops": [1, 1]}),
    ],
)
def batch_to_space(x: np.ndarray, *, block: list[int], crops: list[int]) -> np.ndarray:
    """The inverse of SpaceToBatchND, then a crop."""
    return _to_image(x, block=block, crops=crops)


@reads("tflite", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def read_tflite_blocks(r: Reading) -> Tensor:
    name = "DepthToSpace" if r.op == "DEPTH_TO_SPACE" else "SpaceToDepth"
    return r.emit(name, r.input(0), block=int(r.attr("block_size")))


@reads("tflite", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
def read_tflite_batch_blocks(r: Reading) -> Tensor:
    name, key = ("SpaceToBatchND", "pads") if r.op == "SPACE_TO_BATCH_ND" else ("BatchToSpaceND", "crops")
    if r.input(1).data is None or r.input(2).data is None:
        return r.emit("AtRunTime", r.input(0), r.input(1), r.input(2), of=name, keys=["block", key])
    return r.emit(name, r.input(0), **{"block": r.ints(1), key: r.ints(2)})


@reads("onnx", "DepthToSpace", "SpaceToDepth")
def read_onnx_blocks(r: Reading) -> Tensor:
    attrs: dict[str, Any] = {"block": int(r.attr("blocksize")), "mode": r.attr("mode", "DCR")}
    return r.channels_first(r.emit(r.op, r.channels_last(r.input(0)), **attrs))


@reads("ms", "DepthToSpace", "SpaceToDepth")
def read_ms_blocks(r: Reading) -> Tensor:
    attrs: dict[str, Any] = {"block": int(r.attr("block_size"))}
    if r.op == "DepthToSpace":
        attrs["mode"] = r.attr("mode", "") or "DCR"
    return r.emit(r.op, r.input(0), **attrs)


def _pairs(r: Reading, key: str, block: list[int]) -> list[int]:
    """A Vec2D field, or input 2, as begin and end of each axis."""
    if r.optional(2) is not None:
        return r.ints(2, key)
    tensor = r.attr(key, None)
    rows = [] if tensor is None else tensor["data"] or []
    values = [int(v) for row in rows for v in row["data"]]
    return values or [0] * (2 * len(block))


@reads("ms", "SpaceToBatch", "SpaceToBatchND", "BatchToSpace", "BatchToSpaceND")
def read_ms_batch_blocks(r: Reading) -> Tensor:
    stored = r.attr("block_shape" if r.op.endswith("ND") else "block_size", None)
    block = r.ints(1, "the block") if stored is None or not len(stored) else [int(v) for v in stored]
    if r.op.startswith("Space"):
        return r.emit("SpaceToBatchND", r.input(0), block=block, pads=_pairs(r, "paddings", block))
    return r.emit("BatchToSpaceND", r.input(0), block=block, crops=_pairs(r, "crops", block))


@reads("mindir", "DepthToSpace", "SpaceToDepth")
def read_mindir_blocks(r: Reading) -> Tensor:
    return r.channels_first(r.emit(r.op, r.channels_last(r.input(0)), block=r.whole(None, "block_size")))


@writes("ms", "DepthToSpace", "SpaceToDepth")
def write_ms_blocks(w: Writing, node: Node) -> None:
    fields: dict[str, Any] = {"block_size": node.attrs["block"], "format": 1}
    if node.op == "SpaceToDepth" and node.attrs["mode"] != "DCR":
        w.refuse(node, "mode CRD is not there")
    if node.op == "DepthToSpace":
        fields["mode"] = node.attrs["mode"]
    w.node(node.op, node, node.inputs, fields=fields)


@writes("ms", "SpaceToBatchND", "BatchToSpaceND")
def write_ms_batch_blocks(w: Writing, node: Node) -> None:
    x, key = node.inputs[0], "pads" if node.op == "SpaceToBatchND" else "crops"
    if x is None or x.rank != 4 or len(node.attrs["block"]) != 2:
        w.refuse(node, "only [N,H,W,C] is there")
    flat = node.attrs[key]
    pairs = {"data": [{"data": flat[:2]}, {"data": flat[2:]}]}
    if key == "pads":
        w.node("SpaceToBatchND", node, [x], fields={"block_shape": node.attrs["block"], "paddings": pairs})
    else:
        w.node("BatchToSpace", node, [x], fields={"block_size": node.attrs["block"], "crops": pairs})


@writes("tflite", "DepthToSpace", "SpaceToDepth")
def write_tflite_blocks(w: Writing, node: Node) -> None:
    """CRD is DCR of reordered channels, which TFLite cannot say in one operator."""
    if node.attrs["mode"] != "DCR":
        w.refuse(node, "mode CRD is not there")
    name = "DEPTH_TO_SPACE" if node.op == "DepthToSpace" else "SPACE_TO_DEPTH"
    w.node(name, node, node.inputs, fields={"block_size": node.attrs["block"]})


@writes("tflite", "SpaceToBatchND", "BatchToSpaceND")
def write_tflite_batch_blocks(w: Writing, node: Node) -> None:
    x, name = node.inputs[0], node.outputs[0].name
    if x is None or x.rank not in (3, 4) or len(node.attrs["block"]) != x.rank - 2:
        w.refuse(node, "only [N,H,W,C] and [N,W,C] are there")
    to_batch = node.op == "SpaceToBatchND"
    block = w.constant(node.attrs["block"], np.int32, f"{name}/block")
    pads = np.reshape(node.attrs["pads" if to_batch else "crops"], (-1, 2))
    op_name = "SPACE_TO_BATCH_ND" if to_batch else "BATCH_TO_SPACE_ND"
    w.node(op_name, node, [x, block, w.constant(pads, np.int32, f"{name}/pads")])


@writes("onnx", "DepthToSpace", "SpaceToDepth")
def write_onnx_blocks(w: Writing, node: Node) -> None:
    fields = {"blocksize": node.attrs["block"]}
    if node.op == "DepthToSpace" or node.attrs["mode"] != "DCR":
        fields["mode"] = node.attrs["mode"]
        need_opset(w, node, 11 if node.op == "DepthToSpace" else 28, "mode CRD")
    write_onnx(w, node, node.op, node.inputs, fields, spatial=True)


@writes("onnx", "SpaceToBatchND", "BatchToSpaceND")
def write_onnx_batch_blocks(w: Writing, node: Node) -> None:
    """Pad, Reshape, Transpose, Reshape; or Reshape, Transpose, Reshape, Slice."""
    x, y, block = node.required(0), node.outputs[0], node.attrs["block"]
    if not x.is_static or not y.is_static:
        w.refuse(node, "its sizes are not known", hint=Setting("input_shape"))
    shape, out, m = list(x.static_shape), list(y.static_shape), len(block)
    rest = shape[m + 1 :]

    def step(name: str, source: Tensor, *more: Tensor, to: Any, fields: dict[str, Any] | None = None) -> Tensor:
        target = to if isinstance(to, Tensor) else w.between(x, tuple(to), f"{y.name}/{name}")
        w.node(name, node, [source, *more], [target], fields=fields)
        return target

    def ints(values: Sequence[Any], name: str) -> Tensor:
        return w.constant([int(v) for v in values], np.int64, f"{y.name}/{name}")

    if node.op == "SpaceToBatchND":
        pads = node.attrs["pads"]
        sizes = [n + pads[2 * i] + pads[2 * i + 1] for i, n in enumerate(shape[1 : m + 1])]
        if any(pads):
            both = [0, *pads[0::2], *([0] * len(rest)), 0, *pads[1::2], *([0] * len(rest))]
            x_padded = step("Pad", x, ints(both, "pads"), to=[shape[0], *sizes, *rest])
        else:
            x_padded = x
        split = [shape[0], *(v for n, b in zip(sizes, block) for v in (n // b, b)), *rest]
        order = [*range(2, 2 * m + 1, 2), 0, *range(1, 2 * m, 2), *range(2 * m + 1, len(split))]
        parts = step("Reshape", x_padded, ints(split, "split"), to=split)
        moved = step("Transpose", parts, to=[split[p] for p in order], fields={"perm": order})
        step("Reshape", moved, ints(out, "shape"), to=y)
        return
    crops = node.attrs["crops"]
    split = [*block, shape[0] // int(np.prod(block)), *shape[1:]]
    order = [m, *(v for i in range(m) for v in (m + 1 + i, i)), *range(2 * m + 1, len(split))]
    sizes = [n * b for n, b in zip(shape[1 : m + 1], block)]
    parts = step("Reshape", x, ints(split, "split"), to=split)
    moved = step("Transpose", parts, to=[split[p] for p in order], fields={"perm": order})
    whole = step(
        "Reshape", moved, ints([out[0], *sizes, *rest], "shape"), to=[out[0], *sizes, *rest] if any(crops) else y
    )
    if any(crops):
        begin, end = crops[0::2], [n - c for n, c in zip(sizes, crops[1::2])]
        axes = ints(range(1, m + 1), "axes")
        step("Slice", whole, ints(begin, "begin"), ints(end, "end"), axes, to=y)
