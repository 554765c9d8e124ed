"""The command `calibration_use_pb`, with the flags of Sophgo's: `quantize` and `graph_transform`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .command import run_command
from .options.flags import Given
from .options.sophgo import FLAGS, SophgoOptions, help_text, keywords, notes, read, stem, transform_keywords

if TYPE_CHECKING:
    from ..converter.ir import Graph
    from .convert_report import Report

_AS_STORED = {"op": "color", "order": "BGR"}
_RANDOM = 4
"""Random inputs that the optimized network is compared on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status, as `converter_lite` does."""
    return run_command(_work, argv)


def _work(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "-help"):
        print(help_text())
        return 0
    command, options, given = read(argv)
    for line in notes(given):
        print(line)
    (_quantize if command == "quantize" else _transform)(options, given)
    return 0


def _quantize(options: SophgoOptions, given: Given) -> None:
    from .tables import print_report

    asked, floats = keywords(options, given), transform_keywords(options)
    print_report(_converted(options, "deploy_int8_unique_top", asked))
    _converted(options, "deploy_fp32_unique_top", floats)
    if options.save_test_proto:
        inside = _steps_inside(options)
        _converted(options, "test_int8_unique_top", asked | inside)
        _converted(options, "test_fp32_unique_top", floats | inside)


def _steps_inside(options: SophgoOptions) -> dict[str, Any]:
    """What puts the data layer's steps into the network, which takes pixels then of the size that the layer first gives
    its images: they pass its RESIZE or CROP as they are. Nothing where the layer's samples are ready."""
    from .sized_networks import read_sized

    layer = read_sized(options.model, weights=options.weights or None).meta.get("data_layer")
    if layer is None or all(step == _AS_STORED for step in layer["steps"]):
        return {}
    sizes = [(step["height"], step["width"]) for step in layer["steps"] if "height" in step]
    return {"fuse_preprocess": True} | ({"image_size": sizes[0]} if sizes else {})


def _converted(options: SophgoOptions, name: str, asked: Mapping[str, Any]) -> Report:
    """Writes the network beside its description, under a name of Sophgo's."""
    from .convert import run
    from .options.read import options_of_tool

    return run(options_of_tool(options.model, f"{stem(options.model)}_{name}", asked, FLAGS))


def _transform(options: SophgoOptions, _: Given) -> None:
    report = _converted(options, "optimized", transform_keywords(options))
    print(report)
    for path in report.files:
        if not path.endswith((".ms", ".tflite", ".onnx")):
            continue
        kind = "samples of the data layer" if options.random_input_compare else "random input"
        print(f"{path}: outputs within {_difference(options, path):.2g} of their range on {kind}")


def _difference(options: SophgoOptions, path: str) -> float:
    """How far the optimized network is from the one that was read, as a part of each output's range."""
    from ..native.load import load
    from ..native.session import Port, Session
    from .bench_inputs import feed_for, outputs_like, random_feed
    from .sized_networks import read_sized

    graph = read_sized(options.model, weights=options.weights or None)
    first, second = Session(graph.copy()), load(path)
    given = list(map(Port.of, graph.inputs))
    if options.random_input_compare:
        feeds = _samples(options, graph)
    else:
        feeds = [random_feed(given, seed) for seed in range(_RANDOM)]
    worst = 0.0
    for feed in feeds:
        wanted = first.run(feed)
        got = outputs_like(second.run(feed_for(feed, given, second.inputs)), second.outputs, first.outputs)
        worst = max(worst, *(np.abs(got[n] - w).max() / max(float(np.ptp(w)), 1e-30) for n, w in wanted.items()))
    return worst


def _samples(options: SophgoOptions, graph: Graph) -> list[dict[str, np.ndarray]]:
    """The first samples of the network's data layer, as the graph takes them."""
    from ..quant.calibrate.data import Dataset
    from ..quant.calibrate.first_layer import input_specs
    from .options.data_layer import with_data_layer
    from .options.read import options_of_tool
    from .options.samples import data_spec

    asked = {"quant_type": "PostTraining", "calibrate_size": _RANDOM}
    told = with_data_layer(options_of_tool(options.model, stem(options.model), asked, FLAGS), graph)
    return list(Dataset(data_spec(told), input_specs(graph)))


if __name__ == "__main__":
    sys.exit(main())
