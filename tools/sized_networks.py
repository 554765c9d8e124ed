"""Networks whose sizes are those of their data: a Caffe data layer without steps gives what its database holds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..converter.formats import read_model
from ..converter.ir import Graph
from .options.data_layer import beside


def read_sized(
    path: str,
    shapes: Mapping[Any, Sequence[int]] | None = None,
    container: str | None = None,
    weights: str | None = None,
) -> Graph:
    """The graph of a model, as `read_model` gives it; sizes that a data layer leaves open are those of the first record
    of its database, where that is there and its records have sizes.

    Raises:
        bitlite.Error: the model, or the database, is damaged.
    """
    graph = read_model(path, shapes, container, weights)
    layer = graph.meta.get("data_layer")
    if layer is None or not layer["source"] or layer["backend"] != "LMDB":
        return graph
    opened = [t.name for t in graph.inputs if t.name == layer["input"] and None in t.known_shape[1:]]
    if not opened:
        return graph
    from ..quant.calibrate import lmdb_files

    file = os.path.join(beside(layer["source"], path), lmdb_files.NAME)
    sizes = lmdb_files.first_sizes(file) if os.path.isfile(file) else None
    if sizes is None:
        return graph
    return read_model(path, {**(shapes or {}), opened[0]: (1, *sizes)}, container, weights)
