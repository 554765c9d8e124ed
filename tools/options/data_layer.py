"""What a Caffe network says of its data and of its layers' quantization, as the options of a conversion."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ...converter.errors import Setting, UnsupportedError, UsageError
from ...converter.ir import Graph
from ...quant.selectors import Selector
from .convert import ConvertOptions

_STEPS = (
    "image_to_format", "normalize_mean", "normalize_std", "resize_width", "resize_height", "resize_method",
    "resize_mode", "resize_pad", "center_crop_width", "center_crop_height",
)  # fmt: skip
"""Options that replace what the network says of its images."""


def with_data_layer(options: ConvertOptions, graph: Graph) -> ConvertOptions:
    """The options with what the network says, where the user says nothing: its database and the steps of its images,
    and the layers that stay in float.

    Raises:
        UnsupportedError: a step, or an order of steps, that calibration does not have; a database of another kind.
    """
    given: dict[str, Any] = {}
    floats = [s["name"] for s in graph.meta.get("layer_settings", ()) if s.get("forward_with_float")]
    if floats and options.quant_type:
        given["keep_float"] = (*options.keep_float, *(Selector("name", name) for name in floats))
    layer = graph.meta.get("data_layer")
    named = bool(options.calibrate_path) or options.calibration_data is not None or bool(options.load_dist)
    if options.quant_type == "PostTraining" and not named and not (layer and layer["source"]):
        kind = options.spell(Setting("quant_type", "PostTraining"))
        raise UsageError(
            f"{kind} needs calibration data, and no data layer names any",
            hint=Setting("calibrate_path", "DIR"),
        )
    if layer is None or (options.quant_type != "PostTraining" and not options.fuse_preprocess):
        return replace(options, **given)
    if options.quant_type == "PostTraining" and not named and layer["source"]:
        if layer["backend"] != "LMDB":
            raise UnsupportedError(
                f"its database is a {layer['backend']}",
                file=options.model_file,
                node=layer["name"],
                hint="backend: LMDB",
            )
        given["calibrate_path"] = {layer["input"]: beside(layer["source"], options.model_file)}
        given["sample_stage"] = options.sample_stage or ("raw" if layer["steps"] and options.fuse_preprocess else "")
    if not any(map(options.given, _STEPS)):
        given |= _image_options(layer, options.model_file)
    return replace(options, **given)


def beside(source: str, model: str) -> str:
    """A path as it stands, or from the folder of the network."""
    other = os.path.join(os.path.dirname(model), source)
    return other if not os.path.exists(source) and os.path.exists(other) else source


def _image_options(layer: dict[str, Any], model: str) -> dict[str, Any]:
    """The steps as options. Mean and scale may come before or after the others: resizing and cropping keep them."""
    given: dict[str, Any] = {}
    size: list[int] | None = None
    for step in layer["steps"]:
        kind = step["op"]
        if kind == "color":
            given["image_to_format"] = step["order"]
        elif kind == "stand":
            if step["scale"] <= 0 or "normalize_std" in given:
                _refuse(layer, model, f"a scale of {step['scale']:g}, or a second STAND")
            given["normalize_mean"] = tuple(step["mean"])
            given["normalize_std"] = (1 / step["scale"],)
        elif kind == "resize":
            if size is not None:
                _refuse(layer, model, "RESIZE behind another RESIZE or CROP")
            size = [step["height"], step["width"]]
            given |= {"resize_height": size[0], "resize_width": size[1], "resize_method": step["method"]}
            given |= {"resize_mode": step["mode"], "resize_pad": step["pad"]}
        elif kind == "crop":
            if "center_crop_height" in given or ("fraction" in step and size is None):
                _refuse(layer, model, "a second CROP, or a crop_fraction of an image of unknown size")
            size = [step["height"], step["width"]] if "height" in step else [
                round(n * step["fraction"]) for n in size or ()
            ]  # fmt: skip
            given |= {"center_crop_height": size[0], "center_crop_width": size[1]}
    return given


def _refuse(layer: dict[str, Any], model: str, reason: str) -> None:
    raise UnsupportedError(
        f"calibration does not have {reason}",
        file=model,
        node=layer["name"],
        hint=("samples that are preprocessed, and ", Setting("calibrate_path", "DIR")),
    )
