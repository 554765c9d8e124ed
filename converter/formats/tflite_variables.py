"""The states of a graph as the variables of a .tflite file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir import Graph, Tensor

Code = Callable[[str], int]


def with_variables(
    graph: Graph,
    subgraph: dict[str, Any],
    number: Callable[[Tensor], int],
    code: Code,
    constant: Callable[..., Any],
    index: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The main subgraph, reading variables first and assigning them last, and the one that gives them first values.

    Args:
        subgraph: with all inputs, outputs and operators of the graph; changed in place.
        number: a tensor's index in it. code: an operator's index among the codes.
        constant: (tensor, value) → the fields of a tensor that holds it. index: of the subgraph that comes second.
    """
    kinds: list[dict[str, Any]] = []
    first: dict[str, Any] = {"name": "init", "tensors": kinds, "inputs": [], "outputs": [], "operators": []}
    head = [_operator(code("CALL_ONCE"), [], [], ("CallOnceOptions", {"init_subgraph_index": index}))]
    tail = []
    for value, (before, after) in zip(graph.states, graph.state_pairs):
        shared = ("VarHandleOptions", {"container": "", "shared_name": before.name})
        handle = len(subgraph["tensors"])
        resource = {"name": f"{before.name}/handle", "shape": np.zeros(0, np.int32), "type": "RESOURCE"}
        subgraph["tensors"].append(resource)
        head.append(_operator(code("VAR_HANDLE"), [], [handle], shared))
        head.append(_operator(code("READ_VARIABLE"), [handle], [number(before)], ("ReadVariableOptions", {})))
        tail.append(_operator(code("ASSIGN_VARIABLE"), [handle, number(after)], [], ("AssignVariableOptions", {})))
        at = len(kinds)
        kinds += [dict(resource), constant(before, value)]
        first["operators"] += [
            _operator(code("VAR_HANDLE"), [], [at], shared),
            _operator(code("ASSIGN_VARIABLE"), [at, at + 1], [], ("AssignVariableOptions", {})),
        ]
    for side in ("inputs", "outputs"):
        subgraph[side] = subgraph[side][: -len(graph.states)]
    subgraph["operators"] = [*head, *subgraph["operators"], *tail]
    return subgraph, first


def _operator(code: int, inputs: list[int], outputs: list[int], options: Any) -> dict[str, Any]:
    return {"opcode_index": code, "inputs": inputs, "outputs": outputs, "builtin_options": options}
