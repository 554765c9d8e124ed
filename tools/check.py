"""`converter_lite --check`: for every operator of a model, is it read, quantized, run by a kernel, written?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..converter.errors import Error, UnsupportedError
from ..converter.formats import WRITTEN, read_model
from ..converter.formats.c import with_fixed_sizes
from ..converter.formats.inventory import is_read, operators
from ..converter.ir import Graph
from ..converter.ops import row
from .options.convert import ConvertOptions


@dataclass
class Check:
    """What `check` found.

    Attributes:
        sources: (operator as the file names it, how many, whether it is read).
        rows: per operator of the graph: op, count, runs, int8, weights, and per container "yes" or "no".
        problems: what stops reading the model, or writing it to the formats that were asked for.
        notes: what stops other formats, and what runs through numpy.
    """

    container: str
    sources: list[tuple[str, int, bool]]
    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(options: ConvertOptions) -> Check:
    """Looks at `options.model_file` without writing anything. Raises ModelError when it is no model at all."""
    container, names = operators(options.model_file)
    report = Check(container, [(name, count, is_read(container, name)) for name, count in names.most_common()])
    unread = [name for name, _, read in report.sources if not read]
    if unread:
        report.problems.append(f"not read: {', '.join(unread)}")
        return report
    try:
        graph = read_model(options.model_file, options.input_shape, weights=options.weight_file or None)
    except UnsupportedError as error:
        report.problems.append(error.line(options.spell))
        return report
    from ..converter.passes import GENERAL, run_passes

    run_passes(graph, GENERAL, skip=options.skip_pass)
    refusals = _native(graph, report)
    stopped = {fmt: _unwritten(graph, fmt, options) for fmt in WRITTEN}
    report.rows = _rows(graph, refusals, stopped)
    asked = [fmt.lower() for fmt in options.output_format]
    for fmt, reasons in stopped.items():
        (report.problems if fmt in asked else report.notes).extend(reasons.values())
    return report


def check_model(options: ConvertOptions) -> int:
    """The command: prints tables, returns 0 when the model can be read and written as asked, else 255."""
    from .tables import print_table

    report = check(options)
    title = f"{options.model_file}: {report.container}, {sum(n for _, n, _ in report.sources)} operators"
    print_table(
        title, ("operator in the file", "count", "read"), [(n, c, _yes(r)) for n, c, r in report.sources], ("count",)
    )
    if report.rows:
        columns = ("operator", "count", "runs as", "PostTraining", "weights", *WRITTEN)
        rows = [tuple(r.values()) for r in report.rows]
        print_table("The graph after the passes", columns, rows, ("count",))
    for line in dict.fromkeys(report.notes):
        print(f"note: {line}")
    for line in dict.fromkeys(report.problems):
        print(f"problem: {line}")
    formats = ", ".join(options.output_format)
    print("CHECK RESULT: " + ("not supported" if report.problems else f"supported, and can be written as {formats}"))
    return UnsupportedError.exit_code if report.problems else 0


def _native(graph: Graph, report: Check) -> dict[str, str]:
    """Node → why no kernel runs it, at the declared sizes with open ones taken as 1."""
    from ..converter.schema.builder import specialize
    from ..native.session import Session

    shapes = {t.name: tuple(1 if d is None else d for d in t.shape) for t in graph.inputs if t.shape is not None}
    try:
        refusals = Session(specialize(graph, shapes)).refusals
    except Error as error:
        report.notes.append(f"cannot be planned with open sizes taken as 1: {error}")
        return {}
    for name, why in refusals.items():
        report.notes.append(f"{name} runs through numpy: {why}")
    return refusals


def _unwritten(graph: Graph, container: str, options: ConvertOptions) -> dict[str, str]:
    """Operator → why it cannot be written to a container; runs the passes and writers for it, writing nothing."""
    from ..converter.passes import for_target, run_passes
    from ..converter.schema.writing import Writing

    target = graph.copy()
    if container == "c":
        try:
            target, _ = with_fixed_sizes(graph)
        except UnsupportedError as error:
            return {node.op: error.line(options.spell) for node in graph.nodes}
    run_passes(
        target,
        for_target(container, options.input_data_format or "NHWC", options.output_data_format),
        skip=options.skip_pass,
    )
    writing = Writing(container, target)
    reasons: dict[str, str] = {}
    for node in target.nodes:
        writer = row(node.op).writers.get(container)
        if writer is None:
            reasons.setdefault(node.op, f"{node.name}: operator {node.op} has no form in {container}")
            continue
        try:
            writer(writing, node)
        except UnsupportedError as error:
            reasons.setdefault(node.op, error.line(options.spell))
    if container == "ms":
        from ..converter.formats.ms_types import misfits

        reasons = {op: error.line(options.spell) for op, error in misfits(target, writing).items()} | reasons
    if container == "tflite":
        from ..converter.formats import tflite_types

        unfit = tflite_types.misfits(writing)
        reasons = {op: error.line(options.spell) for op, error in unfit.items()} | reasons
    return reasons


def _rows(graph: Graph, refusals: dict[str, str], stopped: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    counts = Counter(node.op for node in graph.nodes)
    slow = Counter(node.op for node in graph.nodes if node.name in refusals)
    rows = []
    for op, count in counts.most_common():
        cell = row(op).quant
        weights = cell is not None and any(
            (w := node.input(i)) is not None and w.is_const
            for node in graph.nodes
            if node.op == op
            for i in cell.weights
        )
        rows.append(
            {
                "op": op,
                "count": count,
                "runs": "kernel" if not slow[op] else "numpy" if slow[op] == count else f"numpy {slow[op]}/{count}",
                "int8": _int8(op),
                "weights": "quantized" if weights else "",
                **{fmt: _yes(op not in reasons) for fmt, reasons in stopped.items()},
            }
        )
    return rows


def _int8(op: str) -> str:
    cell = row(op).quant
    if op in ("Quantize", "Dequantize"):
        return "is a cast"
    return "float: it has no int8 meaning" if cell is None or not cell.int8 else "int8"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
