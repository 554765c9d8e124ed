"""Rows of the operators that move, repeat, cut or join elements; codes come through as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .table import CODES, COPY, PLAIN, ROUNDING, Case, Draw, Row, real

TYPES = ("float32", "int32", "int64", "bool", *CODES)


def without(names: str) -> tuple[str, ...]:
    """The types but those that LiteRT's kernel does not take."""
    return tuple(t for t in TYPES if t not in names.split())


RANKS = ((7,), (3, 5), (2, 3, 4), (2, 3, 4, 5), (2, 2, 3, 2, 3))
TWO = {"const": (True, False)}


def moved(
    op: str, draw: Draw, dtype: str, inputs: Sequence[Any], options: dict[str, Any] | None = None,
    const: Sequence[int] = (), outputs: int = 1, data: Sequence[int] = (0,), **how: Any,
) -> Case:  # fmt: skip
    """A case whose data inputs and outputs share one set of parameters; types without a scale in half of the cases."""
    q = draw.params(dtype)
    version = {"int8": 2, "int16": 3}.get(dtype, 1)
    return Case(
        op, list(inputs), options, const=tuple(const), quant=dict.fromkeys(data, q), output_quant=(q,) * outputs,
        outputs=how.pop("types", (np.dtype(dtype),) * outputs), version=version, **how,
    )  # fmt: skip


def _reshape(draw: Draw, dtype: str, shapes: tuple[Any, Any], how: str) -> Case:
    x, to = draw.values(dtype, shapes[0]), np.int32(shapes[1])
    if how == "option":
        return moved("RESHAPE", draw, dtype, [x], {"new_shape": to})
    return moved("RESHAPE", draw, dtype, [x, to], {}, (1,) if how == "const" else ())


def _squeeze(draw: Draw, dtype: str, shape: tuple[int, ...], axes: tuple[int, ...] | None) -> Case | None:
    if axes and any(not -len(shape) <= a < len(shape) or shape[a] != 1 for a in axes):
        return None
    return moved("SQUEEZE", draw, dtype, [draw.values(dtype, shape)], {"squeeze_dims": np.int32(axes or ())})


def _expand_dims(draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, const: bool, listed: bool) -> Case | None:
    if not -len(shape) - 1 <= axis <= len(shape):
        return None
    at = np.int32([axis]) if listed else np.int32(axis)
    return moved("EXPAND_DIMS", draw, dtype, [draw.values(dtype, shape), at], {}, (1,) if const else ())


def _transpose(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool) -> Case:
    perm = draw.rng.permutation(len(shape)).astype(np.int32)
    return moved("TRANSPOSE", draw, dtype, [draw.values(dtype, shape), perm], {}, (1,) if const else ())


def _concat(draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, many: int, own: bool) -> Case | None:
    """`own`: each input has parameters of its own, so that codes are requantized."""
    if not -len(shape) <= axis < len(shape):
        return None
    inputs = []
    for _ in range(many):
        size = list(shape)
        size[axis] = draw.pick((1, 2, 3))
        inputs.append(draw.values(dtype, size))
    const = (int(draw.rng.integers(many)),) if many > 1 and draw.rng.random() < 0.3 else ()
    q = draw.params(dtype)
    each = {i: draw.params(dtype) if own else q for i in range(many)}
    # LiteRT joins int16 codes as they are, whatever their scales.
    truth = np.concatenate([real(a, each[i]) for i, a in enumerate(inputs)], axis) if dtype == "int16" else None
    return Case(
        "CONCATENATION", inputs, {"axis": axis}, const=const, quant=each, output_quant=(q,),
        steps=ROUNDING if own else COPY,
        version={"int8": 2, "int16": 3}.get(dtype, 1), outputs=(np.dtype(dtype),), truth=truth,
    )  # fmt: skip


def _pack(draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, many: int) -> Case | None:
    if not -len(shape) - 1 <= axis <= len(shape):
        return None
    inputs = [draw.values(dtype, shape) for _ in range(many)]
    return moved("PACK", draw, dtype, inputs, {"values_count": many, "axis": axis}, data=range(many))


def _unpack(draw: Draw, dtype: str, shape: tuple[int, ...], axis: int) -> Case | None:
    if not -len(shape) <= axis < len(shape):
        return None
    many = shape[axis]
    return moved("UNPACK", draw, dtype, [draw.values(dtype, shape)], {"num": many, "axis": axis}, outputs=many)


def _split(draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, many: int) -> Case | None:
    if not -len(shape) <= axis < len(shape):
        return None
    size = list(shape)
    size[axis] = many * draw.pick((1, 2, 3))
    inputs = [np.int32(axis), draw.values(dtype, size)]
    return moved("SPLIT", draw, dtype, inputs, {"num_splits": many}, (0,), many, data=(1,))


def _split_v(
    draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, sizes: tuple[int, ...], left: bool
) -> Case | None:
    if not -len(shape) <= axis < len(shape):
        return None
    size = list(shape)
    size[axis] = sum(sizes)
    cut = np.int32(sizes)
    if left:
        cut[int(draw.rng.integers(len(cut)))] = -1
    inputs = [draw.values(dtype, size), cut, np.int32(axis)]
    return moved("SPLIT_V", draw, dtype, inputs, {"num_splits": len(sizes)}, (1, 2), len(sizes))


def _slice(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool, index: str) -> Case:
    begin = np.array([draw.rng.integers(n) for n in shape])
    size = np.array([draw.pick((-1, int(draw.rng.integers(1, n - b + 1)))) for n, b in zip(shape, begin)])
    inputs = [draw.values(dtype, shape), begin.astype(index), size.astype(index)]
    return moved("SLICE", draw, dtype, inputs, {}, (1, 2) if const else ())


def _strided_slice(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool, masks: str) -> Case:
    rank, r = len(shape), draw.rng
    fields = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    stride = r.choice([1, 1, 1, 2, -1, -2], rank)
    begin = np.array([r.integers(-n, n) for n in shape])
    end = np.array([r.integers(-n - 1, n + 2) for n in shape])
    if masks in ("ends", "all"):
        fields["begin_mask"], fields["end_mask"] = int(r.integers(1 << rank)), int(r.integers(1 << rank))
    if masks in ("shrink", "all"):
        fields["shrink_axis_mask"] = int(r.integers(1 << rank))
        stride = np.where(fields["shrink_axis_mask"] >> np.arange(rank) & 1, 1, stride)
        begin = np.where(fields["shrink_axis_mask"] >> np.arange(rank) & 1, begin, begin)
    if masks == "ellipsis":
        at = int(r.integers(rank))
        fields["ellipsis_mask"] = 1 << at
    if masks == "new" and rank < 4:
        at = int(r.integers(rank + 1))
        begin, end, stride = (np.insert(v, at, fill) for v, fill in ((begin, 0), (end, 1), (stride, 1)))
        fields["new_axis_mask"] = 1 << at
    inputs = [draw.values(dtype, shape), np.int32(begin), np.int32(end), np.int32(stride)]
    return moved("STRIDED_SLICE", draw, dtype, inputs, fields, (1, 2, 3) if const else ())


def _pads(draw: Draw, shape: tuple[int, ...], most: int, index: str) -> np.ndarray:
    return draw.rng.integers(0, most + 1, (len(shape), 2)).astype(index)


def _pad(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool, index: str) -> Case:
    inputs = [draw.values(dtype, shape), _pads(draw, shape, 2, index)]
    return moved("PAD", draw, dtype, inputs, {}, (1,) if const else ())


def _pad_v2(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool, index: str) -> Case:
    inputs = [draw.values(dtype, shape), _pads(draw, shape, 2, index), draw.values(dtype, ())]
    return moved("PADV2", draw, dtype, inputs, {}, (1, 2) if const else (), data=(0, 2))


def _mirror_pad(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool, mode: str) -> Case:
    most = min(shape) - (mode == "REFLECT")
    inputs = [draw.values(dtype, shape), _pads(draw, shape, min(most, 3), "int32")]
    return moved("MIRROR_PAD", draw, dtype, inputs, {"mode": mode}, (1,) if const else ())


def _tile(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool, index: str) -> Case:
    many = draw.rng.integers(1, 4, len(shape)).astype(index)
    return moved("TILE", draw, dtype, [draw.values(dtype, shape), many], {}, (1,) if const else ())


def _broadcast_to(draw: Draw, dtype: str, shapes: tuple[Any, Any], const: bool, index: str) -> Case:
    inputs = [draw.values(dtype, shapes[0]), np.asarray(shapes[1], index)]
    return moved("BROADCAST_TO", draw, dtype, inputs, {}, (1,) if const else ())


def _reverse(draw: Draw, dtype: str, shape: tuple[int, ...], many: int) -> Case | None:
    if many > len(shape):
        return None
    start = int(draw.rng.integers(len(shape) - many + 1))
    return moved("REVERSE_V2", draw, dtype, [draw.values(dtype, shape), np.int32(range(start, start + many))], {}, (1,))


def _reverse_sequence(draw: Draw, dtype: str, shape: tuple[int, ...], dims: tuple[int, int], index: str) -> Case | None:
    seq, batch = dims
    if max(dims) >= len(shape):
        return None
    lengths = draw.rng.integers(1, shape[seq] + 1, shape[batch]).astype(index)
    inputs = [draw.values(dtype, shape), lengths]
    return moved("REVERSE_SEQUENCE", draw, dtype, inputs, {"seq_dim": seq, "batch_dim": batch})


def _block(op: str) -> Any:
    def make(draw: Draw, dtype: str, block: int, size: tuple[int, int, int, int]) -> Case:
        n, h, w, c = size
        shape = (n, h * block, w * block, c) if op == "SPACE_TO_DEPTH" else (n, h, w, c * block * block)
        return moved(op, draw, dtype, [draw.values(dtype, shape)], {"block_size": block})

    return make


def _space_to_batch(draw: Draw, dtype: str, size: tuple[int, ...], const: bool, padded: bool) -> Case:
    """size: [batch, spatial…, channels]; the spatial sizes become multiples of the blocks with the pads."""
    spatial = size[1:-1]
    block = draw.rng.integers(1, 4, len(spatial))
    pads = draw.rng.integers(0, 3, (len(spatial), 2)) if padded else np.zeros((len(spatial), 2), int)
    fitted = [max(-(-(n + p.sum()) // b) * b - p.sum(), 1) for n, p, b in zip(spatial, pads, block)]
    pads[:, 1] += [(-(n + p.sum())) % b for n, p, b in zip(fitted, pads, block)]
    inputs = [draw.values(dtype, (size[0], *fitted, size[-1])), np.int32(block), np.int32(pads)]
    return moved("SPACE_TO_BATCH_ND", draw, dtype, inputs, {}, (1, 2) if const else ())


def _batch_to_space(draw: Draw, dtype: str, size: tuple[int, ...], const: bool, cropped: bool) -> Case:
    spatial = size[1:-1]
    block = draw.rng.integers(1, 4, len(spatial))
    crops = np.array(
        [[draw.rng.integers(0, 2), 0] if cropped and n * b > 2 else [0, 0] for n, b in zip(spatial, block)]
    )
    shape = (size[0] * int(block.prod()), *spatial, size[-1])
    inputs = [draw.values(dtype, shape), np.int32(block), np.int32(crops)]
    return moved("BATCH_TO_SPACE_ND", draw, dtype, inputs, {}, (1, 2) if const else ())


def _linear(x: np.ndarray, axis: int, to: int, mode: str) -> np.ndarray:
    """x resampled along one axis, in float64."""
    n = x.shape[axis]
    if mode == "align" and to > 1:
        at = np.arange(to) * ((n - 1) / (to - 1))
    else:
        at = (np.arange(to) + 0.5) * (n / to) - 0.5 if mode == "half" else np.arange(to) * (n / to)
    low = np.clip(np.floor(at), 0, n - 1).astype(int)
    share = np.clip(at - low, 0, 1).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    high = np.minimum(low + 1, n - 1)
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def _resize(op: str) -> Any:
    def make(
        draw: Draw, dtype: str, size: tuple[int, int], to: tuple[int, int], mode: str, const: bool, channels: int
    ) -> Case | None:
        options = {"align_corners": mode == "align", "half_pixel_centers": mode == "half"}
        inputs = [draw.values(dtype, (2, *size, channels)), np.int32(to)]
        # Bilinear weights of codes are rounded to 10 or 11 bits before the sum there: a code may be its neighbour's.
        steps = ROUNDING if op == "RESIZE_BILINEAR" and dtype in CODES else 0
        version = 3 if op == "RESIZE_BILINEAR" else 4
        case = moved(op, draw, dtype, inputs, options, (1,) if const else (), steps=steps)
        q = case.quant[0]
        if op == "RESIZE_BILINEAR" and q is not None:
            case.truth = _linear(_linear(real(inputs[0], q), 1, to[0], mode), 2, to[1], mode)
        case.version = version
        return case

    return make


def _shape(draw: Draw, dtype: str, shape: tuple[int, ...], to: str) -> Case:
    options = {"out_type": {"int32": 2, "int64": 4}[to]}
    return Case("SHAPE", [draw.values(dtype, shape)], options, outputs=(np.dtype(to),))


def _rank(draw: Draw, dtype: str, shape: tuple[int, ...]) -> Case:
    return Case("RANK", [draw.values(dtype, shape)], {}, outputs=(np.int32,))


def _range(draw: Draw, dtype: str, span: tuple[float, float, float], const: bool) -> Case | None:
    values = np.asarray(span, dtype)
    if values[2] == 0 or (dtype != "float32" and any(v != int(v) for v in span)):
        return None
    return Case("RANGE", [np.asarray(v) for v in values], {}, const=(0, 1, 2) if const else ())


def _fill(draw: Draw, dtype: str, shape: tuple[int, ...], const: bool, index: str) -> Case:
    inputs = [np.asarray(shape, index), draw.values(dtype, ())]
    return moved("FILL", draw, dtype, inputs, {}, (0,) if const else (), data=(1,))


SPREADS = (
    ((), (3,)),
    ((4,), (3, 4)),
    ((3, 1), (3, 5)),
    ((1, 3, 1), (2, 3, 4)),
    ((2, 1, 4, 1), (2, 3, 4, 5)),
    ((2, 3), (2, 3)),
)
RESHAPES = (
    ((2, 3, 4), (6, 4)), ((2, 3, 4), (-1,)), ((24,), (2, -1, 3)), ((4, 6), (1, 4, 2, 3, 1)), ((1,), ()), ((), (1, 1)),
    ((0, 3), (3, 0)),
)  # fmt: skip
SIZES = ((1, 1), (2, 3), (5, 4), (7, 8))
RESIZES = {
    "size": SIZES, "to": (*SIZES, (10, 9)), "mode": ("plain", "align", "half"), "const": (True, False),
    "channels": (1, 3, 8),
}  # fmt: skip
INDEX = {"index": ("int32", "int64")}
ONES = ((1, 3, 1, 2), (1, 1, 5), (2, 1), (1,), (2, 3), (1, 2, 1, 3, 1))
ROWS = [
    Row("RESHAPE", _reshape, TYPES, {"shapes": RESHAPES, "how": ("const", "run", "option")}),
    Row("SQUEEZE", _squeeze, TYPES, {"shape": ONES, "axes": (None, (0,), (-1,), (0, 2))}),
    Row(
        "EXPAND_DIMS",
        _expand_dims,
        TYPES,
        {"shape": ((), *RANKS[:4]), "axis": (0, 1, 2, -1, -2), "listed": (False, True)} | TWO,
    ),
    Row("TRANSPOSE", _transpose, TYPES, {"shape": (*RANKS, (2, 1, 3, 2, 1, 2))} | TWO),
    Row(
        "CONCATENATION",
        _concat,
        TYPES,
        {"shape": RANKS, "axis": (0, 1, -1, 2), "many": (1, 2, 4), "own": (False, True)},
    ),
    Row("PACK", _pack, without("bool"), {"shape": ((), *RANKS[:4]), "axis": (0, 1, -1), "many": (1, 2, 4)}),
    Row("UNPACK", _unpack, without("int64"), {"shape": RANKS, "axis": (0, 1, -1)}),
    Row("SPLIT", _split, without("bool"), {"shape": RANKS, "axis": (0, 1, -1), "many": (1, 2, 3)}),
    Row(
        "SPLIT_V",
        _split_v,
        without("bool"),
        {"shape": RANKS, "axis": (0, 1, -1), "sizes": ((3,), (1, 2), (2, 0, 3)), "left": (False, True)},
    ),
    Row("SLICE", _slice, TYPES, {"shape": RANKS} | TWO | INDEX),
    Row(
        "STRIDED_SLICE",
        _strided_slice,
        TYPES,
        {"shape": RANKS, "masks": ("none", "ends", "shrink", "ellipsis", "new", "all")} | TWO,
    ),
    Row("PAD", _pad, TYPES, {"shape": RANKS} | TWO | INDEX),
    Row("PADV2", _pad_v2, TYPES, {"shape": RANKS} | TWO | INDEX),
    Row("MIRROR_PAD", _mirror_pad, TYPES, {"shape": RANKS, "mode": ("REFLECT", "SYMMETRIC")} | TWO),
    Row("TILE", _tile, TYPES, {"shape": RANKS} | TWO | INDEX),
    Row("BROADCAST_TO", _broadcast_to, TYPES, {"shapes": SPREADS} | TWO | INDEX),
    Row("REVERSE_V2", _reverse, TYPES, {"shape": RANKS, "many": (1, 2, 3)}),
    Row(
        "REVERSE_SEQUENCE",
        _reverse_sequence,
        without("bool int8 int16"),
        {"shape": RANKS[1:], "dims": ((1, 0), (0, 1), (2, 0), (1, 2), (3, 1))} | INDEX,
    ),
    Row(
        "SPACE_TO_DEPTH",
        _block("SPACE_TO_DEPTH"),
        without("bool int16"),
        {"block": (2, 3), "size": ((1, 2, 3, 4), (2, 1, 1, 3))},
    ),
    Row(
        "DEPTH_TO_SPACE",
        _block("DEPTH_TO_SPACE"),
        without("bool int16"),
        {"block": (2, 3), "size": ((1, 2, 3, 4), (2, 1, 1, 3))},
    ),
    Row(
        "SPACE_TO_BATCH_ND",
        _space_to_batch,
        TYPES,
        {"size": ((1, 4, 6, 3), (2, 5, 3, 2), (2, 6, 3)), "padded": (False, True)} | TWO,
    ),
    Row(
        "BATCH_TO_SPACE_ND",
        _batch_to_space,
        TYPES,
        {"size": ((1, 4, 6, 3), (2, 3, 3, 2), (2, 6, 3)), "cropped": (False, True)} | TWO,
    ),
    Row("RESIZE_BILINEAR", _resize("RESIZE_BILINEAR"), ("float32", *CODES), RESIZES),
    Row("RESIZE_NEAREST_NEIGHBOR", _resize("RESIZE_NEAREST_NEIGHBOR"), ("float32", *CODES), RESIZES),
    Row("SHAPE", _shape, TYPES, {"shape": ((), (0, 3), *RANKS), "to": ("int32", "int64")}),
    Row("RANK", _rank, TYPES, {"shape": ((), (0, 3), *RANKS)}),
    Row(
        "RANGE",
        _range,
        PLAIN,
        {"span": ((0, 5, 1), (5, -3, -2), (0.5, 2, 0.3), (3, 3, 1), (-4, 9, 4)), "const": (True, False)},
    ),
    Row("FILL", _fill, TYPES, {"shape": ((), (3,), (2, 0), (2, 3, 4))} | TWO | INDEX),
]
