"""The IR: a graph of typed tensors in SSA form, channels-last inside the spatial family.

A `Tensor` is a value: a graph input, a constant (`data` is set) or the one output of one node. Its type is storage
dtype, shape and, when quantized, a `QuantParam`. A `Node` names its operator; what that operator means is its row in
`ops/`.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from ..errors import GraphError
from ..numeric.qparams import QuantParam, dequantize
from .names import NameScope

Shape = tuple["int | None", ...]


@dataclass(eq=False, slots=True)
class Tensor:
    """A value of the graph.

    Args:
        name: unique in its graph, the source model's own name where it has one.
        dtype: storage dtype.
        shape: a size per axis, None where it is not known before a run; None when the rank is unknown.
        data: the value of a constant (a view of the mapped file where possible; never written to).
        quant: how stored integers stand for reals; None for plain numbers.
        layout: what a 4-D graph input or output declares to the outside: "NHWC", "NCHW" or "".
        dims: the source's names of symbolic axes of a graph input ("batch"), for messages; empty when all are numbers.
    """

    name: str
    dtype: np.dtype
    shape: Shape | None = None
    data: np.ndarray | None = None
    quant: QuantParam | None = None
    layout: str = ""
    dims: tuple[str, ...] = ()

    @property
    def is_const(self) -> bool:
        return self.data is not None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def is_static(self) -> bool:
        return self.shape is not None and None not in self.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the stored value; 0 when the shape is not known."""
        if self.data is not None:
            return self.data.nbytes
        return math.prod(self.static_shape) * self.dtype.itemsize if self.is_static else 0

    @property
    def known_shape(self) -> Shape:
        """A size or None per axis. Raises GraphError when the rank is unknown."""
        if self.shape is None:
            raise GraphError(f"the rank of {self.name!r} is not known")
        return self.shape

    @property
    def known_rank(self) -> int:
        """Raises GraphError when the rank is unknown."""
        return len(self.known_shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """A size per axis. Raises GraphError when one is not known before a run."""
        sizes = tuple(int(n) for n in self.known_shape if n is not None)
        if len(sizes) != self.known_rank:
            raise GraphError(f"{self.type_text()} {self.name!r} has a size that is not known before a run")
        return sizes

    def size(self, axis: int) -> int:
        """Elements along one axis. Raises GraphError when there is no such axis or its size is not known."""
        size = self.known_shape[axis] if -self.known_rank <= axis < self.known_rank else None
        if size is None:
            raise GraphError(f"the size of axis {axis} of {self.type_text()} {self.name!r} is not known")
        return size

    def sizes(self, first: int, end: int | None = None) -> list[int]:
        """Elements along the axes [first:end]. Raises GraphError when one is not known."""
        return [self.size(axis) for axis in range(self.known_rank)[first:end]]

    @property
    def value(self) -> np.ndarray:
        """What a constant stores. Raises GraphError when the tensor is computed."""
        if self.data is None:
            raise GraphError(f"{self.name!r} is computed at run time and must be a constant")
        return self.data

    @property
    def qparams(self) -> QuantParam:
        """How the stored integers stand for reals. Raises GraphError for plain numbers."""
        if self.quant is None:
            raise GraphError(f"{self.type_text()} {self.name!r} is not quantized")
        return self.quant

    def real(self) -> np.ndarray:
        """The constant's real value: float32 when it is stored quantized, its own data otherwise."""
        coded = self.quant is not None and self.value.dtype.kind in "iu"
        return dequantize(self.value, self.qparams) if coded else self.value

    def check_quant(self) -> None:
        """Raises GraphError when there is not one scale per element of the axis that the parameters name."""
        q = self.quant
        if q is None or q.axis is None or self.shape is None:
            return
        if not 0 <= q.axis < len(self.shape) or self.shape[q.axis] not in (None, len(q.scale)):
            raise GraphError(f"{self.name!r}: {len(q.scale)} scales on axis {q.axis} do not fit shape {self.shape}")

    def type_text(self) -> str:
        """ "float32[1,?,8]" or "int8[1,8]{s=0.02,z=-3}"."""
        shape = "?" if self.shape is None else ",".join("?" if d is None else str(d) for d in self.shape)
        text = f"{self.dtype}[{shape}]"
        q = self.quant
        if q is None:
            return text
        many = len(q.scale) != 1
        detail = f"axis={q.axis},n={len(q.scale)}" if many else f"s={float(q.scale[0]):.8g},z={int(q.zero_point[0])}"
        return f"{text}{{{detail},bits={q.bits}}}"

    def __repr__(self) -> str:
        return f"Tensor({self.type_text()} %{self.name})"


def is_quantized(tensor: Tensor | None) -> TypeGuard[Tensor]:
    """Whether the tensor's stored integers stand for reals."""
    return tensor is not None and tensor.quant is not None and tensor.dtype.kind in "iu"


@dataclass(eq=False, slots=True)
class Node:
    """One operation. `origin` lists the source nodes it stands for, in order: the trail of every fusion."""

    op: str
    name: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    attrs: dict[str, Any] = field(default_factory=dict)
    origin: tuple[str, ...] = ()

    def input(self, index: int) -> Tensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def required(self, index: int) -> Tensor:
        """Input `index`. Raises GraphError when it is absent."""
        tensor = self.input(index)
        if tensor is None:
            raise GraphError(f"{self.name} ({self.op}): input {index} is missing")
        return tensor

    def operands(self, count: int | None = None) -> list[Tensor]:
        """The first `count` inputs, or all of them. Raises GraphError when one is absent."""
        return [self.required(i) for i in range(len(self.inputs) if count is None else count)]

    def __repr__(self) -> str:
        return f"Node({self.op} {self.name!r})"


@dataclass(eq=False, slots=True)
class Graph:
    """Nodes in topological order, with the graph's inputs and outputs.

    `meta` holds what a file says of itself ("source", "producer", "version", "options", …), under "operators" which
    operator of the file each node's name stands for, and under "float16" whether it stores constants so.

    `states` holds the first value of each state that a streaming model keeps from run to run: the last `len(states)`
    inputs are the states before a run, the last `len(states)` outputs, in the same order, the states after it.
    """

    name: str = "main"
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    states: tuple[np.ndarray, ...] = ()

    @property
    def state_pairs(self) -> list[tuple[Tensor, Tensor]]:
        """(before a run, after it) for each state."""
        count = len(self.states)
        return list(zip(self.inputs[len(self.inputs) - count :], self.outputs[len(self.outputs) - count :]))

    @property
    def first_states(self) -> dict[str, np.ndarray]:
        """Input name → value of the states before the first run."""
        return {before.name: first for first, (before, _) in zip(self.states, self.state_pairs)}

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor once, in the order of first appearance."""
        seen: set[int] = set()
        slots: Iterable[Tensor | None] = itertools.chain(
            self.inputs,
            itertools.chain.from_iterable(itertools.chain(n.inputs, n.outputs) for n in self.nodes),
            self.outputs,
        )
        for tensor in slots:
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor

    def constants(self) -> Iterator[Tensor]:
        return (t for t in self.tensors() if t.is_const)

    def producers(self) -> dict[Tensor, Node]:
        return {t: node for node in self.nodes for t in node.outputs}

    def consumers(self) -> dict[Tensor, list[Node]]:
        """The nodes that read each tensor, once per node; a tensor that nothing reads is absent."""
        table: dict[Tensor, list[Node]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(t for t in node.inputs if t is not None):
                table.setdefault(tensor, []).append(node)
        return table

    def replace(self, old: Tensor, new: Tensor) -> None:
        """Makes every reader of `old`, and the graph's outputs, read `new`."""
        for node in self.nodes:
            if old in node.inputs:
                node.inputs = [new if t is old else t for t in node.inputs]
        self.outputs = [new if t is old else t for t in self.outputs]

    def uniquify(self) -> None:
        """Renames tensors and nodes whose names are taken, first come first kept."""
        for group in (list(self.tensors()), self.nodes):
            names, seen = NameScope(x.name for x in group), set()
            for item in group:
                if item.name in seen:
                    item.name = names.take(item.name)
                seen.add(item.name)

    def prune(self) -> None:
        """Drops nodes whose outputs reach nothing."""
        needed = set(self.outputs)
        kept = []
        for node in reversed(self.nodes):
            if any(t in needed for t in node.outputs):
                needed.update(t for t in node.inputs if t is not None)
                kept.append(node)
        self.nodes = kept[::-1]

    def sort(self) -> None:
        """Puts nodes into a stable topological order. Raises GraphError when there is a cycle."""
        producers = self.producers()
        waits: dict[Node, int] = {}
        wakes: dict[Node, list[Node]] = {}
        for node in self.nodes:
            before = {producers[t] for t in node.inputs if t is not None and t in producers}
            waits[node] = len(before)
            for other in before:
                wakes.setdefault(other, []).append(node)
        position = {node: k for k, node in enumerate(self.nodes)}
        ready = [position[n] for n in self.nodes if not waits[n]]
        ordered: list[Node] = []
        while ready:
            node = self.nodes[heapq.heappop(ready)]
            ordered.append(node)
            for other in wakes.get(node, ()):
                waits[other] -= 1
                if not waits[other]:
                    heapq.heappush(ready, position[other])
        if len(ordered) != len(self.nodes):
            stuck = next(n for n in self.nodes if waits[n])
            raise GraphError(f"the graph has a cycle through node {stuck.name!r} ({stuck.op})")
        self.nodes = ordered

    def copy(self) -> Graph:
        """A graph with its own nodes and tensors; constants' data are shared."""
        twin: dict[Tensor, Tensor] = {}

        def of(t: Tensor) -> Tensor:
            if t not in twin:
                twin[t] = Tensor(t.name, t.dtype, t.shape, t.data, t.quant, t.layout, t.dims)
            return twin[t]

        nodes = [
            Node(
                n.op,
                n.name,
                [None if t is None else of(t) for t in n.inputs],
                [of(t) for t in n.outputs],
                dict(n.attrs),
                n.origin,
            )
            for n in self.nodes
        ]
        ends = [of(t) for t in self.inputs], [of(t) for t in self.outputs]
        return Graph(self.name, nodes, *ends, dict(self.meta), self.states)
