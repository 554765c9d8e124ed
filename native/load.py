"""Any model file → a Session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..converter.errors import ModelError, bugs_named
from ..converter.formats import read_model
from ..converter.passes import GENERAL, run_passes
from .session import Session


def load(
    path: str,
    threads: int = 1,
    *,
    shapes: Mapping[Any, Sequence[int]] | None = None,
    keep_packed: bool = False,
    weights: str | None = None,
) -> Session:
    """Reads a .tflite, .onnx, .ms, .mindir or .prototxt file (told by its contents), optimises the graph and plans it.

    Args:
        threads: the most that one run uses.
        shapes: input name, or position → sizes, where the file leaves them open; -1 is "as the file has it".
        weights: the .caffemodel of a .prototxt; None for the one of the same name beside it.
        keep_packed: weight-only quantized matrices stay packed in memory; see `Session`.
    Raises:
        bitlite.Error: the file is missing, damaged, or holds what cannot be run; one line says which and why.
        bitlite.InternalError: a bug in bitlite.
    """
    with bugs_named(str(path)):
        graph = read_model(path, shapes, weights=weights)
        try:
            run_passes(graph, GENERAL)
            return Session(graph, threads, keep_packed=keep_packed)
        except MemoryError as error:
            raise ModelError("needs more memory than there is", file=str(path)) from error
