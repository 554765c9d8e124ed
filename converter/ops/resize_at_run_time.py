"""ResizeAtRunTime: ONNX Resize of any axes by scales, sizes and a roi that are computed while running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError, UnsupportedError
from ..ir import Node
from ..schema.op import OPS, Case, Inferred, Quant, op, writes
from ..schema.writing import Writing
from ._support.resample import check_modes, gives_fractions, resample
from ._support.spatial import check_pixels
from ._support.types import fail, need, normal_axes, value_dtype
from ._support.writers import need_opset
from .resize import resize_opset

_RUNTIME = {"axes": None, "policy": "stretch", "from_sizes": False}


def _runtime_target(shape: Sequence[int], given: Sequence[float], a: dict[str, Any]) -> tuple[list[float], list[int]]:
    """(scales, sizes) of all axes from the scales or sizes that the run brings."""
    axes = list(range(len(shape))) if a["axes"] is None else [v % len(shape) for v in a["axes"]]
    if 0 in shape:
        raise DataError(f"a resize of an empty input {list(shape)}")
    if len(given) != len(axes) or not all(0 < v < 2**31 for v in given):
        raise DataError(f"scales or sizes {list(given)} for {len(axes)} axes")
    scales, sizes = [1.0] * len(shape), list(shape)
    asked = [np.float32(v) / np.float32(shape[i]) for v, i in zip(given, axes)] if a["from_sizes"] else given
    if a["from_sizes"] and a["policy"] != "stretch":
        one = min(asked) if a["policy"] == "not_larger" else max(asked)
        asked = [one] * len(axes)
        given = [np.floor(float(one) * shape[i] + 0.5) for i in axes]
    for i, value, s in zip(axes, given, asked):
        scales[i] = float(np.float32(s))
        sizes[i] = int(value) if a["from_sizes"] else int(np.floor(np.float32(value) * shape[i]))
    check_pixels(sizes, "Resize")
    return scales, sizes


def _infer_runtime(node: Node) -> Inferred:
    x, _ = node.operands(2)
    need(node, x, "biuf" if node.attrs["method"] == "nearest" else "f", "the input")
    if x.shape is None or not 1 <= len(x.shape) <= 6:
        fail(node, f"the input's rank must be known and 1 to 6, it has shape {x.shape}")
    check_modes(node)
    if node.attrs["policy"] not in ("stretch", "not_larger", "not_smaller"):
        fail(node, f"keep_aspect_ratio_policy={node.attrs['policy']!r}")
    axes = node.attrs["axes"]
    if axes is not None:
        normal_axes(node, axes, len(x.shape))
    if node.attrs["coordinate_mode"] == "tf_crop_and_resize" and node.input(2) is None:
        fail(node, "tf_crop_and_resize without a roi")
    return [(value_dtype(x), (None,) * len(x.shape))]


@op(
    "ResizeAtRunTime",
    attrs={k: v for k, v in OPS["Resize"].attrs.items() if k not in ("scales", "roi", "multiply")} | _RUNTIME,
    infer=_infer_runtime,
    arity=(2, 3),
    quant=Quant(int8=False),
    foldable=False,
    cases=[
        Case(((1, 2, 4, 5), np.array([1, 1, 1.5, 0.7], np.float32)), {"method": "linear"}),
        Case(((2, 4, 5), np.array([7, 4], np.int64)), {"method": "nearest", "from_sizes": True, "axes": [1, 2]}),
        Case(
            ((1, 4, 5), np.array([3, 3], np.int64), np.array([0.2, -0.1, 0.9, 1.2], np.float32)),
            {"method": "linear", "from_sizes": True, "axes": [1, 2], "coordinate_mode": "tf_crop_and_resize"},
        ),
    ],
)
def resize_at_run_time(x: np.ndarray, given: np.ndarray, roi: np.ndarray | None = None, **a: Any) -> np.ndarray:
    """ONNX Resize of x, any axes in source order, by scales, sizes and a roi that are computed while running."""
    rank = x.ndim
    scales, sizes = _runtime_target(x.shape, [float(v) for v in given.reshape(-1)], a)
    bounds = [0.0, 1.0] * rank
    if a["coordinate_mode"] == "tf_crop_and_resize" and roi is not None:
        axes = list(range(rank)) if a["axes"] is None else [v % rank for v in a["axes"]]
        if roi.size != 2 * len(axes) or not np.isfinite(roi).all():
            raise DataError(f"a roi {roi.reshape(-1)} for {len(axes)} axes")
        for k, axis in enumerate(axes):
            bounds[2 * axis : 2 * axis + 2] = [float(roi.reshape(-1)[k]), float(roi.reshape(-1)[len(axes) + k])]
    if a["coordinate_mode"] == "align_corners" and not a["from_sizes"] and gives_fractions(x.shape, scales):
        raise UnsupportedError(f"Resize: align_corners with scales {scales} that give no whole size of {x.shape}")
    attrs = {k: v for k, v in a.items() if k not in _RUNTIME} | {"scales": scales, "roi": bounds, "multiply": False}
    return resample(x[None, ..., None], np.array(sizes, np.int64), **attrs)[0, ..., 0]


@writes("onnx", "ResizeAtRunTime")
def write_onnx_runtime_resize(w: Writing, node: Node) -> None:
    a = node.attrs
    fields: dict[str, Any] = {"mode": a["method"], "coordinate_transformation_mode": a["coordinate_mode"]}
    if a["nearest_mode"] == "simple":
        w.refuse(node, "the rounding of the first Resize depends on scales that are computed while running")
    fields |= {"nearest_mode": a["nearest_mode"], "cubic_coeff_a": a["cubic_coeff"], "antialias": int(a["antialias"])}
    fields |= {"exclude_outside": int(a["exclude_outside"]), "extrapolation_value": a["extrapolation"]}
    need_opset(w, node, resize_opset(a), "this resize")
    if a["axes"] is not None:
        fields["axes"] = a["axes"]
    if a["policy"] != "stretch":
        fields["keep_aspect_ratio_policy"] = a["policy"]
    given = [None, node.inputs[1]] if a["from_sizes"] else [node.inputs[1]]
    w.node("Resize", node, [node.inputs[0], node.input(2), *given], fields=fields)
