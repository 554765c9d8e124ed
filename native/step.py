"""One step of a native program, as Python sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..converter.ir import Node, Tensor


@dataclass
class Step:
    """A native step before its tensors have numbers.

    Args:
        inputs, outputs: the tensors it touches; a constant here may exist for this step alone.
        nodes: the IR nodes it stands for, for profiles and messages.
    """

    op: str
    name: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    attrs: dict[str, Any]
    nodes: tuple[Node, ...] = ()
