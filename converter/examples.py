"""A row's `Case` as a graph of one node, with seeded feeds: what tests, the page of operators and measurements run."""

from __future__ import annotations

from typing import Any

import numpy as np

from .ir import Graph
from .schema.builder import Builder
from .schema.op import Case


def example(
    name: str, case: Case, dtype: Any = np.float32, feed: tuple[int, ...] = ()
) -> tuple[Graph, dict[str, np.ndarray]]:
    """(the graph of one node called "node", a value per graph input).

    Args:
        name: of the row. dtype: of the inputs that the case gives as a shape: normal numbers as floats, small ones of
            both signs as integers. feed: indices of the case's constants that become graph inputs.
    Raises:
        GraphError: the row does not take that dtype.
    """
    graph, rng = Graph(), np.random.default_rng(3)
    feeds: dict[str, np.ndarray] = {}
    builder = Builder(graph, fold_limit=0)
    inputs = []
    for i, given in enumerate(case.inputs):
        if given is None:
            inputs.append(None)
        elif isinstance(given, (np.ndarray, np.generic)):
            value = np.asarray(given)
            if i in feed:
                feeds[f"x{i}"] = value
            inputs.append(
                builder.input(f"x{i}", value.dtype, value.shape) if i in feed else builder.constant(value, f"x{i}")
            )
        elif i in case.const and i not in feed:
            inputs.append(builder.constant(_random(rng, given, dtype), f"x{i}"))
        else:
            feeds[f"x{i}"] = _random(rng, given, dtype)
            inputs.append(builder.input(f"x{i}", np.dtype(dtype), given))
    graph.outputs = builder.emit(name, inputs, case.attrs, name="node")
    return graph, feeds


def _random(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    numbers = rng.standard_normal(shape)
    kind = np.dtype(dtype).kind
    if kind == "b":
        return numbers > 0
    if kind in "iu":
        numbers = np.round(numbers * 5)
    return (np.abs(numbers) if kind == "u" else numbers).astype(dtype)
