"""What ends a detector: NonMaxSuppression (ONNX, TFLite V4 and V5) and TFLite's detection post-process."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..ir import Node, Tensor, is_quantized
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.types import fail, need


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others [n, 4], all as (y1, x1, y2, x2) in either diagonal, float32."""
    low, high = np.minimum(others[:, :2], others[:, 2:]), np.maximum(others[:, :2], others[:, 2:])
    own_low, own_high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    size = np.maximum(np.minimum(high, own_high) - np.maximum(low, own_low), 0)
    inner = size[:, 0] * size[:, 1]
    areas, area = (high - low).prod(1), (own_high - own_low).prod()
    union = areas + area - inner
    return np.where((areas > 0) & (area > 0) & (union > 0), inner / np.where(union > 0, union, 1), 0)


def suppress(boxes: np.ndarray, scores: np.ndarray, many: int, iou: float, threshold: float | None) -> list[int]:
    """Indices of boxes [n, 4] taken best first, each not overlapping a taken one by more than `iou`, at most `many`.

    Scores must be above `threshold`; of equal ones the first counts more.
    """
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    taken: list[int] = []
    for i in order:
        if len(taken) >= many or (threshold is not None and not scores[i] > threshold):
            break
        if not taken or not (overlap(boxes[i], boxes[taken]) > np.float32(iou)).any():
            taken.append(int(i))
    return taken


def infer_nms(node: Node) -> Inferred:
    boxes, scores = node.required(0), node.required(1)
    need(node, boxes, "f", "the boxes")
    need(node, scores, "f", "the scores")
    for t, what in ((boxes, "boxes must be [batch, n, 4]"), (scores, "scores must be [batch, classes, n]")):
        if t.shape is not None and len(t.shape) != 3:
            fail(node, f"{what}, not {t.shape}")
    if boxes.shape is not None and boxes.shape[2] not in (None, 4):
        fail(node, f"boxes of shape {boxes.shape}")
    if boxes.shape is not None and scores.shape is not None:
        pairs = ((boxes.shape[0], scores.shape[0]), (boxes.shape[1], scores.shape[2]))
        if any(None not in p and p[0] != p[1] for p in pairs):
            fail(node, f"boxes {boxes.shape} and scores {scores.shape} do not fit")
    return [(np.dtype(np.int64), (None, 3))]


def _number(value: Any, default: float) -> float:
    return default if value is None or not np.size(value) else np.reshape(value, -1)[0]


_BOXES = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1]]], np.float32)
_SCORES = np.array([[[0.9, 0.75, 0.6, 0.95, 0.5]]], np.float32)


@op(
    "NonMaxSuppression",
    attrs={"center": False},
    infer=infer_nms,
    arity=(2, 5),
    quant=Quant(int8=False),
    cases=[
        Case((_BOXES, _SCORES, np.array([3], np.int64), np.array([0.5], np.float32), np.array([0.0], np.float32))),
        Case((_BOXES, _SCORES, np.array([2], np.int64), np.array([0.5], np.float32))),
        Case(
            (_BOXES, _SCORES, np.array([9], np.int64), np.array([0.3], np.float32), np.array([0.55], np.float32)),
            {"center": True},
        ),
    ],
)
def non_max_suppression(
    boxes: np.ndarray, scores: np.ndarray, many: Any = None, iou: Any = None, threshold: Any = None, *, center: bool
) -> np.ndarray:
    """boxes [B,N,4], scores [B,C,N] → int64 [n,3] of (batch, class, box), as ONNX NonMaxSuppression.

    `many` per class (absent: none), `iou` 0 and no score `threshold` by default; `center`: boxes are (x, y, w, h).
    """
    if center:
        x, y, w, h = np.moveaxis(boxes, -1, 0)
        boxes = np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1).astype(boxes.dtype)
    limit = None if threshold is None or not np.size(threshold) else _number(threshold, 0)
    count = int(_number(many, 0))
    triples = [
        (b, c, i)
        for b in range(scores.shape[0])
        for c in range(scores.shape[1])
        for i in suppress(boxes[b], scores[b, c], count, float(_number(iou, 0)), limit)
    ]
    return np.array(triples, np.int64).reshape(-1, 3)


@reads("onnx", "NonMaxSuppression")
def read_onnx_nms(r: Reading) -> Tensor:
    inputs = [r.input(0), r.input(1), *(r.optional(i) for i in range(2, 5))]
    return r.emit("NonMaxSuppression", *inputs, center=bool(r.attr("center_point_box", 0)))


@reads("ms", "NonMaxSuppression")
def read_ms_nms(r: Reading) -> Tensor:
    return read_onnx_nms(r)


@writes("onnx", "NonMaxSuppression")
@writes("ms", "NonMaxSuppression")
def write_nms(w: Writing, node: Node) -> None:
    w.node("NonMaxSuppression", node, node.inputs, fields={"center_point_box": int(node.attrs["center"])})


def infer_nms_one(node: Node) -> Inferred:
    boxes, scores, many = node.required(0), node.required(1), node.required(2)
    need(node, boxes, "f", "the boxes")
    if boxes.shape is not None and (len(boxes.shape) != 2 or boxes.shape[1] not in (None, 4)):
        fail(node, f"boxes must be [n, 4], not {boxes.shape}")
    if scores.shape is not None and len(scores.shape) != 1:
        fail(node, f"scores must be [n], not {scores.shape}")
    n = None if many.data is None else int(many.data.reshape(-1)[0])
    if n is not None and n < 0:
        fail(node, f"{n} boxes are wanted")
    ints, floats = np.dtype(np.int32), np.dtype(np.float32)
    counts = (ints, ())
    return [(ints, (n,)), (floats, (n,)), counts] if node.attrs["soft"] else [(ints, (n,)), counts]


@op(
    "NonMaxSuppressionPadded",
    attrs={"soft": False},
    infer=infer_nms_one,
    arity=(5, 6),
    outputs=None,
    quant=Quant(int8=False),
    cases=[
        Case((_BOXES[0], _SCORES[0, 0], np.int32(4), np.float32(0.5), np.float32(0.0))),
        Case(
            (_BOXES[0], _SCORES[0, 0], np.int32(3), np.float32(0.5), np.float32(0.0), np.float32(0.5)), {"soft": True}
        ),
    ],
)
def non_max_suppression_padded(
    boxes: np.ndarray, scores: np.ndarray, many: Any, iou: Any, threshold: Any, sigma: Any = 0.0, *, soft: bool
) -> tuple[np.ndarray, ...]:
    """boxes [N,4], scores [N] → indices [many] padded with zeros, (their scores when `soft`), how many there are.

    As TFLite NON_MAX_SUPPRESSION_V4 and, with `soft`, V5: scores decay by exp(-iou² / (2 sigma)) instead of vanishing.
    """
    count, limit, low = (np.reshape(v, -1)[0] for v in (many, iou, threshold))
    spread = float(np.reshape(sigma, -1)[0]) if soft else 0.0
    factor = -0.5 / spread if spread > 0 else 0.0
    # Candidates wait with the number of taken boxes that they were already compared with.
    waiting = [(float(s), i, 0) for i, s in enumerate(scores) if s > low]
    taken: list[int] = []
    kept: list[float] = []
    while waiting and len(taken) < count:
        best = max(range(len(waiting)), key=lambda k: (waiting[k][0], -waiting[k][1]))
        score, i, seen = waiting.pop(best)
        start, alive = score, True
        for j in range(len(taken) - 1, seen - 1, -1):
            shared = float(overlap(boxes[i], boxes[taken[j]][None])[0])
            alive = shared < limit
            if not alive:
                break
            if factor:
                score = float(np.float32(score) * np.exp(np.float32(factor * shared * shared)))
            if score <= low:
                break
        if not alive:
            continue
        if score == start:
            taken.append(i)
            kept.append(score)
        elif score > low:
            waiting.append((score, i, len(taken)))
    n = int(count)
    indices, values = np.zeros(n, np.int32), np.zeros(n, np.float32)
    indices[: len(taken)], values[: len(taken)] = taken, kept
    valid = np.asarray(len(taken), np.int32)
    return (indices, values, valid) if soft else (indices, valid)


@reads("tflite", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
def read_tflite_nms(r: Reading) -> list[Tensor]:
    soft = r.op.endswith("V5")
    return r.emit_many("NonMaxSuppressionPadded", [r.input(i) for i in range(6 if soft else 5)], soft=soft)


@writes("tflite", "NonMaxSuppressionPadded")
def write_tflite_nms(w: Writing, node: Node) -> None:
    w.node(f"NON_MAX_SUPPRESSION_V{5 if node.attrs['soft'] else 4}", node, node.inputs)


_MOST_DETECTIONS = 1 << 20
_DETECTION: dict[str, Any] = {
    "max_detections": REQUIRED,
    "max_classes_per_detection": REQUIRED,
    "num_classes": REQUIRED,
    "nms_score_threshold": REQUIRED,
    "nms_iou_threshold": REQUIRED,
    "scale": REQUIRED,
    "detections_per_class": 100,
    "use_regular_nms": False,
}


def infer_detection(node: Node) -> Inferred:
    boxes, scores, anchors = node.required(0), node.required(1), node.required(2)
    a = node.attrs
    for t, last in ((boxes, 4), (anchors, 4)):
        if t.shape is not None and t.shape[-1] is not None and t.shape[-1] < last:
            fail(node, f"{t.name!r} has shape {t.shape}, the last size must be {last}")
    if boxes.shape is None or scores.shape is None or len(boxes.shape) != 3 or len(scores.shape) != 3:
        fail(node, "boxes [1, n, 4] and scores [1, n, classes] of known rank are needed")
    if any(t.known_shape[0] not in (1, None) for t in (boxes, scores)):
        fail(node, f"a batch of {boxes.shape[0]}; one image at a time")
    if scores.shape[2] is not None and scores.shape[2] - a["num_classes"] not in (0, 1):
        fail(node, f"{scores.shape[2]} scores for {a['num_classes']} classes")
    if len(a["scale"]) != 4 or min(a["scale"]) <= 0 or a["max_detections"] < 1 or a["max_classes_per_detection"] < 1:
        fail(node, f"scale {a['scale']} and counts must be positive")
    n = a["max_detections"] * a["max_classes_per_detection"]
    if n > _MOST_DETECTIONS or not all(np.isfinite(v) for v in a["scale"]):
        fail(node, f"{n} detections, at most {_MOST_DETECTIONS} are computed")
    f = np.dtype(np.float32)
    return [(f, (1, n, 4)), (f, (1, n)), (f, (1, n)), (f, (1,))]


_RNG = np.random.default_rng(5)
_CASE = {
    "max_detections": 3, "max_classes_per_detection": 1, "num_classes": 2, "nms_score_threshold": 0.1,
    "nms_iou_threshold": 0.5, "scale": [10.0, 10.0, 5.0, 5.0],
}  # fmt: skip
_ANCHORS = np.abs(_RNG.uniform(0.2, 1, (6, 4))).astype(np.float32)


@op(
    "DetectionPostProcess",
    attrs=_DETECTION,
    infer=infer_detection,
    arity=3,
    outputs=4,
    quant=Quant(int8=False),
    cases=[
        Case(((1, 6, 4), (1, 6, 3), _ANCHORS), _CASE),
        Case(((1, 6, 4), (1, 6, 3), _ANCHORS), _CASE | {"use_regular_nms": True}),
    ],
)
def detection_post_process(
    boxes: np.ndarray, scores: np.ndarray, anchors: np.ndarray, **a: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """boxes [1,N,4] (y, x, h, w on anchors [N,4]), scores [1,N,C] → boxes [1,n,4], classes and scores [1,n], count [1].

    As TFLite_Detection_PostProcess: a first score column beyond `num_classes` is the background.
    """
    f = np.float32
    ys, xs, hs, ws = (f(s) for s in a["scale"])
    raw, anchor = boxes[0, :, :4].astype(f), anchors.astype(f)
    y, x = raw[:, 0] / ys * anchor[:, 2] + anchor[:, 0], raw[:, 1] / xs * anchor[:, 3] + anchor[:, 1]
    h, w = f(0.5) * np.exp(raw[:, 2] / hs) * anchor[:, 2], f(0.5) * np.exp(raw[:, 3] / ws) * anchor[:, 3]
    decoded = np.stack([y - h, x - w, y + h, x + w], 1)
    values = scores[0, :, scores.shape[2] - a["num_classes"] :].astype(f)
    if a["use_regular_nms"]:
        detections, count = _per_class(decoded, values, a)
    else:
        detections, count = _best_classes(decoded, values, a)
    n = a["max_detections"] * a["max_classes_per_detection"]
    out, classes, kept = np.zeros((n, 4), f), np.zeros(n, f), np.zeros(n, f)
    for place, i, c in detections:
        out[place], classes[place], kept[place] = decoded[i], c, values[i, c]
    return out[None], classes[None], kept[None], np.asarray([count], f)


def _kept(boxes: np.ndarray, scores: np.ndarray, many: int, a: dict[str, Any]) -> list[int]:
    """As `suppress`, for scores that reach the threshold."""
    above = np.flatnonzero(scores >= np.float32(a["nms_score_threshold"]))
    return [int(above[i]) for i in suppress(boxes[above], scores[above], many, a["nms_iou_threshold"], None)]


_Found = tuple[list[tuple[int, int, int]], int]  # (place in the output, box, class) each, and the number of detections


def _best_classes(boxes: np.ndarray, scores: np.ndarray, a: dict[str, Any]) -> _Found:
    """Suppression by each box's best score; every box kept then reports its best classes, side by side."""
    per, room = min(a["max_classes_per_detection"], a["num_classes"]), a["max_classes_per_detection"]
    order = np.argsort(-scores, 1, kind="stable")[:, :per]
    kept = _kept(boxes, scores.max(1), a["max_detections"], a)
    return [(k * room + j, i, int(c)) for k, i in enumerate(kept) for j, c in enumerate(order[i])], len(kept)


def _per_class(boxes: np.ndarray, scores: np.ndarray, a: dict[str, Any]) -> _Found:
    """Suppression within each class; the best of all classes remain, of equal ones those of earlier classes."""
    pairs: list[tuple[int, int]] = []
    for c in range(scores.shape[1]):
        pairs += [(i, c) for i in _kept(boxes, scores[:, c], a["detections_per_class"], a)]
        pairs = sorted(pairs, key=lambda entry: -scores[entry])[: a["max_detections"]]
    return [(k, i, c) for k, (i, c) in enumerate(pairs)], len(pairs)


class _Options:
    """A flexbuffer map, which is how custom options are stored; only the entries asked for are decoded."""

    def __init__(self, data: bytes) -> None:
        from flatbuffers import flexbuffers

        self.map = flexbuffers.GetRoot(data).AsMap

    def number(self, key: str, default: float | None = None) -> float:
        try:
            value = self.map[key]
        except KeyError:
            if default is None:
                raise
            return default
        return float(value.AsFloat) if value.IsFloat else float(value.AsBool) if value.IsBool else float(value.AsInt)


@reads("tflite", "TFLite_Detection_PostProcess")
def read_tflite_detection(r: Reading) -> list[Tensor]:
    try:
        options = _Options(bytes(r.attr("custom_options")))
        scale = [options.number(f"{k}_scale") for k in "yxhw"]
        attrs: dict[str, Any] = {
            k: int(options.number(k)) for k in ("max_detections", "max_classes_per_detection", "num_classes")
        }
        attrs |= {k: options.number(k) for k in ("nms_score_threshold", "nms_iou_threshold")}
        attrs["detections_per_class"] = int(options.number("detections_per_class", 100))
        attrs["use_regular_nms"] = bool(options.number("use_regular_nms", 0))
    except (KeyError, TypeError, ValueError, IndexError, struct.error, OverflowError) as error:
        r.refuse(f"its options cannot be read: {error}")
    ins = [r.input(i) for i in range(3)]
    real = [t if not is_quantized(t) or t.is_const else r.emit("Dequantize", t) for t in ins]
    return r.emit_many("DetectionPostProcess", real, **attrs, scale=scale)


@reads("ms", "DetectionPostProcess")
def read_ms_detection(r: Reading) -> list[Tensor]:
    attrs = {k: r.attr(k) for k in _DETECTION}
    high, wide, x, y = (float(s) for s in attrs["scale"])
    attrs["scale"] = [y, x, high, wide]
    attrs["use_regular_nms"] = bool(attrs["use_regular_nms"])
    return r.emit_many("DetectionPostProcess", [r.input(i) for i in range(3)], **attrs)


@writes("ms", "DetectionPostProcess")
def write_ms_detection(w: Writing, node: Node) -> None:
    fields = {k: node.attrs[k] for k in _DETECTION} | {"format": 1, "out_quantized": False}
    fields["input_size"] = 0
    y, x, high, wide = node.attrs["scale"]
    fields["scale"] = [high, wide, x, y]
    anchors = node.inputs[2]
    if anchors is None or anchors.data is None:
        w.refuse(node, "its anchors must be a constant")
    w.node("DetectionPostProcess", node, node.inputs, fields=fields)
