"""How much a model may make of itself: what stands in a file must not decide alone how much memory is taken.

Constants are bounded by the file; codes of one value, which take no room there, may be `TENSOR` bytes in all. An
operator's output may be as large as `TENSOR` bytes, or `GROWTH` times what it is made from where that is more; what
lives at once while a graph runs may be as large as `LIVE`, or `LIVE_GROWTH` times the graph's inputs and constants. A
tensor has at most `RANK` axes. BITLITE_MEMORY_MB sets both `TENSOR` and `LIVE`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..errors import GraphError, ModelError
from . import Graph, Shape, Tensor

TENSOR, GROWTH = 512 << 20, 8
CODES = 1024  # what a byte of coded weights may become: more than of gaps of 10 bits, SPARSE's widest
LIVE, LIVE_GROWTH = 2 << 30, 64
RANK = 32


def _chosen(usual: int) -> int:
    given = os.environ.get("BITLITE_MEMORY_MB", "")
    return int(given) << 20 if given.isdecimal() else usual


def size_of(shape: Sequence[int | None] | None, itemsize: int) -> int:
    """Bytes of a tensor, exactly however large; 0 where the shape is not known."""
    total = itemsize
    for n in (None,) if shape is None else shape:
        if n is None:
            return 0
        total *= int(n)
    return total


def check_rank(shape: Sequence[int | None], file: str, name: str) -> None:
    """Raises ModelError where a file's tensor has more axes than are allowed."""
    if len(shape) > RANK:
        raise ModelError(f"a tensor of {len(shape)} axes; {RANK} are allowed", file=file, node=name)


class FreeCodes:
    """How many bytes of codes a file has made of next to nothing; a file has one of these."""

    def __init__(self, file: str) -> None:
        self.file, self.decoded = file, 0

    def check(self, name: str, stored: int, shape: Sequence[int], itemsize: int) -> None:
        """Raises ModelError where `stored` bytes may not become codes of this shape, before any are made."""
        if size_of(tuple(shape), 1) <= CODES * stored:
            return
        self.decoded += size_of(tuple(shape), itemsize)
        if self.decoded > _chosen(TENSOR):
            raise ModelError(
                f"{stored} bytes become {list(shape)}, {self.decoded >> 20} MB of such in the file, and"
                f" {_chosen(TENSOR) >> 20} MB are allowed",
                hint="BITLITE_MEMORY_MB=<megabytes> in the environment if the model means it",
                file=self.file,
                node=name,
            )


def check_output(name: str, shape: Shape | None, itemsize: int, inputs: Sequence[Tensor | None]) -> None:
    """Raises GraphError where a node's output is larger than it may be, or has more axes."""
    if len(shape or ()) > RANK:
        raise GraphError(f"{name} makes a tensor of {len(shape or ())} axes; {RANK} are allowed")
    if size_of(tuple(n if n is None else n or 1 for n in shape or ()), itemsize) >= 1 << 62:
        raise GraphError(f"{name} makes a tensor of {list(shape or ())}, whose sizes are beyond what is addressed")
    size = size_of(shape, itemsize)
    if size <= TENSOR and size <= _chosen(TENSOR):
        return
    given = sum(size_of(t.shape, t.dtype.itemsize) for t in inputs if t is not None)
    allowed = max(_chosen(TENSOR), GROWTH * given)
    if size > allowed:
        raise GraphError(
            f"{name} makes a tensor of {list(shape or ())}, {size >> 20} MB, and {allowed >> 20} MB are allowed",
            hint="BITLITE_MEMORY_MB=<megabytes> in the environment if the model means it",
        )


def check_live(graph: Graph) -> None:
    """Raises GraphError where more than is allowed lives at once while the graph runs in its order."""
    sizes = {t: size_of(t.shape, t.dtype.itemsize) for n in graph.nodes for t in n.outputs}
    if sum(sizes.values()) <= min(LIVE, _chosen(LIVE)):
        return
    last = {t: k for k, n in enumerate(graph.nodes) for t in n.inputs if t is not None and t in sizes}
    last |= {t: len(graph.nodes) for t in graph.outputs if t in sizes}
    dying: dict[int, int] = {}
    for t, k in last.items():
        dying[k] = dying.get(k, 0) + sizes[t]
    live = most = 0
    for k, n in enumerate(graph.nodes):
        live += sum(sizes[t] for t in n.outputs)
        most = max(most, live)
        live -= dying.get(k, 0) + sum(sizes[t] for t in n.outputs if t not in last)
    source = sum(size_of(t.shape, t.dtype.itemsize) for t in (*graph.inputs, *graph.constants()))
    allowed = max(_chosen(LIVE), LIVE_GROWTH * source)
    if most > allowed:
        raise GraphError(
            f"a run needs {most >> 20} MB at once, and {allowed >> 20} MB are allowed",
            hint="smaller inputs, or BITLITE_MEMORY_MB=<megabytes> in the environment",
        )
