"""ONNX files with their constants apart: protobuf's own objects would hold each of them twice while it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from .protobuf import Span, cut, head

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def cut_initializers(buffer: Any) -> tuple[bytes, dict[int, Span]]:
    """A serialized ModelProto without the large constants of its graph, and initializer → where its bytes are."""
    rest, spans = cut(buffer, (_GRAPH, _INITIALIZER, _RAW_DATA), once=1)
    return rest, {at[1]: span for at, span in spans.items()}


def write_joined(out: BinaryIO, model: Any, constants: Sequence[tuple[int, Iterator[np.ndarray]]]) -> None:
    """Writes a ModelProto whose initializers get their `raw_data` here.

    Args:
        constants: per initializer its bytes' number, and what makes them when their turn comes.
    """
    protos = [proto.SerializeToString(deterministic=True) for proto in model.graph.initializer]
    del model.graph.initializer[:]
    graph = model.graph.SerializeToString(deterministic=True)
    model.ClearField("graph")
    heads = [head(_RAW_DATA, size) for size, _ in constants]
    sizes = [len(proto) + len(raw) + size for proto, raw, (size, _) in zip(protos, heads, constants, strict=True)]
    whole = len(graph) + sum(len(head(_INITIALIZER, size)) + size for size in sizes)
    out.write(model.SerializeToString(deterministic=True) + head(_GRAPH, whole) + graph)
    for proto, raw, size, (_, data) in zip(protos, heads, sizes, constants, strict=True):
        out.write(head(_INITIALIZER, size) + proto + raw)
        for array in data:
            out.write(array.data.cast("B"))
