"""The options of quantization as the settings of what quantizes."""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ...converter.errors import Setting, UsageError
from ...converter.ir import Graph, Node
from ...quant.selection import select
from ...quant.selectors import parse_selector
from ...quant.weights.weight_quant import WeightSettings
from .convert import ConvertOptions
from .flags import fields_of

if TYPE_CHECKING:
    from ...quant.calibrate.statistics import Statistics
    from ...quant.ptq.layer_ranges import LayerRange
    from ...quant.ptq.settings import Settings

T = TypeVar("T")

_MOST_BITS = 8  # of weights whose bits are chosen, where nothing is chosen for them


def settings_of(settings: Callable[..., T], options: ConvertOptions, **others: Any) -> T:
    """Builds settings: a field takes the option of its name, `others` are those that differ."""
    named = fields_of(ConvertOptions).keys() & signature(settings).parameters.keys()
    return settings(**({name: getattr(options, name) for name in named} | others))


def weight_settings(options: ConvertOptions, **others: Any) -> WeightSettings:
    """How weights become codes; `others` are the fields that do not follow from the options alone."""
    told = {
        "bits": options.bit_num or _MOST_BITS,
        "min_size": options.quant_weight_size,
        "min_channels": options.quant_weight_channel,
        "layer_bits": tuple(options.layer_bits.items()),
        "threads": options.threads or os.cpu_count() or 1,
    }
    return settings_of(WeightSettings, options, **told | others)


def post_training_settings(graph: Graph, options: ConvertOptions, statistics: Statistics | None) -> Settings:
    """How PostTraining quantizes `graph`. Raises UsageError where a selection names nothing of it, or too many bits."""
    from ...quant.ptq.settings import Settings

    stored, wide = None, 16 in options.activation_bits.values()
    if options.float_weights == "int8":
        # Symmetric, without corrections: what every format can say.
        stored = weight_settings(options, bits=8, keep_float=(), layer_bits=(), container="tflite")
    return settings_of(
        Settings,
        options,
        methods=options.activation_quant_method,
        bits=options.bit_num or _MOST_BITS,
        layer_bits=_bits_by_error(graph, options) | _bits_by_node(graph, options),
        kept=frozenset(select(graph, options.keep_float) | (_depthwise(graph) if options.accuracy_opt else set())),
        input_type=options.input_data_type,
        output_type=options.output_data_type,
        bins=options.th_binnum,
        threads=options.threads or os.cpu_count() or 1,
        statistics=statistics,
        pairs=_pairs(options),
        measure=bool(options.debug_info_save_path or options.report),
        float_weights=stored,
        wide_weights=wide and not options.given("bit_num") and not {"TFLITE", "C"} & set(options.output_format),
        layer_ranges=_layer_ranges(graph),
    )


def _pairs(options: ConvertOptions) -> Literal["", "onnx", "own"]:
    """What kernels that add products in pairs weights are for: onnxruntime's, or bitlite's own on AVX2."""
    if options.onnx_weights != "auto" or options.activation_bits.get(0, 8) != 8:
        return ""
    if "ONNX" in options.output_format:
        return "onnx"
    own = "MS" in options.output_format and options.target != "mslite"
    return "own" if own and options.bit_num >= _MOST_BITS else ""  # fewer bits hold pairs by themselves


def _depthwise(graph: Graph) -> set[Node]:
    return {n for n in graph.nodes if n.op == "Conv" and 1 < n.attrs["group"] == n.required(0).known_shape[-1]}


def _layer_ranges(graph: Graph) -> dict[str, LayerRange]:
    """What layers of a Caffe network say of their thresholds."""
    from ...quant.ptq.layer_ranges import LayerRange

    methods = {"USE_KL": "KL", "USE_MAX": "MAX_MIN"}
    return {
        s["name"]: LayerRange(methods.get(s.get("th_strategy", ""), ""), s.get("th_scale", 1.0), s.get("threshold"))
        for s in graph.meta.get("layer_settings", ())
        if s.keys() & {"th_strategy", "th_scale", "threshold"}
    }


def _bits_by_error(graph: Graph, options: ConvertOptions) -> dict[Node, int]:
    """What `bit_num=0` gives the layers of an integer model."""
    from ...quant.ptq.weight_codes import bits_within

    limit = options.weight_error
    return {} if limit is None else bits_within(graph, limit, per_channel=options.per_channel)


def _bits_by_node(graph: Graph, options: ConvertOptions) -> dict[Node, int]:
    from ...quant.ptq.integer_forms import wide_nodes

    bits_by_node: dict[Node, int] = {}
    for text, bits in options.layer_bits.items():
        meant = select(graph, (parse_selector(text),))
        if bits > 8 and not meant <= wide_nodes(graph, options.activation_bits):
            raise UsageError(
                f"{options.where('layer_bits')}: {text}:{bits} where activations have 8 bits",
                hint=("1 to 8, or ", Setting("activation_bits", 16)),
            )
        bits_by_node |= dict.fromkeys(meant, bits)
    return bits_by_node
