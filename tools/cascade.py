"""Several networks one after the other: what one gives is what the next is calibrated on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..converter.errors import DataError, UsageError, bugs_named
from ..converter.ir import Graph
from ..converter.text import nearest
from ..native.load import load
from ..native.session import Port
from ..quant.calibrate.data import Dataset
from ..quant.calibrate.first_layer import input_specs
from ..quant.calibrate.images import resize
from .bench_inputs import Feed, feed_for, outputs_like
from .convert import run
from .convert_report import Report
from .models import read
from .options.config_key import config_bytes
from .options.convert import ConvertOptions
from .options.data_layer import with_data_layer
from .options.read import options_of_tool, shapes_of
from .options.samples import data_spec

_OWN = ("model_file", "output_file", "weight_file", "cascade", "check")
_KEYS = ("name", "model", "weights", "output", "after", "inputs", "crop", "boxes", "options")


class Stage(NamedTuple):
    """A network that is done: its source, the file that was written first, and what it is calibrated on."""

    graph: Graph
    path: str
    samples: list[Feed]


def cascade(path: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> list[Report]:
    """Converts the networks of a cascade, in order.

    Args:
        path: a yaml file; see docs/from_sophgo.md. options: keywords of `convert` for every network that says nothing
            else.
    Returns:
        A report per network.
    Raises:
        bitlite.Error: one line that names the file, the network and what is wrong.
    """
    shown = os.fspath(path)
    with bugs_named(shown):
        stages: dict[str, Stage] = {}
        reports = []
        for number, entry in enumerate(_entries(shown)):
            name = str(entry.get("name") or f"network {number + 1}")
            if name in stages:
                raise UsageError(f"{shown}: two networks are named {name}")
            report, stages[name] = _converted(f"{shown}: {name}", entry, stages, options or {})
            reports.append(report)
        return reports


def _entries(shown: str) -> list[dict[str, Any]]:
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{shown}: reading yaml needs PyYAML", hint="pip install 'bitlite[yaml]'") from None
    try:
        root = yaml.safe_load(config_bytes(shown, "cascade"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{shown}: is not yaml: {str(error).splitlines()[0]}") from None
    entries = root.get("networks") if isinstance(root, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise UsageError(f"{shown}: networks is missing: a list of networks, each with model and output")
    for entry in entries:
        if unknown := next((key for key in entry if key not in _KEYS), None):
            near = nearest(str(unknown), _KEYS) or ", ".join(_KEYS)
            raise UsageError(f"{shown}: {unknown} is not a known key", hint=near)
        for key in ("model", "output"):
            if not isinstance(entry.get(key), str):
                raise UsageError(f"{shown}: a network has no {key}")
        for key in ("inputs", "crop", "options"):
            held = entry.get(key, {})
            if not isinstance(held, dict) or not all(isinstance(k, str) for k in held):
                raise UsageError(f"{shown}: {key} holds no keys")
            if key != "options" and not all(isinstance(source, str) for source in held.values()):
                raise UsageError(f"{shown}: {key}: each names an output of the network before")
        for key in _OWN:
            if key in entry.get("options", {}):
                raise UsageError(f"{shown}: options: {key} is not one of a network's options", hint=", ".join(_KEYS))
    return entries


def _converted(
    here: str, entry: Mapping[str, Any], stages: Mapping[str, Stage], shared: Mapping[str, Any]
) -> tuple[Report, Stage]:
    asked = {**shared, **entry.get("options", {})}
    if entry.get("weights"):
        asked["weight_file"] = entry["weights"]
    flags = {name: f"{here}: {name}" for name in entry.get("options", {})}
    try:
        sizes = shapes_of(asked.get("input_shape"))
    except UsageError as error:
        raise error.reworded(f"{here}: {error.message}") from None
    graph = read(entry["model"], sizes, asked.get("weight_file"))
    samples: list[Feed] = []
    if "after" in entry:
        before = stages.get(str(entry["after"]))
        if before is None:
            names = ", ".join(stages) or "it is the first"
            raise UsageError(f"{here}: after={entry['after']} is no network before it", hint=names)
        samples = _made(here, graph, before, entry)
        asked |= {"calibration_data": samples, "calibrate_size": len(samples)}
    options = options_of_tool(entry["model"], entry["output"], asked, flags)
    report = run(options)
    return report, Stage(graph, options.output_path(options.output_format[0]), samples or _samples(options, graph))


def _samples(options: ConvertOptions, graph: Graph) -> list[Feed]:
    """What a network with data of its own is calibrated on, as it takes them."""
    told = with_data_layer(options, graph)
    if not told.calibrate_path and told.calibration_data is None:
        return []
    return list(Dataset(data_spec(told), input_specs(graph, told.input_data_format or "NHWC")))


def _made(here: str, graph: Graph, before: Stage, entry: Mapping[str, Any]) -> list[Feed]:
    """The samples that the network before makes of its own."""
    if not before.samples:
        raise DataError(f"{here}: the network before it has no calibration data to run on")
    crops, taken = entry.get("crop", {}), entry.get("inputs", {})
    ends = {t.name: Port.of(t) for t in before.graph.outputs}
    for source in (*crops.values(), *taken.values()):
        if source not in ends:
            raise UsageError(f"{here}: {source!r} is no output of the network before it", hint=", ".join(ends))
    for target in (*crops, *taken):
        if target not in (names := [t.name for t in graph.inputs]):
            raise UsageError(f"{here}: {target!r} is no input of the network", hint=", ".join(names))
    given, outputs = list(map(Port.of, before.graph.inputs)), list(ends.values())
    session, made = load(before.path), []
    for sample in before.samples:
        results = outputs_like(session.run(feed_for(sample, given, session.inputs)), session.outputs, outputs)
        whole = {t: _fitted(here, results[s], ends[s].layout, _port(graph, t)) for t, s in taken.items()}
        boxes = {t: _regions(here, sample, given[0], results[s], _port(graph, t), entry) for t, s in crops.items()}
        if not boxes:
            made.append(whole)
            continue
        made += [whole | dict(zip(boxes, row)) for row in zip(*boxes.values())]
    if not made:
        raise DataError(f"{here}: the network before it found no region in any sample")
    return made


def _port(graph: Graph, name: str) -> Port:
    return next(Port.of(t) for t in graph.inputs if t.name == name)


def _last(x: np.ndarray, layout: str) -> np.ndarray:
    """One image [H, W, C] of a batch of one."""
    return (x.transpose(0, 2, 3, 1) if layout == "NCHW" else x)[0]


def _fitted(here: str, x: np.ndarray, layout: str, port: Port) -> np.ndarray:
    """An output as an input: resized where it is an image of another size, in the input's layout."""
    shape = tuple(1 if n is None else n for n in port.shape or x.shape)
    if x.ndim == 4 and len(shape) == 4:
        planar = port.layout == "NCHW"
        image = _last(x, layout)
        image = resize(image, *(shape[2:] if planar else shape[1:3]))
        x = (image.transpose(2, 0, 1) if planar else image)[None]
    if x.size != np.prod(shape):
        raise DataError(f"{here}: {list(x.shape)} of the network before it does not fit {port.name!r} {list(shape)}")
    return np.ascontiguousarray(x.reshape(shape), port.dtype)


def _regions(
    here: str, sample: Feed, source: Port, boxes: np.ndarray, port: Port, entry: Mapping[str, Any]
) -> list[np.ndarray]:
    """What boxes (left, top, right, bottom) enclose of the sample, as the input takes it; empty ones are left out."""
    unit = entry.get("boxes", "pixels")
    if boxes.size % 4 or unit not in ("pixels", "normalized"):
        raise UsageError(
            f"{here}: boxes are four numbers each, in pixels or normalized, not {list(boxes.shape)} {unit}"
        )
    if sample[source.name].ndim != 4:
        raise UsageError(f"{here}: {source.name!r}, which boxes are cut from, is no image")
    image = _last(sample[source.name], source.layout)
    high, wide = image.shape[:2]
    scale = np.array([wide, high, wide, high] if unit == "normalized" else [1, 1, 1, 1], np.float64)
    regions = []
    for box in boxes.reshape(-1, 4) * scale:
        left, top, right, bottom = np.rint(box).clip(0, [wide, high, wide, high]).astype(int)
        if right > left and bottom > top:
            regions.append(_fitted(here, image[None, top:bottom, left:right], "NHWC", port))
    return regions
