"""A report's document as a file: JSON, or the page of the same."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ...converter.formats.outputs import write_atomic
from .page import Document, page

PAGES = (".html", ".htm")


def save_document(path: str, document: Document, *, sources: Iterable[str] = ()) -> None:
    """Writes the page where the name ends in .html, JSON otherwise. Raises OutputError."""
    text = page([document]) if path.lower().endswith(PAGES) else json.dumps(document, indent=1) + "\n"
    with write_atomic(path, sources=sources) as file:
        file.write(text.encode())
