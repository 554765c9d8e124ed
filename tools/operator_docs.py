"""Writes docs/operators.md from the operators' rows: `python -m bitlite.tools.operator_docs docs/operators.md`.

The table of the ONNX node cases is measured, not derived: it is kept as the file has it, and
`python benchmarks/onnx_node_cases.py --write docs/operators.md` puts in what it found.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- node cases -->", "<!-- end of node cases -->"
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
of ONNX are unrolled, up to 1024 rounds.
"""


def page(node_cases: str = "") -> str:
    """The whole page, around the measured table of node cases (with its markers)."""
    from ..converter import limits
    from ..converter.opdef import load_rows

    rows = load_rows()
    lines = [_HEAD, "## Operators, and what each is written as", ""]
    lines += ["| operator | in TFLite | in ONNX | in MindSpore Lite | kernel | quantized |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, row in sorted(rows.items()):
        written = _written(row)
        cells = [written.get(container, "") for container in ("tflite", "onnx", "ms")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row.kernel or 'numpy'} | {_quantized(row)} |")
    lines += ["", "## Names that are read", ""]
    from ..converter.opdef import READERS

    for container, title in (("tflite", "TFLite"), ("onnx", "ONNX"), ("ms", "MindSpore Lite")):
        names = sorted(READERS[container])
        lines += [f"{title}, {len(names)}: {', '.join(names)}.", ""]
    lines.append(
        _LIMITS.format(
            tensor=limits.TENSOR >> 20,
            growth=limits.GROWTH,
            live=limits.LIVE >> 20,
            live_growth=limits.LIVE_GROWTH,
        )
    )
    return "\n".join(lines) + "\n" + (node_cases or f"{BEGIN}\n{END}\n")


def node_cases(text: str) -> str:
    """The part of a page between the markers, with them; "" when it has none."""
    begin, end = text.find(BEGIN), text.find(END)
    return "" if begin < 0 or end < 0 else text[begin : end + len(END)] + "\n"


def cases_table(results: Iterable[tuple[str, str]]) -> str:
    """The measured part from (status, reason) per case."""
    counts: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    for status, reason in results:
        counts[status] += 1
        if status == "refused":
            reasons[_general(reason)] += 1
    lines = [BEGIN, "## The node cases of `onnx.backend.test`", ""]
    lines += [f"{counts['passed']} pass, {counts['refused']} are refused, {counts['wrong']} are wrong.", ""]
    lines += ["| refused because | cases |", "|---|---|"]
    lines += [f"| {reason} | {count} |" for reason, count in sorted(reasons.items(), key=lambda i: (-i[1], i[0]))]
    return "\n".join([*lines, END]) + "\n"


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
    if cell.table:
        parts.append("int8 table of 256")
    elif row.integer is not None:
        parts.append("int8")
    known = {"own": "its range is observed", "same": "shares its input's scale", "fixed": "fixed scale"}
    parts.append(known.get(cell.output, cell.output))
    return "; ".join(parts)


def _written(row: Any) -> dict[str, str]:
    """Container → the operators that the row's examples are written as."""
    from ..converter.errors import Error
    from ..converter.formats.writing import write_operators

    found: dict[str, dict[str, None]] = {c: {} for c in row.writers}
    for case in row.cases:
        graph = _graph(row.name, case)
        for container in row.writers:
            try:
                made = write_operators(graph.copy(), container).emitted
            except Error:
                continue
            found[container].update(dict.fromkeys(m.op for m in made))
    return {c: ", ".join(sorted(names)) or "yes" for c, names in found.items()}


def _graph(name: str, case: Any) -> Any:
    """The graph of one example."""
    import numpy as np

    from ..converter.builder import Builder
    from ..converter.ir import Graph

    graph, inputs = Graph(), []
    build = Builder(graph, fold_limit=0)
    for i, given in enumerate(case.inputs):
        if given is None:
            inputs.append(None)
        elif isinstance(given, (np.ndarray, np.generic)):
            inputs.append(build.constant(np.asarray(given), f"x{i}"))
        elif i in case.const:
            inputs.append(build.constant(np.ones(given, np.float32), f"x{i}"))
        else:
            inputs.append(build.input(f"x{i}", np.float32, given))
    graph.outputs = build.emit(name, inputs, case.attrs, name="node")
    return graph


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page to the path given, or to standard output."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args:
        sys.stdout.write(page())
        return 0
    path = Path(args[0])
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(page(node_cases(before)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
