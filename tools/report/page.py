"""The page of one report, or of two side by side: the documents that JSON holds, in a file that needs no other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...converter.text import one_line
from .picture import svg

_ASSETS = Path(__file__).with_name("assets")
_SCRIPTS = ("uplot", "dom", "model", "table", "charts", "graph", "panel", "sections", "compare", "page")
_STYLES = ("uplot", "page")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
Document = Mapping[str, Any]


def page(documents: Sequence[Document]) -> str:
    """The whole page of a report's document (`Outcome.as_dict`, the figures of a benchmark), or of two to compare."""
    title = " and ".join(map(title_of, documents))
    picture = svg(documents[0]["nodes"], title=title, alone=False) if documents[0].get("nodes") else ""
    styles = "\n".join(f"<style>{_asset(name, 'css')}</style>" for name in _STYLES)
    scripts = "\n".join(f"<script>{_asset(name, 'js')}</script>" for name in _SCRIPTS)
    without = "This page draws its tables with JavaScript; the same figures stand in the report's JSON."
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n{styles}\n</head>\n<body>\n'
        f'<main id="page"><h1>{escape(title)}</h1><noscript>{without}</noscript></main>\n'
        f'<template id="graph">{picture}</template>\n'
        f'<script type="application/json" id="documents">{_embedded(documents)}</script>\n{scripts}\n</body>\n</html>\n'
    )


def title_of(document: Document) -> str:
    """What was converted or run, in a line."""
    source = document.get("source") or document.get("model") or document.get("file") or ""
    return one_line(" → ".join(Path(path).name for path in (source, *document.get("files", ())) if path))


def _embedded(documents: Sequence[Document]) -> str:
    """JSON in ASCII that cannot end the element it stands in, of names that only show."""
    shown = json.loads(json.dumps(documents), object_hook=_shown)
    return json.dumps(shown, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    return {one_line(k): _line(v) for k, v in values.items()}


def _line(value: Any) -> Any:
    if isinstance(value, list):
        return [_line(v) for v in value]
    return one_line(value) if isinstance(value, str) else value


def _asset(name: str, kind: str) -> str:
    return (_ASSETS / f"{name}.{kind}").read_text(encoding="utf-8").strip()
