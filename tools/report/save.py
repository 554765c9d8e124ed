"""A report's document as a file: JSON, or the page of the same."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ...converter.formats.outputs import write_atomic
from .page import Document, page
from .picture import svg

PAGES = (".html", ".htm")


def save_document(path: str, document: Document, *, sources: Iterable[str] = ()) -> None:
    """Writes the page where the name ends in .html, JSON otherwise. Raises OutputError."""
    if path.lower().endswith(PAGES):
        _write(path, page(document["reports"] if document["kind"] == "comparison" else [document]), sources)
    else:
        _write(path, json.dumps(document, indent=1) + "\n", sources)


def save_graph(path: str, document: Document, *, sources: Iterable[str] = ()) -> None:
    """Writes the graph's picture, as SVG or on the page of the document. Raises OutputError."""
    if path.lower().endswith(PAGES):
        save_document(path, document, sources=sources)
    else:
        _write(path, svg(document["nodes"], title=document["file"]), sources)


def _write(path: str, text: str, sources: Iterable[str]) -> None:
    with write_atomic(path, sources=sources) as file:
        file.write(text.encode())
