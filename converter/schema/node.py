"""Nodes as their rows want them: the only place where defaults are filled in and arguments are checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir import Node, Tensor
from .op import REQUIRED, row


def make_node(
    op: str,
    inputs: Sequence[Tensor | None],
    attrs: dict[str, Any] | None = None,
    *,
    name: str,
    outputs: Sequence[Tensor] = (),
    origin: tuple[str, ...] = (),
) -> Node:
    """A node of its row's arity with every attribute of the row.

    Args:
        inputs: None where one is absent; absent ones at the end are left out.
        attrs: what differs from the row's defaults.
    Raises:
        GraphError: there is no such operator, or the row does not take these inputs or attributes.
    """
    definition = row(op)
    full = {k: v for k, v in definition.attrs.items() if v is not REQUIRED} | (attrs or {})
    node = Node(op, name, without_absent_tail(inputs), list(outputs), own_attrs(full), origin)
    definition.check(node)
    return node


def without_absent_tail(inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The inputs up to the last that is present: runtimes count what is stored."""
    count = next((k for k in range(len(inputs), 0, -1) if inputs[k - 1] is not None), 0)
    return list(inputs[:count])


def own_attrs(attrs: dict[str, Any]) -> dict[str, Any]:
    """The attributes with lists of their own: a row's shape rule may resolve pads in place."""
    return {k: list(v) if isinstance(v, list) else v for k, v in attrs.items()}
