"""Variables, which a file assigns to and reads, as states of a graph in SSA form.

While a file is read a variable has a value at each place: what was assigned last, or, before the first assignment of a
run, what the run before has left, which is a graph input. `close_variables` makes the last value a graph output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError, UnsupportedError
from ..ir import Tensor
from .builder import Builder


@dataclass(eq=False)
class Variable:
    """first: what it holds before the first run. before: its value when a run begins, once it is read. now: its value
    at the place that is being read; None where it is that of the run before."""

    name: str
    first: np.ndarray | None = None
    before: Tensor | None = None
    now: Tensor | None = None


def read_variable(build: Builder, variable: Variable, like: Tensor) -> Tensor | None:
    """The variable's value here, of the type of `like`; None where nothing was ever assigned to it."""
    if variable.now is None and variable.first is not None:
        first = variable.first
        before = build.input(variable.name, first.dtype, first.shape, quant=like.quant)
        before.name = build.rename(before.name, variable.name)
        variable.before = variable.now = before
    return variable.now


def settle(variables: Sequence[Variable], file: str, node: str) -> None:
    """What an initialization has assigned becomes what the variables hold before the first run."""
    for variable in variables:
        value = variable.now
        if value is None:
            continue
        if value.data is None:
            raise UnsupportedError(f"the first value of variable {variable.name!r} is computed", file=file, node=node)
        variable.first, variable.now = value.data, None


def close_variables(build: Builder, file: str) -> None:
    """Ends the graph: a variable that is assigned after it was read is a state, one that is only read a constant."""
    graph, states = build.graph, []
    read = {v.before: (v, v.first) for v in build.variables.values() if v.before is not None and v.first is not None}
    for before in [t for t in graph.inputs if t in read]:
        variable, first = read[before]
        after = variable.now
        if after is None or after is before:
            graph.inputs.remove(before)
            if before in graph.outputs:
                at = graph.outputs.index(before)
                graph.outputs[at] = build.emit("Identity", [before], name=f"{before.name}/identity", fold=False)[0]
            before.data = first
            continue
        if after.dtype != first.dtype or after.shape != first.shape:
            raise ModelError(
                f"variable {variable.name!r} is {first.dtype}{list(first.shape)} and is assigned {after}", file=file
            )
        if after.is_const or after in graph.inputs or after in graph.outputs:
            after = build.emit("Identity", [after], name=f"{variable.name}/identity", fold=False)[0]
        after.name = build.rename(after.name, f"{variable.name}/next")
        graph.outputs.append(after)
        states.append(first)
    graph.states = tuple(states)
