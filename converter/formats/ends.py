"""Which 4-D inputs and outputs of a model are images in the order of its convolutions, N C H W."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..ir import Graph, Node, Tensor
from ..ops import row
from ..ops._support.layout import first_perm, last_perm, same_layout


def declare_ends(graph: Graph) -> None:
    """Tags every 4-D end NCHW, but for images that the model itself turns, as those exported from TensorFlow do.

    Such an input is transposed to N C H W before anything but elementwise operators reads it, such an output is the
    transpose of N C H W. They get no tag: every container keeps their order.
    """
    readers, makers = graph.consumers(), graph.producers()

    def made_by(t: Tensor) -> list[Node]:
        return [makers[t]] if t in makers else []

    def fed_to(node: Node) -> list[Tensor]:
        return [t for t in node.inputs if t is not None and not t.is_const]

    for ends, near, further, perm in (
        (graph.inputs, lambda t: readers.get(t, []), lambda n: n.outputs, first_perm(4)),
        (graph.outputs, made_by, fed_to, last_perm(4)),
    ):
        for t in ends:
            turned = _nearest_turns(t, near, further) if t.rank == 4 else set()
            t.layout = "NCHW" if t.rank == 4 and turned != {tuple(perm)} else ""


def _nearest_turns(
    end: Tensor, near: Callable[[Tensor], list[Node]], further: Callable[[Node], Iterable[Tensor]]
) -> set[tuple[int, ...]]:
    """The orders of the 4-D Transposes met first on the way through elementwise operators."""
    perms: set[tuple[int, ...]] = set()
    seen, pending = {end}, [end]
    while pending:
        for node in near(pending.pop()):
            if node.op == "Transpose":
                perms.add(tuple(node.attrs["perm"]))
            elif row(node.op).permute is same_layout:
                fresh = [t for t in further(node) if t.rank == 4 and t not in seen]
                seen.update(fresh)
                pending += fresh
    return perms
