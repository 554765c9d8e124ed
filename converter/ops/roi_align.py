"""RoiAlign: regions of an image brought to one size."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from ..ir import Node, Tensor
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.layout import first_perm, last_perm, permuted_shape
from ._support.types import fail, need
from ._support.writers import need_opset, write_transposed

_MOST_SAMPLES = 1 << 24


def _infer_roi_align(node: Node) -> Inferred:
    x, rois, batch = node.operands(3)
    need(node, x, "f", "the input")
    need(node, batch, "iu", "the batch indices")
    a = node.attrs
    need(node, rois, "f", "the regions")
    if rois.shape is None or len(rois.shape) != 2 or rois.shape[1] != 4 or x.shape is None or len(x.shape) != 4:
        fail(node, f"inputs of shapes {x.shape} and {rois.shape}")
    if batch.shape is None or len(batch.shape) != 1 or len({batch.shape[0], rois.shape[0]} - {None}) > 1:
        fail(node, f"batch indices of shape {batch.shape} for regions of shape {rois.shape}")
    if 0 in x.shape[1:3]:
        fail(node, f"an input of shape {x.shape} has nothing to sample")
    if a["sampling"] ** 2 * a["size"][0] * a["size"][1] > _MOST_SAMPLES:
        fail(
            node, f"{a['sampling']} x {a['sampling']} samples in each of {a['size']} bins are more than {_MOST_SAMPLES}"
        )
    if min(a["size"]) < 1 or a["mode"] not in ("avg", "max") or a["sampling"] < 0:
        fail(node, f"size={a['size']}, mode={a['mode']!r}, sampling={a['sampling']}")
    count = None if rois.shape is None else rois.shape[0]
    return [(x.dtype, (count, *a["size"], x.shape[-1]))]


@op(
    "RoiAlign",
    attrs={"size": [1, 1], "mode": "avg", "sampling": 0, "scale": 1.0, "half_pixel": True},
    infer=_infer_roi_align,
    arity=3,
    quant=Quant(int8=False),
    foldable=False,
    cases=[
        Case(
            (
                (2, 9, 8, 3),
                np.array([[0, 0, 6, 5], [1.5, 2, 7, 8], [3, 3, 3.2, 3.1]], np.float32),
                np.array([0, 1, 1], np.int64),
            ),
            {"size": [2, 3], "scale": 0.9},
        ),
        Case(
            ((1, 9, 8, 3), np.array([[0, 0, 16, 15]], np.float32), np.array([0], np.int64)),
            {"size": [3, 3], "sampling": 2, "scale": 0.5, "half_pixel": False, "mode": "max"},
        ),
    ],
)
def roi_align(
    x: np.ndarray, rois: np.ndarray, batch: np.ndarray, *, size: list[int], mode: str, sampling: int, scale: float,
    half_pixel: bool,
) -> np.ndarray:  # fmt: skip
    """x [N,H,W,C], rois [R,4] (x1, y1, x2, y2), batch [R] → [R,*size,C]: mean or maximum of samples in each bin."""
    h, w, c = x.shape[1:]
    y = np.zeros((len(rois), *size, c), x.dtype)
    for k, (roi, image) in enumerate(zip(rois.astype(np.float32), batch)):
        if not 0 <= int(image) < len(x):
            raise DataError(f"batch index {int(image)} of {len(x)} images")
        x1, y1, x2, y2 = roi * np.float32(scale) - np.float32(0.5 if half_pixel else 0)
        span = [y2 - y1, x2 - x1]
        if not half_pixel:
            span = [max(v, np.float32(1)) for v in span]
        step = [np.float32(s / m) for s, m in zip(span, size)]
        if not np.isfinite(span).all():
            raise DataError(f"region {roi.tolist()} is not finite")
        many = [sampling if sampling > 0 else max(int(np.ceil(s / m)), 0) for s, m in zip(span, size)]
        if min(many) == 0:
            continue
        if many[0] * many[1] * size[0] * size[1] > _MOST_SAMPLES:
            raise DataError(f"region {roi.tolist()} needs more than {_MOST_SAMPLES} samples")
        lines = [
            (o + np.arange(m)[:, None] * s + (np.arange(q) + 0.5) * s / q).reshape(-1)
            for o, m, s, q in zip((y1, x1), size, step, many)
        ]
        rows, columns = (_line(line, n) for line, n in zip(lines, (h, w)))
        four = _products(x[int(image)], rows, columns, mode)
        bins = four.reshape(size[0], many[0], size[1], many[1], c)
        y[k] = bins.max((1, 3)) if mode == "max" else bins.mean((1, 3))
    return y


def _line(at: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(lower place, upper place, weight of the upper, whether inside) of positions on an axis of n elements."""
    inside = (at >= -1) & (at <= n)
    at = np.clip(np.nan_to_num(at), 0, n)
    low = np.minimum(at.astype(np.int64), n - 1)
    high = np.minimum(low + 1, n - 1)
    return low, high, np.where(low >= n - 1, 0.0, at - low), inside


def _products(image: np.ndarray, rows: Any, columns: Any, mode: str) -> np.ndarray:
    (r0, r1, rt, rin), (c0, c1, ct, cin) = rows, columns
    rt, ct = rt[:, None, None], ct[None, :, None]
    parts = [
        (1 - rt) * (1 - ct) * image[r0][:, c0],
        (1 - rt) * ct * image[r0][:, c1],
        rt * (1 - ct) * image[r1][:, c0],
        rt * ct * image[r1][:, c1],
    ]
    # The standard's "max" takes the largest of the four weighted corners, not their sum.
    value = np.max(parts, axis=0) if mode == "max" else np.sum(parts, axis=0)
    return np.where(rin[:, None, None] & cin[None, :, None], value, 0.0)


@reads("onnx", "RoiAlign")
def read_onnx_roi_align(r: Reading) -> Tensor:
    half = r.attr("coordinate_transformation_mode", "half_pixel" if r.version >= 16 else "output_half_pixel")
    if half not in ("half_pixel", "output_half_pixel"):
        r.refuse(f"coordinate_transformation_mode={half!r}")
    attrs = {
        "size": [int(r.attr("output_height", 1)), int(r.attr("output_width", 1))],
        "mode": r.attr("mode", "avg"),
        "sampling": int(r.attr("sampling_ratio", 0)),
        "scale": float(r.attr("spatial_scale", 1.0)),
        "half_pixel": half == "half_pixel",
    }
    return r.channels_first(r.emit("RoiAlign", r.channels_last(r.input(0)), r.input(1), r.input(2), **attrs))


@writes("onnx", "RoiAlign")
def write_onnx_roi_align(w: Writing, node: Node) -> None:
    a, x, y = node.attrs, node.required(0), node.outputs[0]
    fields = {"output_height": a["size"][0], "output_width": a["size"][1], "mode": a["mode"]}
    fields |= {"sampling_ratio": a["sampling"], "spatial_scale": a["scale"]}
    need_opset(w, node, 16 if a["half_pixel"] else 10, "RoiAlign with half pixels")
    if w.options.get("opset", 16) >= 16:
        fields["coordinate_transformation_mode"] = "half_pixel" if a["half_pixel"] else "output_half_pixel"
    first = write_transposed(w, node, x, first_perm(4))
    result = w.between(y, permuted_shape(y.shape, first_perm(4)), f"{y.name}/first")
    w.node("RoiAlign", node, [first, *node.inputs[1:]], [result], fields=fields)
    w.node("Transpose", node, [result], [y], fields={"perm": last_perm(4)})
