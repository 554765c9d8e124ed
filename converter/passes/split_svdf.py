"""TFLite's SVDF as a product and a sum, for containers that have nothing of the kind."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from ..ops.recurrent.svdf import why_not_parted, write_parts
from .edit import Edit
from .record import Change, Record, Refusal


def split_svdf(graph: Graph) -> Iterator[Record]:
    """Svdf ⇒ FullyConnected → Mul → Reshape → Reduce(sum) → Add.

    Its state is empty before a run, so only the newest column of the time weights counts. Codes are cast to reals
    before, and back behind.

    Not for time weights or a bias that a run computes.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "Svdf":
            continue
        if why := why_not_parted(node):
            yield Refusal("split_svdf", node.name, why)
            continue
        write_parts(edit, node)
        edit.drop(node)
        yield Change("split_svdf", node.name, "is a product and a sum")
    edit.finish()
