"""Conditions that only a run in memory can check."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from .edit import Edit
from .record import Change, Record


def drop_assertions(graph: Graph) -> Iterator[Record]:
    """Assert(x, condition) ⇒ x.

    The same wherever the condition holds. No format has an operator that ends a run, so the file gives numbers for the
    other condition, too, and the conversion says so.
    """
    edit = Edit(graph)
    told: set[str] = set()
    for node in edit.nodes():
        if node.op != "Assert":
            continue
        x, y = node.required(0), node.outputs[0]
        origin = node.origin or (node.name,)
        edit.emit("Identity", [x], at=node, name=node.name, outputs=[y], origin=origin)
        edit.drop(node)
        message = node.attrs["message"]
        note = "" if message in told else f"{origin[0]}: the file is written without the check that {message}"
        told.add(message)
        yield Change("drop_assertions", node.name, "is not checked", note=note)
    edit.finish()
