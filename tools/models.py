"""A model file as a `Graph` and back, for what stands between: `bitlite.surgery`, or code of one's own."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..converter.errors import UsageError, bugs_named
from ..converter.formats import CONTAINERS, read_model
from ..converter.formats.files import let_go
from ..converter.formats.outputs import Staging
from ..converter.ir import Graph
from ..converter.passes import for_target, run_passes


def read(
    path: str | os.PathLike[str], shapes: Mapping[Any, Sequence[int]] | None = None, weights: str | None = None
) -> Graph:
    """The graph of a .tflite, .onnx, .ms, .mindir or .prototxt file, as it stands there.

    Args:
        shapes: input name, or position → sizes instead of the file's own. weights: the .caffemodel of a .prototxt.
    Raises:
        bitlite.Error: the file is missing, damaged, or holds what is not read.
    """
    with bugs_named(str(path)):
        return read_model(str(path), shapes, weights=weights)


def write(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Writes a graph, which stays as it is, into the format that the ending of `path` names.

    Raises:
        bitlite.Error: the format lacks an operator, or the file cannot be written; nothing is left of it.
    """
    name = str(path)
    container = name.rpartition(".")[2].lower()
    if container not in CONTAINERS:
        raise UsageError(
            f"{name}: its ending names no format that is written", hint=", ".join(f".{c}" for c in CONTAINERS)
        )
    with bugs_named(name), Staging() as staging:
        target = graph.copy()
        run_passes(target, for_target(container))
        writer = importlib.import_module(f"..converter.formats.{container}", __package__)
        writer.write(target, staging.place(name, sources=filter(None, [graph.meta.get("path")])))
        let_go()
