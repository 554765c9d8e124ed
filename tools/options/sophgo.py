# ruff: noqa: RUF009  (flag() makes a dataclass field: its call is the declaration)
"""Sophgo's calibration_use_pb (BM1684): its options as those of a conversion."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...converter.errors import UsageError
from ...converter.text import nearest
from .convert_types import Method, Words
from .flags import Given, fields_of, flag, help_page, read_args
from .port_types import Paired
from .types import Choice, Int, Real, Switch, Text

MODEL, QUANT, GRAPH = "Network", "Quantization", "Graph"
COMMANDS = ("quantize", "graph_transform")
_ALWAYS = "is done whether the flag is given or not"


@dataclass
class SophgoOptions:
    """The flags of both commands, under Sophgo's names."""

    model: str = flag("model", Text("FILE"), "", "the network, a .prototxt", group=MODEL, required=True)
    weights: str = flag(
        "weights", Text("FILE"), "", "its weights, a .caffemodel: the .fp32umodel is not public", group=MODEL
    )
    target: str = flag("target", Choice(("BM1684", "BM1686")), "BM1684", "accepted; the model is for CPUs", group=MODEL)
    output_format: tuple[str, ...] = flag(
        "output_format", Words("MS,TFLITE,ONNX,C"), ("MS",), "formats to write; none of Sophgo's is public", group=MODEL
    )
    accuracy_opt: bool = flag("accuracy_opt", Switch(), False, "depthwise convolutions in float", group=QUANT)
    bitwidth: str = flag("bitwidth", Choice(("TO_INT8",)), "TO_INT8", "bits of the quantized network", group=QUANT)
    conv_group: bool = flag(
        "conv_group", Switch(), False, "group channels of very different ranges, where it is better", group=QUANT
    )
    dump_dist: str = flag("dump_dist", Text("FILE"), "", "write the statistics", group=QUANT)
    load_dist: str = flag("load_dist", Text("FILE"), "", "read them, of the same network", group=QUANT)
    iterations: int = flag("iterations", Int(1, 65535), 200, "samples to take", group=QUANT)
    per_channel: bool = flag("per_channel", Switch(), False, "a scale per output channel of a weight", group=QUANT)
    th_method: str = flag("th_method", Method(), "KL", "how ranges are chosen", group=QUANT)
    th_binnum: int = flag("th_binnum", Int(512, 4096), 2048, "bins of the histograms", group=QUANT)
    fpfwd_inputs: tuple[str, ...] = flag("fpfwd_inputs", Words("LAYER,..."), (), "float up to these", group=QUANT)
    fpfwd_outputs: tuple[str, ...] = flag("fpfwd_outputs", Words("LAYER,..."), (), "float from these on", group=QUANT)
    fpfwd_blocks: tuple[str, ...] = flag(
        "fpfwd_blocks", Words("FIRST:LAST,..."), (), "float from a layer to another; alone, that layer", group=QUANT
    )
    graph_transform: bool = flag("graph_transform", Switch(), False, f"optimize the network: {_ALWAYS}", group=GRAPH)
    fold_concat_scale: bool = flag(
        "fold_concat_scale",
        Switch(),
        True,
        "scales and ranges of the inputs of a Concat go into the layers around it; false leaves them",
        group=GRAPH,
    )
    merge_scale_to_conv: bool = flag(
        "merge_scale_to_conv", Switch(), True, "Scale into the convolution beside it; false leaves it", group=GRAPH
    )
    merge_depwise_scale: bool = flag(
        "merge_depwise_scale", Switch(), True, "the same of depthwise convolutions; on with accuracy_opt", group=GRAPH
    )
    notmerge_conv_layer: tuple[str, ...] = flag(
        "notmerge_conv_layer", Words("LAYER,..."), (), "convolutions into which nothing is merged", group=GRAPH
    )
    pad_value: dict[str, float] = flag(
        "pad_value", Paired(Real(), "LAYER:X,...", ",", named=True), {}, "what convolutions pad with", group=GRAPH
    )
    random_input_compare: bool = flag(
        "random_input_compare",
        Switch(),
        False,
        "compare the optimized network on data of its data layer, not on random input",
        group=GRAPH,
    )
    save_test_proto: bool = flag(
        "save_test_proto", Switch(), False, "also write the network with the data layer's steps inside", group=GRAPH
    )
    winograd: bool = flag(
        "winograd", Switch(), False, "accepted: the runtime takes it for 3x3 layers where it is faster", group=GRAPH
    )


USAGE = """\
calibration_use_pb quantize -model=net_test_fp32.prototxt -weights=net.caffemodel [-th_method=KL …]
calibration_use_pb graph_transform -model=net_test_fp32.prototxt -weights=net.caffemodel
Quantizes, or optimizes, a Caffe network; what converter_lite does under the names of Sophgo's tools."""


def help_text() -> str:
    """The page of `calibration_use_pb --help`."""
    return help_page(SophgoOptions, USAGE, everything=True)


def read(argv: Sequence[str]) -> tuple[str, SophgoOptions, Given]:
    """The command, its options, and what was given of them.

    Raises:
        UsageError: another command; a flag or value that is not there. Flags may have one dash or two.
    """
    command, *rest = argv
    if command not in COMMANDS:
        raise UsageError(f"{command!r} is no command", hint=nearest(command, COMMANDS) or " or ".join(COMMANDS))
    dashed = [f"-{arg}" if arg[:1] == "-" and arg[:2] != "--" and arg[1:2].isalpha() else arg for arg in rest]
    given = read_args(SophgoOptions, dashed)
    options = SophgoOptions(**given.values)
    if not options.model:
        raise UsageError("-model is missing: the network", hint="-model=net_test_fp32.prototxt")
    if options.weights.endswith("umodel"):
        raise UsageError(f"-weights={options.weights}: the umodel format is not public", hint="the .caffemodel")
    return command, options, given


def _floats(o: SophgoOptions) -> list[str]:
    blocks = [block.partition(":") for block in o.fpfwd_blocks]
    return [
        *(f"to {name}" for name in o.fpfwd_inputs),
        *(f"from {name}" for name in o.fpfwd_outputs),
        *(f"from {first} to {last}" if last else first for first, _, last in blocks),
    ]


def stem(model: str) -> str:
    """net_test_fp32.prototxt and net_bmnetp_test_fp32.prototxt → the path up to _test_fp32."""
    name = os.path.splitext(model)[0]
    return name.removesuffix("_test_fp32").removesuffix("_deploy_fp32")


def keywords(o: SophgoOptions, given: Given) -> dict[str, Any]:
    """What `bitlite.convert` takes for `quantize`."""
    same = ("accuracy_opt", "conv_group", "dump_dist", "load_dist", "per_channel", "th_binnum")
    plain: dict[str, Any] = {name: getattr(o, name) for name in same if name in given.values or name == "per_channel"}
    if not o.load_dist:
        plain["calibrate_size"] = o.iterations
    return (
        plain
        | transform_keywords(o)
        | {
            "quant_type": "PostTraining",
            "activation_quant_method": (o.th_method,),
            "keep_float": tuple(_floats(o)),
        }
    )


def transform_keywords(o: SophgoOptions) -> dict[str, Any]:
    """What `bitlite.convert` takes for `graph_transform`."""
    merges = (("fold_scale", o.merge_scale_to_conv), ("fold_depthwise_scale", o.merge_depwise_scale or o.accuracy_opt))
    return {
        "weight_file": o.weights or None,
        "output_format": tuple(o.output_format),
        "not_merge": o.notmerge_conv_layer,
        "pad_value": o.pad_value,
        "fold_concat_scale": o.fold_concat_scale,
        "skip_pass": tuple(name for name, merged in merges if not merged),
    }


FLAGS = {
    "model_file": "-model", "weight_file": "-weights", "calibrate_size": "-iterations", "keep_float": "-fpfwd_…",
    "activation_quant_method": "-th_method", "th_binnum": "-th_binnum", "dump_dist": "-dump_dist",
    "load_dist": "-load_dist", "not_merge": "-notmerge_conv_layer", "pad_value": "-pad_value",
    "output_format": "-output_format",
}  # fmt: skip
"""Option of a conversion → the flag that gives it here."""


def notes(given: Given) -> list[str]:
    """What a user should know of flags that were given."""
    lines = ["target: the model is for CPUs; there is no .int8umodel"] if "target" in given.values else []
    table = fields_of(SophgoOptions)
    always = [name for name in given.values if _ALWAYS in table[name].help and given.values[name]]
    lines += [f"{name}: {_ALWAYS}" for name in always]
    if given.values.get("winograd"):
        lines.append("winograd: int8 3x3 layers take it where it is faster, with the same bits")
    return lines
