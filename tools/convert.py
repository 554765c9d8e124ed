"""The one pipeline, read → passes → quantize → write, behind the command and the API."""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..converter.errors import GraphError, ModelError, Setting, StrictError, UnsupportedError, UsageError, bugs_named
from ..converter.formats.files import bytes_of, let_go
from ..converter.formats.operators import write_operators
from ..converter.formats.outputs import Staging, check_folder, check_own_folder, check_target, make_folder
from ..converter.ir import Graph, Node, Tensor, is_quantized
from ..converter.passes import Change, Pass, for_target, run_passes
from ..converter.schema.writing import NEWEST_OPSET
from ..converter.version import __version__
from ..quant.finite import check_finite
from ..quant.selection import select
from ..quant.selectors import parse_selector
from .calibrate import come_quantized, open_samples
from .collector import no_search_for_cycles
from .convert_report import Report
from .onnx_products import products_note
from .options.convert import ConvertOptions
from .options.convert_types import ENDINGS
from .options.data_layer import with_data_layer
from .options.read import options_of_kwargs
from .read_back import Original, check_written, why_too_large
from .sized_networks import read_sized
from .surgery import changes_inputs, kept_apart, operate, skipped_passes, with_inputs

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..quant.calibrate.data import Dataset
    from ..quant.ptq.fidelity import Fidelity
    from ..quant.weights.weight_quant import WeightRow, WeightSettings
    from .options.keywords import ConvertKeywords

_CONTAINERS = {"TFLITE": "tflite", "ONNX": "onnx", "MSLITE": "ms", "MINDIR": "mindir", "CAFFE": "caffe", "": None}


def convert(
    model_file: str | os.PathLike[str], output_file: str | os.PathLike[str], **options: Unpack[ConvertKeywords]
) -> Report:
    """Converts, and on request quantizes, a model.

    Args:
        model_file: .tflite, .onnx, .mindir, .prototxt or .ms. output_file: what to write; its ending is appended.
        options: the command line's flags in snake_case: quant_type="WeightQuant", bit_num=4, config_file=…, and
            calibration_data: an iterable of arrays or dicts, or a function that returns one.
    Returns:
        What was done: files, layers with their bits and bytes, what the passes changed and refused.
    Raises:
        bitlite.Error: one line that names the file, node, option or value, and what is allowed. Nothing is written.
        bitlite.InternalError: a bug in bitlite.
    """
    with bugs_named(str(model_file)):
        return run(options_of_kwargs(model_file, output_file, **options))


def run(options: ConvertOptions) -> Report:
    """`convert` on checked options."""
    start = time.perf_counter()
    if options.cascade:
        raise UsageError("cascade: several networks are not one model", hint="bitlite.cascade")
    if options.check not in ("", "false"):
        raise UsageError("check: a conversion writes a model", hint="the command: converter_lite --check=MODEL")
    check_targets(options)
    with no_search_for_cycles():
        graph = _read(options)
        operated = operate(graph, options)
    source_bytes = bytes_of(options.model_file, graph.meta)
    report = Report(options.model_file, source_bytes, notes=[*options.notes, *operated])
    dump, stages = options.dump_ir or None, dict[str, Graph]()
    if options.dump_stages:
        stages["original"] = graph.copy()
    passes = for_target("none" if options.optimize == "none" else "general")
    with kept_apart(graph, options), no_search_for_cycles():
        report.passes = run_passes(graph, passes, skip=skipped_passes(options), dump_dir=dump)
    report.notes += [r.note for r in report.passes if isinstance(r, Change) and r.note]
    graph.meta |= {"bitlite": __version__, "options": options.as_dict(), "encode": options.enable_encode}
    if options.dump_stages:
        stages["optimized"] = graph.copy()
    options = with_data_layer(options, graph)
    if options.quant_type:
        _check_states(graph, options)
        check_finite(graph, _check_selections(graph, options))
        _check_formats(graph, options)
    if options.quant_type == "PostTraining":
        report.notes += come_quantized(graph, options)
    samples = open_samples(graph, options, report)
    weighs = _weighs(graph, options, report)
    before = graph.copy() if weighs or (options.report and options.quant_type) else None
    report.original = before if options.report else None
    targets = _quantized(graph, options, report, samples)
    if stages and options.quant_type:
        stages |= {"quantized": next(iter(targets.values()))} | report.calibrated_stage()
        if options.layer_outputs:
            stages["source"] = report.calibrated.source if report.calibrated is not None else stages["optimized"]
    if not (weighs or stages or options.report):
        report.calibrated = None
    del graph  # the float weights, where no target shares them
    fed, calibrated = samples, before
    if changes_inputs(options):
        targets, before = _with_inputs(targets, before, options, report)
        fed = None
    runs = options.read_back or weighs or "C" in options.output_format
    sample = next(fed.only([len(fed) // 2])) if fed is not None and runs else None
    originals = {id(t): Original(t, options.threads or 1, sample) for t in targets.values()}
    weighed = next(iter(originals.values()))
    for original in originals.values():
        original.keeps = False
    if weighs:
        from .cost import how_timed

        weighed.keeps, weighed.seconds = how_timed(options.quant_type == "WeightQuant", bool(options.report))
    with Staging() as staging:
        write_targets(targets, originals, staging, options, report)
        report.seconds = time.perf_counter() - start
        if before is not None and weighs:
            report.weigh(before, weighed, options)
        if calibrated is not None and weighs:
            report.explain(calibrated, samples, options)
        if options.report:
            report.look(next(iter(targets.values())), fed, options)
        if options.infer or options.verify:
            from .infer import run_written

            for path in staging.staged():
                report.runs += map(staging.in_place, run_written(path, options))
        if stages:
            report.notes += _write_stages(stages, next(iter(targets)), samples, staging, options)
        for path in options.report:
            report.save(staging.place(path, sources=(options.model_file,)))
        if options.strict and report.warnings:
            first, *more = report.warnings
            raise StrictError(
                first + (f" (and {len(more)} more warnings)" if more else ""), hint=Setting("strict", False)
            )
    return report


def _with_inputs(
    targets: Mapping[str, Graph], before: Graph | None, options: ConvertOptions, report: Report
) -> tuple[dict[str, Graph], Graph | None]:
    """The graphs, and those in float that they are compared with, with the inputs that the written model has."""
    changed = {id(graph): with_inputs(graph, options) for graph in targets.values()}
    report.notes += next(iter(changed.values()))[1]
    if report.original is not None:
        report.original = with_inputs(report.original, options)[0]
    float_graph = with_inputs(before, options)[0] if before is not None else None
    return {container: changed[id(graph)][0] for container, graph in targets.items()}, float_graph


def write_targets(
    targets: Mapping[str, Graph],
    originals: Mapping[int, Original],
    staging: Staging,
    options: ConvertOptions,
    report: Report,
) -> None:
    """Stages one file per format and reads it back. originals: what a graph, by its id, computes."""
    for container, target in targets.items():
        path = options.output_path(container.upper())
        original = originals[id(target)]
        if container == "c":
            from ..converter.formats import c

            staged = staging.place_folder(path, c.MARK)
            report.files[path] = _write(target, container, staged, options, report, original)
            continue
        staged = staging.place(path, sources=(options.model_file,))
        with no_search_for_cycles():
            report.files[path] = _write(target, container, staged, options, report)
            let_go()
            if options.read_back:
                report.notes += map(staging.in_place, filter(None, [check_written(staged, original)]))
                let_go()


def check_targets(options: ConvertOptions) -> None:
    """Raises OutputError or UsageError, before any work, for what could not be written."""
    if options.working_dir:
        with options.blame("working_dir"):
            make_folder(options.working_dir)
    models = [*map(options.output_path, options.output_format), *options.report]
    for path in models:
        if "C" in options.output_format and path == options.output_path("C"):
            from ..converter.formats import c

            check_own_folder(path, c.MARK)
        else:
            check_target(path, sources=(options.model_file,))
    if options.dump_dist:
        with options.blame("dump_dist"):
            check_target(options.dump_dist, sources=(options.model_file,))
    if options.layer_outputs and not (options.dump_stages and options.quant_type):
        raise UsageError(
            "layer_outputs: test networks of a quantization are written beside its stages",
            hint=Setting("dump_stages", "DIR"),
        )
    for name in ("debug_info_save_path", "dump_stages"):
        if folder := getattr(options, name):
            with options.blame(name):
                check_folder(folder)
    if options.pareto:
        from .pareto import MARK

        with options.blame("pareto"):
            check_own_folder(options.pareto, MARK)
    seen: set[str] = set()
    for path in (*models, *filter(None, [options.dump_dist])):
        if (real := os.path.realpath(path)) in seen:
            raise UsageError(f"{path} would be written twice", hint="another name for one of the outputs")
        seen.add(real)


def _weighs(graph: Graph, options: ConvertOptions, report: Report) -> bool:
    """Whether the quantization's cost is measured; a note says why not."""
    if not options.cost or not options.quant_type:
        return False
    if why := why_too_large(graph):
        report.notes.append(f"cost: not measured: {why}")
    return not why


def _write_stages(
    stages: dict[str, Graph], container: str, samples: Dataset | None, staging: Staging, options: ConvertOptions
) -> list[str]:
    """Writes what `dump_stages` asks for. Returns a line per stage."""
    from ..quant.ptq.fidelity import spread
    from .report.view import SAMPLES
    from .stages import write_stages

    with options.blame("dump_stages"):
        lines = write_stages(
            options.dump_stages,
            stages,
            "onnx" if container == "c" else container,
            list(samples.only(spread(len(samples), SAMPLES))) if samples is not None else [],
            staging,
            lambda graph, kind, path: _write(graph, kind, path, options, Report(options.model_file, 0)),
        )
    return [staging.in_place(line) for line in lines]


def _check_states(graph: Graph, options: ConvertOptions) -> None:
    """Raises UnsupportedError where calibration would have to keep states from sample to sample."""
    from .options.samples import uses_samples

    if graph.states and (options.quant_type == "PostTraining" or uses_samples(options)):
        name = graph.state_pairs[0][0].name
        raise UnsupportedError(
            f"{options.model_file}: it keeps states from run to run ({name!r} first), which calibration does not",
            hint=(Setting("quant_type", "WeightQuant"), " or DynamicQuant, without calibration data"),
        )


def _state_note(graph: Graph, container: str) -> str:
    """How the user of a file that has no variables keeps the states."""
    pairs = ", ".join(f"{before.name!r} from {after.name!r}" for before, after in graph.state_pairs)
    starts = {float(v.flat[0]) if (v == v.flat[0]).all() else None for v in graph.states if v.size}
    first = f"all {starts.pop():g}" if len(starts) == 1 and None not in starts else "the source's first values"
    return f".{container}: it keeps no state: feed each run {pairs} of the run before, {first} at first"


def _fixed_for_c(graph: Graph) -> tuple[Graph, str]:
    from ..converter.formats import c

    return c.with_fixed_sizes(graph)


def _check_formats(graph: Graph, options: ConvertOptions) -> None:
    """Raises UnsupportedError for an operator that a format lacks, before calibration takes its time."""
    for container in (name.lower() for name in options.output_format):
        trial = _fixed_for_c(graph)[0] if container == "c" else graph.copy()
        run_passes(trial, _target_passes(container, options), skip=options.skip_pass)
        write_operators(trial, container, opset=options.opset or NEWEST_OPSET)


def _read(options: ConvertOptions) -> Graph:
    try:
        return read_sized(
            options.model_file, options.input_shape, _CONTAINERS[options.fmk], options.weight_file or None
        )
    except (ModelError, UnsupportedError, GraphError) as error:
        if not options.input_shape:
            raise
        raise error.reworded(f"{error.message} (with the sizes of {options.where('input_shape')})") from None


def _check_selections(graph: Graph, options: ConvertOptions) -> set[Node]:
    """The nodes that are kept in float. Raises UsageError where a selection names nothing of the model."""
    with options.blame("keep_float"):
        kept = select(graph, options.keep_float)
    for name in ("layer_bits", "activation_bits"):
        with options.blame(name):
            for text in getattr(options, name):
                if isinstance(text, str):
                    select(graph, (parse_selector(text),))
    return kept


def _target_passes(container: str, options: ConvertOptions) -> tuple[Pass, ...]:
    layouts = options.input_data_format or "NHWC", options.output_data_format
    return for_target(container, *layouts, options.onnx_weights)


def _quantized(graph: Graph, options: ConvertOptions, report: Report, samples: Dataset | None) -> dict[str, Graph]:
    """What each format is written from: weights get the form that it keeps, everything else is decided once."""
    containers = [name.lower() for name in options.output_format]
    if options.quant_type != "WeightQuant" or len(containers) == 1:
        return dict.fromkeys(containers, quantize(graph, options, report, samples, _measured(containers)))
    targets = {container: graph.copy() for container in containers}
    layers: dict[str, list[WeightRow]] = {}
    fidelity: dict[str, Fidelity | None] = {}
    for container in sorted(containers, key=lambda name: name == "ms"):  # first those that refuse widths
        targets[container] = quantize(targets[container], options, report, samples, container)
        layers[container], fidelity[container] = report.layers, report.fidelity
    report.layers, report.fidelity = layers[containers[0]], fidelity[containers[0]]
    report.notes = list(dict.fromkeys(report.notes))
    return targets


def _measured(containers: list[str]) -> str:
    """The format by whose file sizes are meant: C is a folder."""
    return next((container for container in containers if container != "c"), containers[0])


def quantize(
    graph: Graph, options: ConvertOptions, report: Report, samples: Dataset | None = None, container: str = "ms"
) -> Graph:
    """The graph with the quantization that the options ask for; `container` is what keeps the weights. Where it is not
    a graph of its own, weights change in place."""
    if options.quant_type == "WeightQuant":
        from ..quant.weights.weight_quant import quantize_graph_weights
        from .options.settings import weight_settings

        stored = any(t is not None and t.is_const and is_quantized(t) for node in graph.nodes for t in node.inputs)
        settings = weight_settings(
            options,
            correction=_corrects(options, report, container),
            container="" if container == "ms" else container,
            gates_yield=samples is not None and options.weight_error is None and not _gates_given(options),
        )
        if options.weight_error is not None:
            from ..quant.weights.error_bits import bits_within

            settings = replace(settings, chosen=bits_within(graph, settings, options.weight_error), alone=True)
        if samples is not None:
            from .weights_on_data import quantize_on_data

            graph = quantize_on_data(
                graph, settings, samples, options, report, partial(_write_form, container=container, options=options)
            )
        elif (image := _noise_input(graph, settings, options)) is not None:
            from .weights_on_data import correct_on_noise

            correct_on_noise(graph, settings, image, options, report)
        else:
            report.layers = quantize_graph_weights(graph, settings)
        if not any(not row.reason for row in report.layers):
            left = "integer weights stay as they are" if stored else "the file holds the float weights"
            report.notes.append(f"no weight passed the gates: {left}")
    elif options.quant_type == "PostTraining":
        from .calibrate import post_train

        graph = post_train(
            graph, samples, options, report, partial(_write_form, container=container, options=options), container
        )
    elif options.quant_type == "DynamicQuant":
        from .calibrate import make_dynamic

        make_dynamic(graph, options, report)
    if options.fp16:
        from ..quant.weights.weight_quant import store_float16

        report.notes += store_float16(graph, rows=report.layers)
    return graph


def _gates_given(options: ConvertOptions) -> bool:
    """Whether it was asked which weights stay in float for their size."""
    return options.given("quant_weight_channel") or options.given("quant_weight_size")


def _noise_input(graph: Graph, settings: WeightSettings, options: ConvertOptions) -> Tensor | None:
    """The input that takes images, where biases are to keep what layers make of noise."""
    from ..quant.weights.weight_quant import NOISE_BITS

    least = min([settings.bits, *settings.chosen.values(), *(bits for _, bits in settings.layer_bits)])
    if least not in NOISE_BITS or options.weight_rounding != "output":
        return None
    from ..quant.calibrate.noise import image_input

    return image_input(graph)


def _corrects(options: ConvertOptions, report: Report, container: str) -> bool:
    """Whether weights get a correction of their means, which only a .ms can hold."""
    if options.weight_correction and container != "ms":
        if options.given("weight_correction") and "MS" not in options.output_format:
            raise UsageError(
                f"{options.where('weight_correction')}: a .{container} cannot hold it",
                hint=Setting("output_format", "MS"),
            )
        report.notes.append(f"no weight correction: a .{container} cannot hold it")
    return options.weight_correction and container == "ms"


def _write_form(graph: Graph, path: str = "", *, container: str, options: ConvertOptions) -> int:
    """What a file takes that holds `graph`, with the rest of what the options ask for; kept at `path`, if given."""
    target = graph.copy()
    if options.fp16:
        from ..quant.weights.weight_quant import store_float16

        store_float16(target)
    with tempfile.TemporaryDirectory(prefix="bitlite-") as folder:
        file = path or os.path.join(folder, "m" + ENDINGS[container.upper()])
        return _write(target, container, file, options, Report("", 0))


def _write(
    graph: Graph, container: str, path: str, options: ConvertOptions, report: Report, original: Original | None = None
) -> int:
    """Writes one format to `path`; C with a run of `original` as its example. Returns its bytes."""
    target = graph.copy()
    if container == "c":
        target, note = _fixed_for_c(graph)
        report.notes += filter(None, [note])
    records = run_passes(target, _target_passes(container, options), skip=options.skip_pass)
    report.passes += records
    grown = (r for r in records if isinstance(r, Change) and r.grows)
    report.notes += [f".{container}: {r.node} is written {r.what}; the file grows with it" for r in grown]
    if target.meta.get("float16"):
        from ..quant.weights.weight_quant import keep_float16

        keep_float16(target)
    if target.states and container != "tflite":
        report.notes.append(_state_note(target, container))
    more: dict[str, Any] = {}
    if container == "onnx":
        report.notes += products_note(target, options.onnx_weights, options.spell)
        more |= {"opset": options.opset or None, "blocks": options.block_form}
    if container == "c" and original is not None:
        from .c_example import example_of

        more["example"] = example_of(target, original)
        if more["example"] is None:
            report.notes.append(f"no main.c that compares with an example: {original.why}")
    written = importlib.import_module(f"..converter.formats.{container}", __package__).write(target, path, **more)
    if written.note:
        report.notes.append(written.note)
    report.stored |= written.tensors
    return written.bytes
