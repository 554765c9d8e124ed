"""Resize of the spatial axes, channels-last: every mode of ONNX, and TFLite's two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import Setting
from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.integer import per_tensor, same_codes
from ._support.params import write_ints
from ._support.resample import (
    check_modes,
    coordinates,
    gives_fractions,
    nearest_indices,
    resample,
    resample_codes,
    resize_scales,
    weights,
)
from ._support.spatial import check_pixels
from ._support.types import const_ints, fail, need, value_dtype
from ._support.writers import need_opset, write_onnx


def infer_resize(node: Node) -> Inferred:
    x, a = node.required(0), node.attrs
    need(node, x, "biuf" if a["method"] == "nearest" else "f", "the input")
    if x.shape is None or not 3 <= len(x.shape) <= 8:
        fail(node, f"the input's rank must be known, channels-last, it has shape {x.shape}")
    rank, size = len(x.shape) - 2, node.input(1)
    check_modes(node)
    if a["coordinate_mode"] == "tf_crop_and_resize" and (len(a["roi"]) != 2 * rank or not np.isfinite(a["roi"]).all()):
        fail(node, f"roi {a['roi']} does not hold begin and end of {rank} axes")
    if a["scales"] and (len(a["scales"]) != rank or not all(0 < v < 2**31 for v in a["scales"])):
        fail(node, f"scales {a['scales']} are not {rank} positive numbers")
    out: list[int | None]
    if size is None:
        if not a["scales"]:
            fail(node, "it has neither a size nor scales")
        out = [None if n is None else int(np.floor(np.float32(s) * n)) for n, s in zip(x.shape[1:-1], a["scales"])]
    elif size.data is None:
        out = [None] * rank
    else:
        asked = const_ints(size) or []
        out = list(asked)
        if len(asked) != rank or min(asked, default=0) < 1:
            fail(node, f"size {out} is not {rank} positive numbers")
    if a["method"] == "nearest" and a["coordinate_mode"] == "half_pixel_symmetric":
        _check_ties(node, x.shape[1:-1], out)
    if a["coordinate_mode"] == "align_corners" and a["scales"] and gives_fractions(x.shape[1:-1], a["scales"]):
        fail(node, f"align_corners with scales {a['scales']} that give no whole size of {x.shape[1:-1]}")
    if any(n == 0 and m for n, m in zip(x.shape[1:-1], out)):
        fail(node, f"an input of shape {x.shape} has nothing to resize")
    check_pixels(out, node.name)
    return [(value_dtype(x), (x.shape[0], *out, x.shape[-1]))]


def _check_ties(node: Node, before: Sequence[int | None], after: Sequence[int | None]) -> None:
    """Refuses positions that the last bit of float32 decides: runtimes differ there, so no answer is the right one."""
    a = node.attrs
    sizes, targets = ([n for n in axes if n is not None] for axes in (before, after))
    if len(sizes) < len(before) or len(targets) < len(after):
        return
    halves = a["nearest_mode"].startswith("round")
    for n, m, s in zip(sizes, targets, resize_scales(sizes, targets, a)):
        x = coordinates(n, m, s, a).astype(np.float64) + (0.5 if halves else 0.0)
        if n != m and (np.abs(x - np.rint(x)) < 1e-5 * max(n, 1)).any():
            fail(node, f"half_pixel_symmetric from {n} to {m} has positions between two elements")


def _integer(node: Node, arrays: Sequence[Any]) -> Any:
    if node.attrs["coordinate_mode"] == "tf_crop_and_resize":
        return None
    if node.attrs["method"] == "nearest":
        return same_codes(resample)(node, arrays)
    x, y = node.required(0), node.outputs[0]
    alike = per_tensor(x) and per_tensor(y) and x.quant == y.quant and x.dtype == y.dtype
    plain = node.attrs["method"] == "linear" and not node.attrs["antialias"]
    if not (alike and plain and x.known_rank <= 4):
        return None
    size = y.sizes(1, -1) if y.is_static or len(arrays) < 2 else [int(n) for n in arrays[1]]
    return resample_codes(arrays[0], size, node.attrs)


def _case(shape: tuple[int, ...], size: Sequence[int], **attrs: Any) -> Case:
    return Case((shape, np.array(size, np.int64)), attrs)


@op(
    "Resize",
    attrs={
        "method": REQUIRED,
        "coordinate_mode": "half_pixel",
        "nearest_mode": "round_prefer_floor",
        "scales": [],
        "cubic_coeff": -0.75,
        "exclude_outside": False,
        "antialias": False,
        "roi": [],
        "extrapolation": 0.0,
        "multiply": False,
    },
    infer=infer_resize,
    arity=(1, 2),
    kernel="resize",
    foldable=False,
    const_inputs={1: "size"},
    quant=Quant(output="same"),
    integer=_integer,
    cases=[
        _case((1, 4, 5, 3), [8, 9], method="linear"),
        _case((2, 6, 5, 3), [3, 4], method="linear", coordinate_mode="align_corners"),
        _case((1, 4, 5, 2), [7, 10], method="nearest", coordinate_mode="asymmetric", nearest_mode="floor"),
        _case((1, 4, 5, 2), [7, 3], method="linear", coordinate_mode="asymmetric", multiply=True),
        _case((1, 6, 5, 2), [4, 9], method="cubic"),
        _case((1, 6, 5, 2), [4, 2], method="cubic", exclude_outside=True, antialias=True),
        _case((1, 7, 2), [4], method="nearest", nearest_mode="round_prefer_ceil"),
        _case((1, 3, 4, 2, 2), [5, 3, 4], method="linear"),
        _case(
            (1, 4, 5, 2), [3, 3], method="linear", coordinate_mode="tf_crop_and_resize", roi=[0.2, 0.9, -0.1, 1.2],
            extrapolation=7.0,
        ),
        Case(((1, 4, 5, 2),), {"method": "nearest", "scales": [1.6, 0.7], "nearest_mode": "simple"}),
        Case(((1, 4, 5, 2),), {"method": "linear", "scales": [1.6, 0.7], "coordinate_mode": "half_pixel_symmetric"}),
        _case((1, 4, 5, 2), [9, 3], method="nearest", coordinate_mode="tf_half_pixel_for_nn", nearest_mode="floor"),
        _case((1, 4, 5, 2), [1, 1], method="linear", coordinate_mode="pytorch_half_pixel"),
    ],
)  # fmt: skip
def resize(x: np.ndarray, size: np.ndarray | None = None, **a: Any) -> np.ndarray:
    """x [N,*S,C] resampled to `size`, or to floor(S · scales); attributes as of ONNX Resize, per spatial axis.

    roi: begin and end of each axis, as parts of it. "simple" is the floor where an axis grows, the ceiling elsewhere.
    """
    return resample(x, size, **a)


@reads("tflite", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def read_tflite_resize(r: Reading) -> Tensor:
    align, half = bool(r.attr("align_corners", False)), bool(r.attr("half_pixel_centers", False))
    if align and half:
        r.refuse("align_corners together with half_pixel_centers")
    size = r.input(1)
    if size.data is not None:
        size = r.constant(size.data.astype(np.int64), name=size.name)
    if r.op == "RESIZE_BILINEAR":
        mode = "align_corners" if align else "half_pixel" if half else "asymmetric"
        return r.emit("Resize", r.input(0), size, method="linear", coordinate_mode=mode, multiply=True)
    mode = "align_corners" if align else "tf_half_pixel_for_nn" if half else "asymmetric"
    rounding = "round_prefer_ceil" if align else "floor"
    attrs = {"coordinate_mode": mode, "nearest_mode": rounding, "multiply": True}
    return r.emit("Resize", r.input(0), size, method="nearest", **attrs)


def _chosen_axes(r: Reading, rank: int) -> list[int]:
    axes = r.attr("axes", None)
    return list(range(rank)) if axes is None else [int(a) + (rank if a < 0 else 0) for a in axes]


def _spread(values: Sequence[Any], axes: list[int], neutral: list[Any]) -> list[Any]:
    full = list(neutral)
    for axis, v in zip(axes, values, strict=True):
        full[axis] = v
    return full


def _kept_aspect(r: Reading, sizes: list[int], shape: Sequence[int], axes: list[int]) -> tuple[list[int], list[float]]:
    """Sizes and scales under keep_aspect_ratio_policy: one scale for all axes, the smallest or the largest asked."""
    asked = [np.float32(m) / np.float32(shape[a]) for m, a in zip(sizes, axes)]
    policy = r.attr("keep_aspect_ratio_policy")
    if policy not in ("not_larger", "not_smaller"):
        r.refuse(f"keep_aspect_ratio_policy={policy!r}")
    scale = min(asked) if policy == "not_larger" else max(asked)
    return [int(np.floor(float(scale) * shape[a] + 0.5)) for a in axes], [float(scale)] * len(axes)


@reads("onnx", "Resize", "Upsample")
def read_onnx_resize(r: Reading) -> Tensor:
    x = r.input(0)
    rank = r.rank(x)
    old = r.op == "Upsample" or r.version < 11
    method = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}.get(
        r.attr("mode", "nearest")
    )
    if method is None:
        r.refuse(f"mode={r.attr('mode')!r}")
    attrs: dict[str, Any] = {
        "method": method,
        "coordinate_mode": "asymmetric" if old else r.attr("coordinate_transformation_mode", "half_pixel"),
        "nearest_mode": "simple" if old else r.attr("nearest_mode", "round_prefer_floor"),
        "cubic_coeff": float(r.attr("cubic_coeff_a", -0.75)),
        "exclude_outside": bool(r.attr("exclude_outside", 0)),
        "antialias": bool(r.attr("antialias", 0)) and method != "nearest",
        "extrapolation": float(r.attr("extrapolation_value", 0.0)),
    }
    axes = _chosen_axes(r, rank)
    sized = _at_run_time(r, old)
    if sized is not None:
        given, from_sizes = sized
        roi = r.optional(1) if attrs["coordinate_mode"] == "tf_crop_and_resize" else None
        attrs |= {"axes": r.attr("axes", None), "policy": r.attr("keep_aspect_ratio_policy", "stretch")}
        return r.emit("ResizeAtRunTime", x, given, roi, **attrs, from_sizes=from_sizes)
    scales, sizes, wanted = _onnx_target(r, old, axes, x)
    roi = [0.0, 1.0] * rank
    if attrs["coordinate_mode"] == "tf_crop_and_resize":
        given = r.const(1, "the roi").reshape(-1).astype(float).tolist()
        half = len(given) // 2
        roi = _spread([given[k : k + half + 1 : half] for k in range(half)], axes, [[0.0, 1.0]] * rank)
        roi = [v for pair in roi for v in pair]
    spatial = rank >= 3 and scales[0] == scales[1] == 1.0 and roi[:4] == [0.0, 1.0] * 2
    if spatial and (sizes is None or (sizes[:2] == list(x.shape or ())[:2])):
        parameters = {"scales": scales[2:] if wanted != "sizes" else [], "roi": roi[4:]}
        size = None if sizes is None else r.constant(sizes[2:], np.int64)
        return r.channels_first(r.emit("Resize", r.channels_last(x), size, **attrs, **parameters))
    # Other axes take part: all of them become spatial ones of a single channel.
    if rank > 6:
        r.refuse(f"a resize of {rank} axes")
    lifted = r.emit("ExpandDims", x, axes=[0, rank + 1])
    size = None if sizes is None else r.constant(sizes, np.int64)
    parameters = {"scales": scales if wanted != "sizes" else [], "roi": roi}
    y = r.emit("Resize", lifted, size, **attrs, **parameters)
    return r.emit("Squeeze", y, axes=[0, rank + 1])


def _at_run_time(r: Reading, old: bool) -> tuple[Tensor, bool] | None:
    """The scales or sizes input, and whether it is sizes, when something of the target is computed while running."""
    if r.op == "Upsample" and r.version < 9:
        return None
    scales, sizes = r.optional(1 if old else 2), None if old else r.optional(3)
    given = scales if scales is not None and scales.shape != (0,) else sizes
    roi = None if old or r.attr("coordinate_transformation_mode", "") != "tf_crop_and_resize" else r.optional(1)
    if given is None:
        return None
    # Sizes for axes whose own size is open: whether they change is known while running.
    open_axes = given is sizes and None in (r.input(0).shape or ())
    fixed = given.is_const and (roi is None or roi.is_const)
    return None if fixed and not open_axes else (given, given is sizes)


def _onnx_target(r: Reading, old: bool, axes: list[int], x: Tensor) -> tuple[list[float], list[int] | None, str]:
    """(scales, sizes or None, which of them the file gives) for all axes of x."""
    rank = len(x.shape or ())
    if r.op == "Upsample" and r.version < 9:
        return [float(v) for v in r.attr("scales")], None, "scales"
    at = 1 if old else 2
    target = r.optional(at)
    if target is not None and target.shape != (0,):
        given = r.const(at, "the scales").reshape(-1).astype(float).tolist()
        return _spread(given, axes, [1.0] * rank), None, "scales"
    if old or r.optional(3) is None:
        r.refuse("it has neither scales nor sizes")
    asked = r.ints(3, "the sizes")
    shape = list(x.static_shape)
    policy = r.attr("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        sizes = _spread(asked, axes, shape)
        return [float(np.float32(m) / np.float32(n)) if m != n else 1.0 for n, m in zip(shape, sizes)], sizes, "sizes"
    kept, scales = _kept_aspect(r, asked, shape, axes)
    return _spread(scales, axes, [1.0] * rank), _spread(kept, axes, shape), "policy"


_MS_METHOD = {0: "linear", 1: "nearest", 2: "cubic"}
_MS_COORDINATES = {0: "asymmetric", 1: "align_corners", 2: "half_pixel"}


@reads("ms", "Resize")
def read_ms_resize(r: Reading) -> Tensor:
    """Sizes are input 1 (int32), scales when that is float, or new_height and new_width."""
    x = r.input(0)
    method, mode = _MS_METHOD.get(int(r.attr("method", 0))), int(r.attr("coordinate_transform_mode", 0))
    if method is None or mode not in _MS_COORDINATES or r.rank(x) != 4:
        r.refuse(f"method {r.attr('method', 0)}, coordinate_transform_mode {mode}, rank {x.rank}")
    attrs: dict[str, Any] = {"method": method, "coordinate_mode": _MS_COORDINATES[mode], "multiply": True}
    attrs["cubic_coeff"] = float(r.attr("cubic_coeff", 0.0)) or -0.75
    if method == "nearest":
        attrs["nearest_mode"] = "round_prefer_ceil" if mode == 1 else "floor"
        if mode == 2:
            attrs["coordinate_mode"] = "tf_half_pixel_for_nn"
    if r.optional(1) is None:
        size = r.constant([int(r.attr("new_height")), int(r.attr("new_width"))], np.int64)
        return r.emit("Resize", x, size, **attrs)
    given = r.const(1, "the size").reshape(-1)
    if len(given) == 4:
        given = given[1:3] if r.input(1).dtype.kind != "f" or given[1] != 1 else given[2:]
    if given.dtype.kind == "f":
        return r.emit("Resize", x, scales=[float(v) for v in given], **(attrs | {"multiply": False}))
    return r.emit("Resize", x, r.constant(given.astype(np.int64)), **attrs)


def _static(w: Writing, node: Node) -> tuple[list[int], list[int]]:
    """Input and output sizes of the spatial axes."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or y.shape is None or None in x.shape[1:-1] or None in y.shape[1:-1]:
        w.refuse(node, "its sizes are not known", hint=Setting("input_shape"))
    return x.sizes(1, -1), y.sizes(1, -1)


def _as_multiplied(w: Writing, node: Node, modes: dict[tuple[str, str], Any]) -> Any:
    """The container's words for a resize that it computes as TFLite does; refused where that is another function."""
    a = node.attrs
    before, after = _static(w, node)
    if len(before) != 2:
        w.refuse(node, f"only two spatial axes are resized there, not {len(before)}")
    make = nearest_indices if a["method"] == "nearest" else weights
    if a["coordinate_mode"] != "tf_crop_and_resize":
        want = [make(n, m, s, a) for n, m, s in zip(before, after, resize_scales(before, after, a))]
        for (mode, rounding), words in modes.items():
            other = a | {"coordinate_mode": mode, "nearest_mode": rounding, "multiply": True, "antialias": False}
            got = [make(n, m, m / n, other | {"exclude_outside": False}) for n, m in zip(before, after)]
            if all(np.allclose(g, t, atol=1e-6) for g, t in zip(got, want)):
                return words
    w.refuse(node, f"a {a['method']} resize with {a['coordinate_mode']}, {a['nearest_mode']} is another function there")


_LINEAR = {("half_pixel", "floor"): 2, ("asymmetric", "floor"): 0, ("align_corners", "floor"): 1}
_NEAREST = {
    ("asymmetric", "floor"): 0,
    ("align_corners", "round_prefer_ceil"): 1,
    ("tf_half_pixel_for_nn", "floor"): 2,
}


@writes("ms", "Resize")
def write_ms_resize(w: Writing, node: Node) -> None:
    if node.attrs["method"] == "cubic":
        w.refuse(node, "a cubic resize has no kernel there")
    nearest = node.attrs["method"] == "nearest"
    modes = {k: v for k, v in _NEAREST.items() if v < 2} if nearest else _LINEAR
    if 1 in _static(w, node)[1]:  # its align_corners divides by size - 1
        modes = {k: v for k, v in modes.items() if v != 1}
    mode = _as_multiplied(w, node, modes)
    fields = {
        "format": 1,
        "method": 1 if nearest else 0,
        "coordinate_transform_mode": mode,
        "nearest_mode": 2 if nearest and mode == 1 else 3 if nearest else 0,
    }
    size = write_ints(w, node, _static(w, node)[1], "size")
    w.node("Resize", node, [node.inputs[0], size], fields=fields)


@writes("tflite", "Resize")
def write_tflite_resize(w: Writing, node: Node) -> None:
    if node.attrs["method"] == "cubic":
        w.refuse(node, "a cubic resize is not there")
    nearest = node.attrs["method"] == "nearest"
    mode = _as_multiplied(w, node, _NEAREST if nearest else _LINEAR)
    fields = {"align_corners": mode == 1, "half_pixel_centers": mode == 2}
    size = write_ints(w, node, _static(w, node)[1], "size")
    w.node("RESIZE_NEAREST_NEIGHBOR" if nearest else "RESIZE_BILINEAR", node, [node.inputs[0], size], fields=fields)


def resize_opset(a: dict[str, Any]) -> int:
    """The first opset whose Resize has what the attributes ask."""
    if a["coordinate_mode"] == "half_pixel_symmetric":
        return 19
    newer = a["antialias"] or a.get("axes") is not None or a.get("policy", "stretch") != "stretch"
    return 18 if newer else 11


@writes("onnx", "Resize")
def write_onnx_resize(w: Writing, node: Node) -> None:
    a, x = node.attrs, node.required(0)
    rank = x.known_rank
    before, after = _static(w, node)
    scales, rounding, mode = resize_scales(before, after, a), a["nearest_mode"], a["coordinate_mode"]
    if rounding == "simple":
        if len({s < 1 for s in scales if s != 1}) > 1:
            w.refuse(node, "some axes grow and others shrink, with another rounding each")
        rounding = "ceil" if min(scales) < 1 else "floor"
    if mode == "tf_half_pixel_for_nn":
        if rounding != "floor":
            w.refuse(node, f"tf_half_pixel_for_nn with {rounding}")
        # floor(v) and floor(v - 0.5 + 0.5): rounding the half pixel, halves up.
        mode, rounding = "half_pixel", "round_prefer_ceil"
    if a["method"] == "nearest" and mode != "tf_crop_and_resize":
        written = a | {"coordinate_mode": mode, "nearest_mode": rounding, "multiply": False}
        for n, m, s in zip(before, after, scales):
            if not np.array_equal(nearest_indices(n, m, s, a), nearest_indices(n, m, s, written)):
                w.refuse(node, f"ONNX rounds some of {m} positions over {n} elements elsewhere")
    fields: dict[str, Any] = {"mode": a["method"], "coordinate_transformation_mode": mode}
    need_opset(w, node, resize_opset(a), "this resize")
    if a["method"] == "nearest":
        fields["nearest_mode"] = rounding
    if a["method"] == "cubic":
        fields["cubic_coeff_a"] = a["cubic_coeff"]
    for key, field in (("exclude_outside", "exclude_outside"), ("antialias", "antialias")):
        if a[key]:
            fields[field] = 1
    roi = None
    if mode == "tf_crop_and_resize":
        fields["extrapolation_value"] = a["extrapolation"]
        begin, end = a["roi"][0::2], a["roi"][1::2]
        roi = w.constant([0, 0, *begin, 1, 1, *end], np.float32, "roi")
    if a["scales"]:
        inputs = [x, roi, w.constant([1, 1, *a["scales"]], np.float32, "scales")]
    elif x.known_shape[0] is None or x.known_shape[-1] is None:
        inputs = [x, roi, w.constant([1, 1, *scales], np.float32, "scales")]
        if [int(np.floor(np.float32(s) * n)) for n, s in zip(before, scales)] != after:
            w.refuse(node, "its scales do not give its size", hint=Setting("input_shape"))
    else:
        inputs = [x, roi, None, w.constant([x.known_shape[0], x.known_shape[-1], *after], np.int64, "sizes")]
    write_onnx(w, node, "Resize", inputs, fields, spatial=rank > 2)
