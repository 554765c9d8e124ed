"""WeightQuant on calibration data: bits of layers by error or by bytes, then codes that keep what layers give."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..converter.errors import DataError, GraphError
from ..converter.ir import Graph, Tensor
from .calibrate import tracked
from .convert_report import Report
from .options.convert import ConvertOptions

if TYPE_CHECKING:
    from ..quant.calibrate.data import Dataset
    from ..quant.weights.weight_quant import WeightRow, WeightSettings
    from .pareto import WriteForm

_FEW = 2  # bits asked for, from which on weights may get more


def quantize_on_data(
    graph: Graph, settings: WeightSettings, samples: Dataset, options: ConvertOptions, report: Report, write: WriteForm
) -> Graph:
    """The graph with weights in codes; write: a file that holds a graph.

    Raises DataError or UsageError before any file is written.
    """
    if options.searches:
        return _searched(graph, settings, samples, options, report, write)
    return _quantize(graph, settings, samples, options, report, write)


def correct_on_noise(
    graph: Graph, settings: WeightSettings, image: Tensor, options: ConvertOptions, report: Report
) -> None:
    """Weights in codes and biases that make up for them, in place, of a model of images without data."""
    from ..quant.weights import noise_biases
    from ..quant.weights.weight_quant import quantize_graph_weights

    before = graph.copy()
    try:
        report.layers, kept = noise_biases.correct_on_noise(
            graph,
            settings,
            image,
            options.threads or os.cpu_count() or 1,
            lambda items, label: tracked(items, label, options),
        )
        done = "biases keep" if kept else "biases stay: outputs are no nearer where they keep"
        report.notes.append(f"no calibration data: {done} the means of layers on images of noise")
    except (DataError, GraphError) as error:
        graph.nodes, graph.inputs, graph.outputs = before.nodes, before.inputs, before.outputs
        report.layers = quantize_graph_weights(graph, settings)
        report.notes.append(f"no calibration data, and none of noise: {error.message}")


def _quantize(
    graph: Graph, settings: WeightSettings, samples: Dataset, options: ConvertOptions, report: Report, write: WriteForm
) -> Graph:
    """In place: codes by what layers give, or each weight by itself; and the outputs judged by samples that codes are
    not fitted to."""
    threads = options.threads or os.cpu_count() or 1
    if options.weight_rounding == "output":
        from ..quant.cluster.pool import Workforce
        from ..quant.weights.output_rounding import quantize_by_output
        from .options.workers import open_pool

        with open_pool(options) as pool, options.blame("calibrate_path"):
            report.layers, report.fidelity = quantize_by_output(
                graph,
                settings,
                samples,
                Workforce(threads, pool),
                lambda items, label: tracked(items, label, options),
                correct_biases=options.bias_correction != "off",
                scoring=samples.scoring,
                size_of=write,
                float_bytes=2 if options.fp16 else 4,
            )
        if settings.bits >= _FEW and not settings.layer_bits and not settings.chosen:
            more = [row for row in report.layers if not row.reason and row.bits > settings.bits]
            report.notes += _wider_note([row for row in more if not row.gate], settings.bits)
        report.notes += _smaller_note(report.layers)
        return graph
    from ..quant.ptq.fidelity import judge_of
    from ..quant.weights.output_rounding import parted
    from ..quant.weights.weight_quant import quantize_graph_weights

    fitted, held = parted(graph, len(samples), scored=samples.scoring is not None)
    judge = judge_of(graph, samples, held, samples.scoring, threads)
    report.layers = quantize_graph_weights(graph, settings)
    report.fidelity = judge.fidelity(graph, held_back=held != fitted)
    return graph


def _wider_note(rows: Sequence[WeightRow], bits: int) -> list[str]:
    """What is to be said of weights with more bits than were asked for."""
    if not rows:
        return []
    more = sum(math.prod(row.shape) * (row.bits - bits) for row in rows) // 8
    least, most = min(row.bits for row in rows), max(row.bits for row in rows)
    have = f"{least} to {most}" if least < most else str(most)
    names = ", ".join(row.layer for row in rows[:3])
    gain = f"{more} bytes more of codes"
    return [f"{len(rows)} weights that outputs feel most have {have} bits instead of {bits}, {gain}: {names}"]


def _smaller_note(rows: Sequence[WeightRow]) -> list[str]:
    """What is to be said of weights that the gates leave, and that are not float32 either."""
    rows = [row for row in rows if row.gate or (row.reason and math.prod(row.shape) * row.bits // 8 < row.before)]
    if not rows:
        return []
    less = sum(row.before - math.prod(row.shape) * row.bits // 8 for row in rows)
    least, most = min(row.bits for row in rows), max(row.bits for row in rows)
    have = f"{least} to {most}" if least < most else str(most)
    names = ", ".join(row.layer for row in rows[:3])
    return [f"{len(rows)} weights that the gates leave have {have} bits, {less} bytes less than in float: {names}"]


def _searched(
    graph: Graph, settings: WeightSettings, samples: Dataset, options: ConvertOptions, report: Report, write: WriteForm
) -> Graph:
    """The form of the graph that the goals ask for."""
    from ..quant.cluster.pool import Workforce
    from ..quant.ptq.fidelity import spread
    from ..quant.ptq.prefix_runner import most_samples
    from ..quant.search.trials import Measures
    from ..quant.search.weight_family import WeightFamily
    from ..quant.weights import bit_budget
    from ..quant.weights.output_rounding import SAMPLES
    from .options.convert import GOALS
    from .options.workers import open_pool
    from .search import goal_of, open_journal, parts, progress_of, run_search

    goal, container = goal_of(options, report.source_bytes), settings.container or "ms"
    shares = fitted, _ = parts(len(samples), most_samples(graph, SAMPLES), goal, options)
    journal = open_journal(options, graph, samples, container, report, fitted)
    picked = list(samples.only([fitted[k] for k in spread(len(fitted), bit_budget.SAMPLES)]))
    with open_pool(options) as pool, options.blame("calibrate_path", *GOALS):
        family = WeightFamily(
            graph,
            settings,
            samples,
            fitted,
            picked,
            Workforce(options.threads or os.cpu_count() or 1, pool),
            progress_of(options),
            write,
            journal,
            float_bytes=2 if options.fp16 else 4,
            nearest=options.weight_rounding == "nearest",
            correct_biases=options.bias_correction != "off",
            floats=goal.max_drop is not None,
        )
        made = run_search(
            family, goal, graph, samples, shares, Measures(write), journal, options, report, container, write, pool
        )
    report.layers = made.rows
    return made.graph
