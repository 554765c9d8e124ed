"""PostTraining and DynamicQuant as the command runs them: options → data, settings and notes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ..converter.errors import UsageError
from ..converter.execute import is_quantized
from ..converter.ir import Graph, Node
from ..quant.options import ConvertOptions
from ..quant.selection import select
from ..quant.selectors import parse_selector
from .convert_report import Report
from .progress import track


def post_train(graph: Graph, options: ConvertOptions, report: Report) -> None:
    """Quantizes the graph in place. Raises DataError or UsageError before any file is written."""
    from ..quant.post_training import Settings, quantize_graph
    from ..quant.statistics import load_statistics, save_statistics

    _must_be_float(graph, options.model_file)
    dataset = _dataset(graph, options, report)
    loaded = load_statistics(options.load_dist) if options.load_dist else None
    settings = Settings(
        methods=options.activation_quant_method,
        bits=options.bit_num,
        layer_bits=_widths(graph, options),
        kept=frozenset(select(graph, options.keep_float)),
        per_channel=options.per_channel,
        bias_correction=options.bias_correction,
        target=options.target,
        input_type=options.input_data_type,
        output_type=options.output_data_type,
        bins=options.th_binnum,
        threads=options.threads or os.cpu_count() or 1,
        statistics=loaded,
        measure=bool(options.debug_info_save_path),
    )
    result = quantize_graph(graph, dataset, settings, lambda items, label: _track(items, label, options))
    if options.dump_dist:
        save_statistics(options.dump_dist, result.statistics)
    report.notes += _notes(result)
    report.layers = result.weight_rows()
    report.quality = result.rows
    made = result.graph
    graph.nodes, graph.inputs, graph.outputs, graph.meta = made.nodes, made.inputs, made.outputs, made.meta
    if options.debug_info_save_path:
        from ..quant.quality import save_tables

        save_tables(options.debug_info_save_path, result.rows)


def make_dynamic(graph: Graph, options: ConvertOptions, report: Report) -> None:
    """DynamicQuant, in place: no data, inputs of layers are quantized while running."""
    from ..quant.dynamic_quant import quantize_dynamic
    from ..quant.weight_quant import WeightSettings

    settings = WeightSettings(
        min_size=options.quant_weight_size,
        min_channels=options.quant_weight_channel,
        gain_gate=options.gain_gate,
        per_channel=options.per_channel,
        keep_float=options.keep_float,
        layer_bits=tuple(options.layer_bits.items()),
    )
    found = quantize_dynamic(graph, settings)
    report.layers = found.weights
    report.notes += found.notes()


def _must_be_float(graph: Graph, file: str) -> None:
    """Refuses models that compute on integers: what their scales rest on is not in the file any more."""
    for node in graph.nodes:
        if any(is_quantized(t) and not t.is_const for t in node.inputs if t) and any(map(is_quantized, node.outputs)):
            raise UsageError(
                f"{file}: is quantized already: {node.name} ({node.op}) computes {node.outputs[0].dtype}",
                hint="the float model it was made from, or no --quantType to convert it as it is",
            )


def _dataset(graph: Graph, options: ConvertOptions, report: Report) -> Any:
    if not options.calibrate_path and options.calibration_data is None:
        return None
    from ..quant.data import Dataset, DataSpec
    from ..quant.data_lint import lint
    from ..quant.first_layer import first_layers, input_specs

    # Files come as a .ms takes them, arrays from Python as the model's own input is.
    layout = (options.input_data_format or "NHWC") if options.calibration_data is None else ""
    dataset = Dataset(DataSpec.from_options(options), input_specs(graph, layout))
    looked = lint(dataset, first_layers(graph), lambda items: _track(items, "looking at the data", options))
    report.notes += [*dict.fromkeys((*looked.notes, *dataset.notes)), *(f"warning: {text}" for text in looked.warnings)]
    return dataset


def _track(items: Iterable[Any], label: str, options: ConvertOptions) -> Iterable[Any]:
    return track(items, label, quiet=options.quiet)


def _widths(graph: Graph, options: ConvertOptions) -> dict[Node, int]:
    widths: dict[Node, int] = {}
    for text, bits in options.layer_bits.items():
        if bits > 8:
            raise UsageError(f"layerBits: {text}:{bits} in an int8 model", hint="1 to 8")
        widths |= dict.fromkeys(select(graph, (parse_selector(text),)), bits)
    return widths


def _notes(result: Any) -> list[str]:
    plan, count = result.plan, len(result.source.nodes)
    lines = [f"{len(plan.layers)} of {count} operators compute on int8 codes"]
    reasons: dict[str, list[str]] = {}
    for node, why in plan.why.items():
        reasons.setdefault(f"{node.op}: {why}", []).append(node.name)
    for why, names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"in float: {shown} ({why})")
    if not plan.layers:
        lines.append("nothing was quantized: the file holds the float model")
    if result.corrected:
        lines.append(f"{result.corrected} layers rounded and corrected on {result.samples} samples")
    return lines + result.made.notes
