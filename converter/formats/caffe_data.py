"""What a Caffe data layer says of its data: where they are, and in order what is done to an image.

`Graph.meta["data_layer"]` holds it as plain values; calibration reads it, and whoever puts these steps into a network.
"""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedError

_KINDS = ("RESIZE", "CROP", "STAND", "NONE")
_MODES = {1: "WARP", 2: "FIT_SMALL_SIZE", 3: "FIT_LARGE_SIZE_AND_PAD"}
_METHODS = {1: "LINEAR", 3: "NEAREST", 4: "CUBIC"}


def data_layer(layer: Any, kind: str, path: str) -> dict[str, Any]:
    """The record of a data layer.

    Returns:
        name and input; source (of a database, "" without); backend, "LMDB" or "LEVELDB"; batch; annotated: whether
        the records are AnnotatedDatum; steps: a list of {"op": "color" | "resize" | "crop" | "stand", …} in order:
        color: "RGB", "BGR" or "GRAY"; resize: height, width, method, mode and pad, as calibration's options have them;
        crop (of the centre): height and width, or fraction; stand: (x - mean) · scale, a mean per channel or one.
    Raises:
        UnsupportedError: both kinds of transformation, or a step that is not read.
    """
    p = layer.data_param
    old, new = _transform_param(layer, path), _transform_ops(layer, path)
    if new and _uses_caffe(layer.transform_param):
        raise UnsupportedError(
            "its transform_param has transform_op and Caffe's own fields; one of the two kinds is allowed",
            file=path,
            node=layer.name,
        )
    return {
        "name": layer.name,
        "input": layer.top[0] if layer.top else "",
        "source": p.source,
        "backend": ("LEVELDB", "LMDB")[p.backend],
        "batch": int(p.batch_size),
        "annotated": kind == "AnnotatedData",
        "steps": new or old,
    }


def size_of(layer: Any) -> list[int]:
    """Height and width of what a data layer gives; 0 where its steps do not say."""
    t, size = layer.transform_param, [0, 0]
    if t.resize_param.height and t.resize_param.width and t.resize_param.resize_mode != 2:
        size = [int(t.resize_param.height), int(t.resize_param.width)]
    if t.crop_size or (t.crop_h and t.crop_w):
        size = [int(t.crop_size or t.crop_h), int(t.crop_size or t.crop_w)]
    for step in t.transform_op:
        if _KINDS[step.op] == "RESIZE":
            size = [int(step.resize_h), int(step.resize_w)]
        elif _KINDS[step.op] == "CROP" and step.crop_h:
            size = [int(step.crop_h), int(step.crop_w)]
        elif _KINDS[step.op] == "CROP":
            size = [round(n * step.crop_fraction) for n in size]
    return size


def _uses_caffe(t: Any) -> bool:
    return any(f.name != "transform_op" for f, _ in t.ListFields())


def _transform_param(layer: Any, path: str) -> list[dict[str, Any]]:
    """Caffe's own fields: resize, then the centre's crop, then mean and scale, whatever their order."""
    t, p = layer.transform_param, layer.data_param
    mean_file = t.mean_file or p.mean_file
    if mean_file:
        _refuse(layer, path, f"mean_file {mean_file!r} is not read", "mean_value, one per channel")
    if t.force_gray and t.force_color:
        _refuse(layer, path, "force_gray and force_color exclude one another")
    steps: list[dict[str, Any]] = [{"op": "color", "order": "GRAY" if t.force_gray else "BGR"}]
    resize = t.resize_param
    if t.HasField("resize_param") and resize.height and resize.width:
        mode, pads = _MODES[resize.resize_mode], resize.resize_mode == 3
        if pads and (resize.pad_mode != 1 or len(set(resize.pad_value)) > 1):
            _refuse(layer, path, "resize_param pads by another mode than CONSTANT, or with several values")
        method = _METHODS.get(resize.interp_mode[0] if resize.interp_mode else 1)
        if method is None:
            _refuse(layer, path, "interp_mode is not LINEAR, NEAREST or CUBIC")
        size = {"height": int(resize.height), "width": int(resize.width)}
        pad = float(resize.pad_value[0]) if resize.pad_value else 0.0
        steps.append({"op": "resize", **size, "method": method, "mode": mode, "pad": pad})
    crop = [int(t.crop_size or t.crop_h or p.crop_size), int(t.crop_size or t.crop_w or p.crop_size)]
    if all(crop):
        steps.append({"op": "crop", "height": crop[0], "width": crop[1]})
    scale = t.scale if t.HasField("scale") else p.scale
    if t.mean_value or scale != 1:
        steps.append({"op": "stand", "mean": [float(v) for v in t.mean_value], "scale": float(scale)})
    return steps


def _transform_ops(layer: Any, path: str) -> list[dict[str, Any]]:
    """The steps of transform_op in their order; [] where there are none."""
    order, steps = "BGR", []
    for t in layer.transform_param.transform_op:
        kind = _KINDS[t.op]
        if t.mean_file:
            _refuse(layer, path, f"mean_file {t.mean_file!r} is not read", "mean_value, one per channel")
        order = "RGB" if t.bgr2rgb else order
        if t.padding:
            _refuse(layer, path, f"padding {t.padding:g} of a {kind} is not read")
        if kind == "RESIZE":
            high, wide = (t.resize_side, t.resize_side) if t.resize_side else (t.resize_h, t.resize_w)
            if not (high and wide):
                _refuse(layer, path, "a RESIZE has no size", "resize_h and resize_w, or resize_side")
            mode = "FIT_SMALL_SIZE" if t.resize_side else "WARP"
            steps.append({"op": "resize", "height": int(high), "width": int(wide), "method": "LINEAR", "mode": mode,
                          "pad": 0.0})  # fmt: skip
        elif kind == "CROP" and t.crop_h and t.crop_w:
            steps.append({"op": "crop", "height": int(t.crop_h), "width": int(t.crop_w)})
        elif kind == "CROP":
            if not 0 < t.crop_fraction <= 1:
                _refuse(layer, path, f"crop_fraction {t.crop_fraction:g}, allowed is more than 0 to 1")
            steps.append({"op": "crop", "fraction": float(t.crop_fraction)})
        elif kind == "STAND":
            if t.div == 0:
                _refuse(layer, path, "div is 0")
            steps.append({"op": "stand", "mean": [float(v) for v in t.mean_value], "scale": t.scale / t.div})
    return [{"op": "color", "order": order}, *steps] if layer.transform_param.transform_op else []


def _refuse(layer: Any, path: str, reason: str, hint: str = "") -> None:
    raise UnsupportedError(reason, file=path, node=layer.name, hint=hint)
