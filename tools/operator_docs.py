"""Writes docs/operators.md from the operators' rows: `python -m bitlite.tools.operator_docs docs/operators.md`.

Three tables are measured, not derived: they are kept as the file has them, and `--write docs/operators.md` of
benchmarks/ms_operators.py, onnx_node_cases.py and tflite_audit.py puts in what these found.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RUNTIME, NODES, TFLITE = "runtime cases", "node cases", "tflite cases"
_PARTS = (RUNTIME, TFLITE, NODES)
_HEAD = """\
# Operators

Written by `python -m bitlite.tools.operator_docs docs/operators.md` from the rows in `converter/ops/`. Do not edit.

What is not listed is refused by name before any work; `converter_lite --check MODEL` says it of a model. ONNX operators
that the standard defines as a function of others are read through that function where no row reads them.
"""
_LIMITS = """\
## Limits

Operators make tensors of at most {tensor} MB, or {growth} times what they are made from; {live} MB live at once during
a run, or {live_growth} times the inputs and constants. `BITLITE_MEMORY_MB` in the environment sets both numbers. Loops
of ONNX and TFLite are unrolled, up to 1024 rounds.

Recurrent layers that TFLite or MindSpore Lite has no operator for are written step by step ("parts"), up to {steps}
steps and {copies} MB of recurrent weights in all steps; in a `.ms` a GRU or plain RNN is a loop over its steps, any
number of them, and in a `.tflite` any layer of more than 128. Of loops in `.ms` those that are such a layer are read.

State variables of TFLite (UNIDIRECTIONAL_SEQUENCE_LSTM, SVDF) start each run as the file has them: a run is LiteRT's
first one, and nothing is carried from run to run.

A mean over no elements is NaN, as LiteRT gives it and 0/0 is; the ONNX standard leaves it open, and onnxruntime
gives 0.
"""


_READ_FROM = {"tflite": "TFLite", "onnx": "ONNX", "ms": "MindSpore Lite", "mindir": "MINDIR", "caffe": "Caffe"}


def page(parts: Mapping[str, str] | None = None) -> str:
    """The whole page, around the measured tables: name → text without its markers."""
    from ..converter.ir import limits
    from ..converter.ops import OPS

    rows = OPS
    lines = [_HEAD, "## Operators, and what each is written as", ""]
    lines += ["| operator | in TFLite | in ONNX | in MindSpore Lite | kernel | quantized |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, row in sorted(rows.items()):
        written = _written(row)
        cells = [written.get(container, "") for container in ("tflite", "onnx", "ms")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row.kernel or 'numpy'} | {_quantized(row)} |")
    lines += ["", "## Names that are read", ""]
    from ..converter.ops import READERS
    from ..converter.ops.recurrent.unroll_limits import MOST_BYTES, MOST_STEPS

    for container, title in _READ_FROM.items():
        names = sorted(READERS[container])
        lines += [f"{title}, {len(names)}: {', '.join(names)}.", ""]
    lines.append(
        _LIMITS.format(
            tensor=limits.TENSOR >> 20,
            growth=limits.GROWTH,
            live=limits.LIVE >> 20,
            live_growth=limits.LIVE_GROWTH,
            steps=MOST_STEPS,
            copies=MOST_BYTES >> 20,
        )
    )
    framed = [f"<!-- {name} -->\n{(parts or {}).get(name, '')}<!-- end of {name} -->\n" for name in _PARTS]
    return "\n".join(lines) + "\n" + "\n".join(framed)


def measured(text: str) -> dict[str, str]:
    """The measured tables that a page holds."""
    tables = {}
    for name in _PARTS:
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if begin in text and end in text:
            tables[name] = text[text.index(begin) + len(begin) : text.index(end)]
    return tables


def rewrite(path: str | Path, **parts: str) -> None:
    """Writes the page anew with its measured tables, or with those given as `runtime_cases=…` and so on."""
    path = Path(path)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    given = {name.replace("_", " "): text for name, text in parts.items()}
    path.write_text(page(measured(before) | given), encoding="utf-8")


def runtime_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """The measured part from operator → {"equal", "refused", "wrong"} → number of examples."""
    totals = {s: sum(c.get(s, 0) for c in counts.values()) for s in ("equal", "refused", "wrong")}
    lines = ["## The examples of each operator as `.ms`, in MindSpore Lite 2.0.0", ""]
    lines += [
        f"{len(counts)} operators have a form there. Of their examples, over types, {totals['equal']} run equal,",
        f"{totals['refused']} are refused by name before any work, {totals['wrong']} are wrong. What is not listed has",
        "no form and is refused.",
        "",
        "int64 is computed as int32 there, between casts at inputs and outputs; slices computed while running must not",
        "be empty, nor indices count from the end. float16 inputs and outputs become float32, as the runtime",
        "makes of them on a CPU without float16 kernels.",
        "",
        "| operator | equal | refused | wrong |",
        "|---|---|---|---|",
    ]
    for name, cases in sorted(counts.items()):
        lines.append(f"| {name} | {cases.get('equal', 0)} | {cases.get('refused', 0)} | {cases.get('wrong', 0)} |")
    return "\n".join(lines) + "\n"


def tflite_table(counts: Mapping[tuple[str, str], Mapping[str, int]]) -> str:
    """The measured part from (operator, type) → {"same", "nearer", "differs", "ours", "theirs"} → number of models.

    ours: refused here, and run by LiteRT; theirs: refused by LiteRT.
    """
    columns = ("compared", "differs", "nearer", "ours", "theirs")

    def row(*which: Mapping[str, int]) -> list[int]:
        total = {k: sum(c.get(k, 0) for c in which) for k in ("same", *columns[1:])}
        return [total["same"] + total["nearer"] + total["differs"], *(total[k] for k in columns[1:])]

    def line(name: str, cells: Sequence[int]) -> str:
        return f"| {name} | {' | '.join(str(c) for c in cells)} |"

    compared, differs, nearer, ours, theirs = row(*counts.values())
    lines = ["## TFLite's operators, in LiteRT and here", ""]
    lines += [
        f"Models of one operator each, over ranks, broadcasting, fused activations, attributes and types: {compared}",
        f"were compared, {differs} differ. LiteRT refuses {theirs} more; {ours} that it runs are refused here by name.",
        "",
        "Floats lie within 1e-5 of the range. Integers, and codes that an operator moves or chooses, are equal. Codes",
        "that are computed are at most one apart, as LiteRT rounds with integer multipliers ([integers](integers.md)).",
        f"In {nearer} models (nearer) some are further apart, and those here are the codes of the exact result: LiteRT",
        "interpolates functions of int16 in tables, rounds the weights of a bilinear resize, compares codes coarsely.",
        "Floats on int8 weights (hybrid) are computed as floats here; LiteRT rounds the input to 8 bits while running,",
        "and results lie within what that makes. w4: weights of 4 bits.",
        "",
        "| type | compared | differ | nearer | refused here | refused by LiteRT |",
        "|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(kind for _, kind in counts):
        lines.append(line(kind, row(*(c for (_, k), c in counts.items() if k == kind))))
    lines += [
        "",
        "| operator | compared | differ | nearer | refused here | refused by LiteRT |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted({name for name, _ in counts}):
        kinds = " ".join(k for n, k in counts if n == name)
        lines.append(line(f"{name}: {kinds}", row(*(c for (n, _), c in counts.items() if n == name))))
    return "\n".join(lines) + "\n"


def cases_table(results: Iterable[tuple[str, str]]) -> str:
    """The measured part from (status, reason) per case."""
    counts: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    for status, reason in results:
        counts[status] += 1
        if status == "refused":
            reasons[_general(reason)] += 1
    lines = ["## The node cases of `onnx.backend.test`", ""]
    lines += [f"{counts['passed']} pass, {counts['refused']} are refused, {counts['wrong']} are wrong.", ""]
    lines += ["| refused because | cases |", "|---|---|"]
    lines += [f"| {reason} | {count} |" for reason, count in sorted(reasons.items(), key=lambda i: (-i[1], i[0]))]
    return "\n".join(lines) + "\n"


def _general(reason: str) -> str:
    """A reason without the node and without the hint."""
    reason = reason.split("; try ")[0].replace("|", "\\|")
    if reason.startswith("operator ") or ": operator " in reason:
        return reason[reason.index("operator ") :]
    head, _, rest = reason.partition(": ")
    return f"{head.split('(')[-1].rstrip(')')}: {rest}"[:160] if "(" in head and rest else (rest or head)[:160]


def _quantized(row: Any) -> str:
    """What an int8 graph makes of the operator."""
    cell = row.quant
    if cell is None:
        return "no"
    parts = []
    if cell.weights:
        parts.append("weight" + (", bias" if cell.bias is not None else ""))
    if not cell.int8:
        parts.append("not in int8" if row.integer is None else "in int8 only where the model comes so")
        return "; ".join(parts)
    if cell.table:
        parts.append("int8 table of 256")
    elif row.integer is not None:
        parts.append("int8")
    shared = "shares its input's scale"
    known = {"own": "its range is observed", "same": shared, "within": shared, "fixed": "fixed scale"}
    parts.append("its range is observed, or its input's scale shared" if callable(cell.output) else known[cell.output])
    return "; ".join(parts)


def _written(row: Any) -> dict[str, str]:
    """Container → the operators that the row's examples are written as; "parts" where a pass takes some apart."""
    from ..converter.errors import Error
    from ..converter.examples import example
    from ..converter.formats.operators import write_operators
    from ..converter.ops import OPS
    from ..converter.passes import for_target, run_passes

    forms: dict[str, dict[str, None]] = {c: {} for c in row.writers}
    for case in row.cases:
        graph, _ = example(row.name, case)
        for container in row.writers:
            try:
                emitted = write_operators(graph.copy(), container).emitted
                forms[container].update(dict.fromkeys(m.op for m in emitted))
            except Error:
                apart = graph.copy()
                run_passes(apart, for_target(container))
                if all(n.op != row.name and container in OPS[n.op].writers for n in apart.nodes):
                    forms[container]["parts"] = None
    return {c: ", ".join(sorted(names, key=lambda n: (n == "parts", n))) or "yes" for c, names in forms.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page to the path given, or to standard output."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args:
        sys.stdout.write(page())
        return 0
    rewrite(args[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
