"""Two reports side by side: read back from JSON or from their pages, told as lines and joined in a document."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...converter.errors import DataError
from ..tables import table_lines, width
from .page import title_of

Document = dict[str, Any]
_EMBEDDED = re.compile(r'<script type="application/json" id="documents">(.*?)</script>', re.S)
_ROWS = 12


def read_report(path: str) -> Document:
    """The document of a report that was saved as JSON or as a page. Raises DataError where it is none."""
    try:
        text = Path(path).read_text("utf-8")
        embedded = _EMBEDDED.search(text)
        document = json.loads(embedded[1])[0] if embedded else json.loads(text)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, IndexError, RecursionError) as error:
        raise DataError(f"{path}: is no report", hint="what --report=r.json or r.html has written") from error
    if not isinstance(document, dict) or document.get("kind") not in ("conversion", "benchmark"):
        raise DataError(f"{path}: is no report of one run", hint="what --report=r.json or r.html has written")
    return document


def comparison(paths: Sequence[str]) -> Document:
    """The document of two saved reports. Raises DataError."""
    return {"kind": "comparison", "reports": [read_report(path) for path in paths]}


def comparison_lines(document: Document) -> list[str]:
    """The runs' titles, then a table of their figures, then one of the operators that differ most in time or loss."""
    runs = document["reports"]
    lines = [f"{name}: {title_of(run)}" for name, run in zip("AB", runs)]
    figures = [(label, *map(value, runs)) for label, value in _FIGURES]
    cells = [(label, *map(_text, values)) for label, *values in figures if any(v is not None for v in values)]
    lines += table_lines("", ("", "A", "B"), cells, ("A", "B"), width())
    nodes = [{row["name"]: row for row in run.get("nodes", ())} for run in runs]
    for key, label in (("ms", "ms"), ("sqnr", "dB so far")):
        both = [(name, a.get(key), nodes[1][name].get(key)) for name, a in nodes[0].items() if name in nodes[1]]
        there = [(name, a, b) for name, a, b in both if a is not None and b is not None and a != b]
        there.sort(key=lambda row: -abs(row[2] - row[1]))
        if there:
            rows = [(n.partition(";")[0], _text(a), _text(b), f"{b - a:+.4g}") for n, a, b in there[:_ROWS]]
            heads = (f"{label} A", "B", "B - A")
            lines += table_lines("", ("operator", *heads), rows, heads, width())
    return lines


def _least(run: Document, key: str) -> float | None:
    return (run.get(key) or {}).get("min")


def _sqnr(run: Document) -> float | None:
    outputs = (run.get("fidelity") or run.get("comparison") or {}).get("outputs") or ()
    return min((o["sqnr"] for o in outputs if o.get("sqnr") is not None), default=None)


_FIGURES = (
    ("bytes of the file", lambda run: min(run["files"].values()) if run.get("files") else run.get("bytes")),
    ("ms of a run", lambda run: _least(run, "time_ms")),
    ("ms of the other model", lambda run: _least(run, "other_time_ms")),
    ("dB of the worst output", _sqnr),
    ("verdict", lambda run: run.get("verdict") or None),
    ("peak bytes of activations", lambda run: (run.get("memory") or {}).get("peak")),
)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
