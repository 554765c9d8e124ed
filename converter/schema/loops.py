"""A counted loop among the operators of a container, as it is written and as it is found in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..ir import Tensor
from .writing import Emitted

LOOP = "Loop"
"""The name of a loop among a container's operators; the file has none of that name."""


@dataclass(eq=False)
class Loop:
    """The inside of an `Emitted` of the name `LOOP`, whose inputs are the values that `params` begin with.

    Attributes:
        params: values inside of a round.
        after: what the round gives each of them, the parameter itself where it stays.
        test: another round follows while the first is less than the second; one is a parameter.
        results: parameters whose last values are the operator's outputs.
    """

    params: list[Tensor]
    body: list[Emitted]
    after: list[Tensor]
    test: tuple[Tensor, Tensor]
    results: list[Tensor]


@dataclass(frozen=True)
class Found:
    """A loop of a file, in indices of tensors and nodes.

    Attributes:
        start: values that the loop begins with. params: those of a round. after: what a round makes of them.
        test: the operands of Less, as positions among `params` or, below 0, as ~ a tensor's. results: index behind
            the loop → position among `params`. body, rest: nodes of a round, and behind the loop.
    """

    name: str
    start: list[int]
    params: list[int]
    after: list[int]
    test: tuple[int, int]
    results: dict[int, int]
    body: list[int]
    rest: list[int]


@dataclass(frozen=True)
class Held:
    """A subgraph of a file, in indices of its tensors.

    Attributes:
        params, results: what it begins and ends with. nodes: name, inputs (-1 where one is absent), outputs and
        attributes of each operator. constant: index → value; None where it is computed.
    """

    params: list[int]
    results: list[int]
    nodes: list[tuple[str, list[int], list[int], dict[str, Any]]]
    constant: Callable[[int], Tensor | None]
