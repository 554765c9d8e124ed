"""What needs calibration data, and DynamicQuant, as the command runs them: data in, notes out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..converter.errors import Setting, UsageError
from ..converter.ir import Graph, is_quantized
from ..quant.selection import select
from .convert_report import Report
from .options.convert import ConvertOptions
from .outcome import WARNING
from .progress import track

if TYPE_CHECKING:
    from ..quant.calibrate.data import Dataset
    from ..quant.ptq.result import Result
    from ..quant.ptq.settings import Settings
    from .pareto import WriteForm

_IMAGE_OPTIONS = (
    "input_type", "image_to_format", "normalize_mean", "normalize_std", "resize_width", "resize_height",
    "resize_method", "resize_mode", "resize_pad", "center_crop_width", "center_crop_height", "sample_stage",
    "pixel_format", "pixel_layout", "image_size",
)  # fmt: skip


def open_samples(graph: Graph, options: ConvertOptions, report: Report) -> Dataset | None:
    """The calibration data, looked at; None where none are used. Raises DataError before any file is written."""
    from .options.samples import data_spec, scoring_of, uses_samples

    if not uses_samples(options):
        return None
    from ..quant.calibrate.data import Dataset
    from ..quant.calibrate.data_lint import lint
    from ..quant.calibrate.first_layer import first_layers, input_specs

    with options.blame("calibrate_path", "fuse_preprocess", *_IMAGE_OPTIONS):
        dataset = Dataset(data_spec(options), input_specs(graph, options.input_data_format or "NHWC"))
        dataset.scoring = scoring_of(options, dataset)
        threads = options.threads or os.cpu_count() or 1
        looked = lint(
            dataset, first_layers(graph), lambda items: tracked(items, "looking at the data", options), threads
        )
    report.data = looked
    report.notes += [*dict.fromkeys((*looked.notes, *dataset.notes)), *(f"{WARNING}{text}" for text in looked.warnings)]
    return dataset


def post_train(
    graph: Graph,
    samples: Dataset | None,
    options: ConvertOptions,
    report: Report,
    write: WriteForm,
    container: str,
) -> Graph:
    """The quantized graph; write: a file, a `container`, that holds a graph.

    Raises DataError or UsageError before any file is written.
    """
    from ..quant.calibrate.statistics import load_statistics, save_statistics
    from ..quant.ptq.post_training import quantize_graph
    from ..quant.ptq.quality import save_tables
    from .options.convert import GOALS
    from .options.settings import post_training_settings
    from .options.workers import open_pool

    with options.blame("load_dist"):
        loaded = load_statistics(options.load_dist) if options.load_dist else None
    grouped = _with_groups(graph, samples, options, report)
    with open_pool(options) as pool, options.blame("load_dist" if loaded is not None else "calibrate_path", *GOALS):

        def quantized(form: Graph) -> tuple[Result, Settings]:
            settings = post_training_settings(form, options, loaded)
            settings = replace(settings, pool=pool, scoring=samples.scoring if samples is not None else None)
            if options.searches and samples is not None:
                return _searched(form, samples, settings, options, report, write, container), settings
            return quantize_graph(
                form, samples, settings, lambda items, label: tracked(items, label, options)
            ), settings

        result, settings = quantized(graph)
        if grouped is not None:
            result, settings = _better(result, settings, *quantized(grouped), report)
    if options.dump_dist:
        save_statistics(options.dump_dist, result.statistics)
    report.notes += _notes(result, settings, options)
    report.layers = result.weight_rows()
    report.quality = result.rows
    report.fidelity = report.fidelity or result.fidelity
    report.reasons = {node.name: why for node, why in result.plan.why.items()}
    report.calibrated = result
    if options.report:
        report.original = result.source
    if options.debug_info_save_path:
        save_tables(options.debug_info_save_path, result.rows)
    return result.graph


def _with_groups(graph: Graph, samples: Dataset | None, options: ConvertOptions, report: Report) -> Graph | None:
    """The graph with channels grouped by their ranges; None where `conv_group` is not asked for or finds nothing."""
    if not options.conv_group:
        return None
    if samples is None or options.load_dist:
        report.notes.append("conv_group: not tried: it chooses by samples, and there are statistics only")
        return None
    from ..quant.ptq.channel_groups import SAMPLES, group_channels

    form = graph.copy()
    names = group_channels(
        form, samples.only(range(min(SAMPLES, len(samples)))), options.threads or os.cpu_count() or 1
    )
    if not names:
        report.notes.append("conv_group: no convolution's input has channels of very different ranges")
        return None
    report.notes.append(f"conv_group: tried for {', '.join(names)}")
    return form


def _better(
    plain: Result, settings: Settings, grouped: Result, other: Settings, report: Report
) -> tuple[Result, Settings]:
    """The result whose worst output is better on the samples held back; groups, which take time, by 0.1 dB at least."""
    figures = [r.fidelity.worst.sqnr if r.fidelity is not None else float("-inf") for r in (plain, grouped)]
    taken = figures[1] > figures[0] + 0.1
    kept = "are kept" if taken else "are not kept"
    report.notes.append(f"conv_group: groups {kept}: {figures[1]:.1f} dB with them, {figures[0]:.1f} without")
    return (grouped, other) if taken else (plain, settings)


def _searched(
    graph: Graph,
    samples: Dataset,
    settings: Settings,
    options: ConvertOptions,
    report: Report,
    write: WriteForm,
    container: str,
) -> Result:
    """The form of the graph that the goals ask for."""
    from ..quant.ptq.fidelity import spread
    from ..quant.search.integer_family import IntegerFamily
    from ..quant.search.trials import Measures
    from ..quant.weights.bit_budget import SAMPLES
    from .search import goal_of, open_journal, parts, progress_of, run_search, timer

    goal = goal_of(options, report.source_bytes)
    shares = fitted, _ = parts(len(samples), settings.subset, goal, options)
    journal = open_journal(options, graph, samples, container, report, fitted)
    picked = list(samples.only([fitted[k] for k in spread(len(fitted), SAMPLES)]))
    sample = next(samples.only([len(samples) // 2]))
    timed = goal.time is not None or bool(options.pareto)
    measures = Measures(write, timer(graph, sample, options.threads or 1) if timed else None)
    settings = replace(settings, shares=shares)
    family = IntegerFamily(graph, settings, samples, picked, progress_of(options), write, container, journal)
    judged, pool = family.forms.graph, settings.pool
    return run_search(family, goal, judged, samples, shares, measures, journal, options, report, container, write, pool)


def make_dynamic(graph: Graph, options: ConvertOptions, report: Report) -> None:
    """DynamicQuant, in place: no data, inputs of layers are quantized while running."""
    from ..quant.weights.dynamic_quant import quantize_dynamic
    from .options.settings import weight_settings

    dynamic = quantize_dynamic(graph, weight_settings(options))
    report.layers = dynamic.weights
    report.notes += dynamic.notes()


def come_quantized(graph: Graph, options: ConvertOptions) -> list[str]:
    """A note for PostTraining on the parts that compute on integers already. Refuses models that leave nothing else to
    quantize."""
    from ..quant.ptq.placement import place

    there = [n for n in graph.nodes if n.op not in ("Quantize", "Dequantize") and any(map(is_quantized, n.outputs))]
    if not there:
        return []
    kept = frozenset(select(graph, options.keep_float))
    if not any(node.op != "Identity" for node in place(graph, kept, target=options.target).int8_nodes):
        raise UsageError(
            f"{options.model_file}: is quantized already: {there[0].name} ({there[0].op}) computes"
            f" {there[0].outputs[0].dtype}",
            hint=("the float model it was made from, or no ", Setting("quant_type"), " to convert it as it is"),
        )
    names = ", ".join(n.name for n in there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
    return [f"{len(there)} operators come quantized and keep their own scales: {names}"]


def tracked(items: Iterable[Any], label: str, options: ConvertOptions) -> Iterable[Any]:
    return track(items, label, quiet=options.quiet)


def _notes(result: Any, settings: Any, options: ConvertOptions) -> list[str]:
    from ..quant.ptq.placement import foreign_to_mslite, wants_fixed_sizes

    plan = result.plan
    operators = [n for n in result.source.nodes if n.op not in ("Quantize", "Dequantize")]
    there = {n for n in operators if any(map(is_quantized, n.outputs))}
    codes = f"codes, {len(plan.wide)} of them on 16 bits" if plan.wide else "int8 codes"
    lines = [f"{len(plan.int8_nodes | there)} of {len(operators)} operators compute on {codes}"]
    reasons: dict[str, list[str]] = {}
    for node, why in plan.why.items():
        if node in there or node.op in ("Quantize", "Dequantize"):
            continue
        reasons.setdefault(f"{node.op}: {why}", []).append(node.name.partition(";")[0])
    for why, names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"in float: {shown} ({why})")
    if settings.target == "bitlite" and "MS" in options.output_format and (foreign := foreign_to_mslite(plan)):
        names = ", ".join(foreign)
        lines.append(
            f"in the .ms, {names} compute between casts: MindSpore Lite has no int8 kernel for them that is right"
        )
    if "MS" in options.output_format and (open_ended := wants_fixed_sizes(plan)):
        names = ", ".join(open_ended)
        sizes = options.spell(Setting("input_shape"))
        lines.append(f"MindSpore Lite's own runtime wants fixed sizes for int8 {names}: {sizes} gives them")
    stored = sum(not row.reason for row in result.stored)
    if stored:
        keeps = options.spell(Setting("float_weights", "float"))
        lines.append(f"{stored} weights of layers in float are stored in 8 bits; {keeps} keeps them")
    if not plan.int8_nodes:
        lines.append("nothing computes in int8: the model stays float" + (" but for its weights" if stored else ""))
    if not result.samples and settings.bias_correction != "off":
        given = options.spell(Setting("calibrate_path", "DIR"))
        lines.append(
            f"{WARNING}without samples layers are neither rounded nor corrected, which costs accuracy; {given} beside"
            f" {options.spell(Setting('load_dist'))} gives them"
        )
    if (wide := result.wide_weights) is not None and wide.elements:
        lines.append(
            f"{len(wide.codes) + len(wide.reals)} of {wide.layers} layers have weights of more than 8 bits, about"
            f" {wide.more_bytes} bytes more: with 8 bits, each weight rounded by itself, the outputs would have"
            f" {-10 * math.log10(wide.before):.0f} dB"
        )
    if result.corrected:
        lines.append(f"{result.corrected} layers rounded and corrected on {result.samples} samples")
    return lines + result.quantized.notes + _judgement(result, options)


def _judgement(result: Any, options: ConvertOptions) -> list[str]:
    """What islands of float brought, and where the outputs are poor all the same, what was tried."""
    from ..quant.ptq.fidelity import POOR

    lines, islands = list[str](), result.islands
    if result.without_islands is not None:
        weights = f" ({islands.share_of_weights:.1%} of the weights in 16 bits)" if islands.weights else ""
        lines.append(
            f"{len(islands.kept)} operators, {islands.share:.1%} of the work, are in float for the outputs' sake"
            f"{weights}: the worst goes from {result.without_islands.worst.sqnr:.1f} to"
            f" {result.fidelity.worst.sqnr:.1f} dB"
        )
    if result.fidelity is not None and result.fidelity.worst.sqnr < POOR:
        looked = f"; {islands.trials} runs looked for what had better be in float" if islands else ""
        other, instead = result.weights_only, ""
        if other is not None and other.worst.sqnr > result.fidelity.worst.sqnr:
            weight_quant = options.spell(Setting("quant_type", "WeightQuant"))
            instead = f"; {weight_quant} keeps {other.worst.text()} on the same samples"
        elif other is not None:
            instead = f"; weights of 8 bits alone, all else in float, leave {other.worst.sqnr:.1f} dB"
        lines.append(
            f"{WARNING}int8 costs too much here: output {result.fidelity.worst.name!r} has"
            f" {result.fidelity.worst.sqnr:.1f} dB of {POOR:.0f}{looked}{instead}"
        )
    return lines
