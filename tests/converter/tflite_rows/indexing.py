"""Rows of the operators that choose by index or condition, and of what ends a detector."""

from __future__ import annotations

from typing import Any

import numpy as np
from bitlite.converter.numeric.qparams import QuantParam
from flatbuffers import flexbuffers

from .shapes import INDEX, RANKS, TWO, TYPES, moved, without
from .table import Case, Draw, Row, rounded


def _gather(
    draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, at: tuple[int, ...], batch: int, index: str, const: bool
) -> Case | None:
    rank = len(shape)
    if not -rank <= axis < rank or batch > axis % rank:
        return None
    places = draw.rng.integers(0, shape[axis], (*shape[:batch], *at)).astype(index)
    options = {"axis": axis, "batch_dims": batch}
    return moved("GATHER", draw, dtype, [draw.values(dtype, shape), places], options, (1,) if const else ())


def _gather_nd(
    draw: Draw, dtype: str, shape: tuple[int, ...], deep: int, lead: tuple[int, ...], index: str
) -> Case | None:
    if deep > len(shape):
        return None
    places = np.stack([draw.rng.integers(0, n, lead) for n in shape[:deep]], -1).astype(index)
    return moved("GATHER_ND", draw, dtype, [draw.values(dtype, shape), places], {})


def _scatter_nd(draw: Draw, dtype: str, shape: tuple[int, ...], deep: int, many: int, const: bool) -> Case | None:
    """Indices may repeat: their values add up."""
    if deep > len(shape) or dtype == "int16":
        return None
    places = np.stack([draw.rng.integers(0, n, many) for n in shape[:deep]], -1).astype(np.int32)
    if dtype in ("bool", "int8", "uint8"):
        places = np.unique(places, axis=0)
    updates = draw.values(dtype, (len(places), *shape[deep:]))
    return moved("SCATTER_ND", draw, dtype, [places, updates, np.int32(shape)], {}, (2,) if const else (), data=(1,))


def _select(op: str, spreads: Any) -> Row:
    def make(draw: Draw, dtype: str, shapes: tuple[Any, Any, Any], const: int | None) -> Case:
        inputs = [draw.values("bool", shapes[0]), draw.values(dtype, shapes[1]), draw.values(dtype, shapes[2])]
        return moved(op, draw, dtype, inputs, {}, () if const is None else (const,), data=(1, 2))

    return Row(op, make, TYPES, {"shapes": spreads, "const": (None, 1, 2)})


def _one_hot(draw: Draw, dtype: str, shape: tuple[int, ...], axis: int, index: str, const: bool) -> Case | None:
    if axis > len(shape):
        return None
    at = draw.rng.integers(-1, 6, shape).astype(index)
    on, off = draw.values(dtype, ()), draw.values(dtype, ())
    inputs = [at, np.int32(5), on, off]
    return moved("ONE_HOT", draw, dtype, inputs, {"axis": axis}, (1, 2, 3) if const else (), data=(2, 3))


def _sparse_to_dense(draw: Draw, dtype: str, rank: int, one: bool, index: str, const: bool) -> Case | None:
    shape = (6, 4, 3, 2)[: max(rank, 1)]
    many = 1 if rank == 0 else 3
    cells = np.sort(draw.rng.permutation(int(np.prod(shape)))[:many])
    at = np.stack(np.unravel_index(cells, shape), -1).astype(index)
    if rank == 0:
        at = at.reshape(())
    elif rank == 1:
        at = at.reshape(-1)
    values = draw.values(dtype, () if one or rank == 0 else (many,))
    inputs = [at, np.asarray(shape, index), values, draw.values(dtype, ())]
    options = {"validate_indices": False}
    return moved("SPARSE_TO_DENSE", draw, dtype, inputs, options, (1,) if const else (), data=(2, 3))


def _top_k(draw: Draw, dtype: str, shape: tuple[int, ...], k: int, ties: bool, const: bool) -> Case:
    x = draw.values(dtype, shape)
    x = np.asarray(np.rint(x / (40 if x.dtype.itemsize == 1 else 1)), x.dtype) if ties else x
    types = (np.dtype(dtype), np.dtype(np.int32))
    case = moved("TOPK_V2", draw, dtype, [x, np.int32(min(k, shape[-1]))], {}, (1,) if const else (), 2, types=types)
    case.output_quant = case.output_quant[:1]
    return case


def _unique(draw: Draw, dtype: str, many: int, to: str) -> Case:
    options = {"idx_out_type": {"int32": 2, "int64": 4}[to]}
    x = np.asarray(draw.rng.integers(0, 5, many), dtype)
    return moved("UNIQUE", draw, dtype, [x], options, outputs=2, types=(np.dtype(dtype), np.dtype(to)))


def _where(draw: Draw, dtype: str, shape: tuple[int, ...]) -> Case:
    x = draw.values("bool", shape)
    return Case("WHERE", [np.asarray(x, dtype)], {}, outputs=(np.int64,))


def _corners(draw: Draw, *lead: int) -> np.ndarray:
    centre, size = draw.rng.uniform(0, 1, (*lead, 2)), draw.rng.uniform(0.1, 0.5, (*lead, 2))
    return np.concatenate([centre - size / 2, centre + size / 2], -1).astype(np.float32)


def _suppression(op: str) -> Row:
    def make(
        draw: Draw, dtype: str, boxes: int, most: int, overlap: float, score: float, sigma: float, const: bool
    ) -> Case | None:
        if op.endswith("V4") and sigma:
            return None
        inputs = [_corners(draw, boxes), draw.rng.random(boxes).astype(np.float32), np.int32(most)]
        inputs += [np.float32(overlap), np.float32(score)]
        outputs: tuple[Any, ...] = (np.int32, np.int32)
        if op.endswith("V5"):
            inputs.append(np.float32(sigma))
            outputs = (np.int32, np.float32, np.int32)
        return Case(op, inputs, {}, const=tuple(range(2, len(inputs))) if const else (), outputs=outputs)

    axes: dict[str, tuple[Any, ...]] = {
        "boxes": (1, 12, 40), "most": (1, 8, 50), "overlap": (0.2, 0.5, 1.0), "score": (0.0, 0.3, 0.99),
        "sigma": (0.0, 0.5), "const": (True,),
    }  # fmt: skip
    return Row(op, make, ("float32",), axes)


def _post_process(
    draw: Draw, dtype: str, classes: int, background: int, per_box: int, regular: bool, most: int
) -> Case | None:
    if (regular and per_box > 1) or per_box > classes:
        return None  # LiteRT leaves part of its outputs unset
    n = 24
    anchors = np.concatenate([draw.rng.uniform(0, 1, (n, 2)), draw.rng.uniform(0.1, 0.4, (n, 2))], 1)
    boxes, scores = draw.values(dtype, (1, n, 4), -1, 1), draw.values(dtype, (1, n, classes + background), 0, 1)
    if dtype == "uint8":  # LiteRT's order of equal scores is none; anchors have codes, too
        scores = draw.rng.permutation(256)[: scores.size].astype(dtype).reshape(scores.shape)
    q = rounded(QuantParam(1 / 250, 3)) if dtype == "uint8" else None
    anchors = (anchors.astype(np.float32)) if q is None else np.uint8(np.rint(anchors * 250) + 3)
    options = {"max_detections": most, "max_classes_per_detection": per_box, "num_classes": classes}
    options |= {"nms_score_threshold": 0.3, "nms_iou_threshold": 0.4, "use_regular_nms": regular}
    options |= {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0, "detections_per_class": 10}
    return Case(
        "TFLite_Detection_PostProcess", [boxes, scores, anchors], const=(2,),
        outputs=(np.float32,) * 4, custom_options=bytes(flexbuffers.Dumps(options)),
        quant={0: draw.params(dtype, -1, 1), 1: draw.params(dtype, 0, 1), 2: q},
    )  # fmt: skip


WHERES = (
    ((3, 4), (3, 4), (3, 4)), ((7,), (7,), (7,)), ((2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 4, 5)), ((), (3, 4), (3, 4)),
    ((3,), (3, 4), (3, 4)), ((), (), ()),
)  # fmt: skip
SPREAD_WHERES = (
    *WHERES[:3], ((3, 1), (1, 4), (3, 4)), ((4,), (3, 4), ()), ((2, 1, 4), (3, 1), (2, 3, 4)), ((2, 3), (), ()),
    ((2, 1, 1, 5), (1, 3, 1, 1), (1, 1, 4, 1)),
)  # fmt: skip
ROWS = [
    Row(
        "GATHER",
        _gather,
        TYPES,
        {"shape": RANKS, "axis": (0, 1, -1, 2), "at": ((), (3,), (2, 2)), "batch": (0, 1)} | INDEX | TWO,
    ),
    Row("GATHER_ND", _gather_nd, TYPES, {"shape": RANKS, "deep": (1, 2, 3), "lead": ((), (3,), (2, 2))} | INDEX),
    Row(
        "SCATTER_ND", _scatter_nd, without("int8 int16"), {"shape": RANKS[:4], "deep": (1, 2), "many": (1, 3, 6)} | TWO
    ),
    _select("SELECT", WHERES),
    _select("SELECT_V2", SPREAD_WHERES),
    Row(
        "ONE_HOT",
        _one_hot,
        without("int16"),
        {"shape": ((), (3,), (2, 3), (2, 3, 2)), "axis": (-1, 0, 1)} | INDEX | TWO,
    ),
    Row(
        "SPARSE_TO_DENSE",
        _sparse_to_dense,
        without("bool int16"),
        {"rank": (0, 1, 2, 3, 4), "one": (False, True)} | INDEX | TWO,
    ),
    Row("TOPK_V2", _top_k, without("bool"), {"shape": RANKS[:4], "k": (0, 1, 3, 9), "ties": (False, True)} | TWO),
    Row(
        "UNIQUE",
        _unique,
        ("float32", "int32", "int64", "int8", "uint8", "int16"),
        {"many": (1, 9), "to": ("int32", "int64")},
    ),
    Row("WHERE", _where, (*without("int16"), "uint32"), {"shape": ((7,), (3, 5), (2, 3, 4), (2, 3, 2, 3), (1,))}),
    _suppression("NON_MAX_SUPPRESSION_V4"),
    _suppression("NON_MAX_SUPPRESSION_V5"),
    Row(
        "TFLite_Detection_PostProcess",
        _post_process,
        ("float32", "uint8"),
        {"classes": (1, 3), "background": (0, 1), "per_box": (1, 2), "regular": (False, True), "most": (3, 10)},
    ),
]
