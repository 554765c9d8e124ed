"""A graph while a pass rewrites it: who makes and who reads each tensor, kept true step by step.

Every step costs what it touches, not the size of the graph, so that a pass is one sweep however much it rewrites.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..ir import Graph, NameScope, Node, Tensor
from ..numeric.qparams import QuantParam
from ..ops import infer
from ..schema.node import make_node, without_absent_tail


class Edit:
    """Edits `graph` in place; `graph.nodes` follows at `finish`, at the end of the pass at the latest."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._kept = set(graph.outputs)
        self._entries = set(graph.inputs)
        self._gone: set[Node] = set()
        self._before: dict[Node, list[Node]] = {}
        self._after: dict[Node, list[Node]] = {}
        self._last: list[Node] = []
        self._touched = False

    @functools.cached_property
    def _links(self) -> tuple[dict[Tensor, Node], dict[Tensor, dict[Node, None]]]:
        """Who makes and who reads; built when first asked for, since most passes find nothing to ask about."""
        reads: dict[Tensor, dict[Node, None]] = {}
        for node in self.graph.nodes:
            for t in node.inputs:
                if t is not None:
                    reads.setdefault(t, {})[node] = None
        return self.graph.producers(), reads

    @functools.cached_property
    def _names(self) -> NameScope:
        return NameScope(item.name for group in (self.graph.tensors(), self.graph.nodes) for item in group)

    @property
    def _made(self) -> dict[Tensor, Node]:
        return self._links[0]

    @property
    def _reads(self) -> dict[Tensor, dict[Node, None]]:
        return self._links[1]

    def nodes(self) -> Iterator[Node]:
        """The nodes in order as they stood at the start, without those dropped meanwhile."""
        return (node for node in list(self.graph.nodes) if node not in self._gone)

    def alive(self, node: Node) -> bool:
        return node not in self._gone

    def producer(self, tensor: Tensor | None) -> Node | None:
        return None if tensor is None else self._made.get(tensor)

    def readers(self, tensor: Tensor) -> list[Node]:
        return list(self._reads.get(tensor, ()))

    def is_output(self, tensor: Tensor) -> bool:
        return tensor in self._kept

    def is_input(self, tensor: Tensor) -> bool:
        return tensor in self._entries

    def only_reader(self, tensor: Tensor) -> Node | None:
        """The node that alone sees the tensor: None when there are several, or when it is a graph output."""
        readers = self._reads.get(tensor, {})
        return next(iter(readers)) if len(readers) == 1 and tensor not in self._kept else None

    def name(self, wish: str) -> str:
        """`wish`, or a variant of it that neither a tensor nor a node has."""
        return self._names.take(wish)

    def constant(self, data: Any, name: str, quant: QuantParam | None = None) -> Tensor:
        array = np.asarray(data)
        return Tensor(self.name(name), array.dtype, array.shape, array, quant)

    def emit(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        attrs: dict[str, Any] | None = None,
        *,
        at: Node | None = None,
        after: Node | None = None,
        name: str = "",
        outputs: Sequence[Tensor] | None = None,
        origin: tuple[str, ...] = (),
        like: Tensor | None = None,
    ) -> Node:
        """A new node, placed right before `at` or right behind `after`.

        Args:
            attrs: what differs from the row's defaults.
            outputs: existing tensors that it produces from now on, in place of the nodes that made them; new ones of
                the inferred type otherwise.
            like: storage dtype and quantization that a new first output takes over.
        """
        self._touched = True
        node = make_node(op, inputs, attrs, name=name or self.name(op), origin=origin)
        types = infer(node)
        if outputs is not None:
            node.outputs = list(outputs)
            for t, (_, shape) in zip(outputs, types):
                t.shape = shape if t.shape is None else t.shape
        else:
            for k, (dtype, shape) in enumerate(types):
                node.outputs.append(
                    Tensor(self.name(node.name if k == 0 else f"{node.name}:{k}"), np.dtype(dtype), shape)
                )
            if like is not None:
                node.outputs[0].dtype, node.outputs[0].quant = like.dtype, like.quant
        for t in node.outputs:
            self._made[t] = node
        for t in node.inputs:
            if t is not None:
                self._reads.setdefault(t, {})[node] = None
        if at is not None:
            self._before.setdefault(at, []).append(node)
        elif after is not None:
            self._after.setdefault(after, []).append(node)
        else:
            self._last.append(node)
        return node

    def set_inputs(self, node: Node, inputs: Sequence[Tensor | None]) -> None:
        """Gives the node other inputs; producers that nobody needs any more go."""
        self._touched = True
        old, new = node.inputs, without_absent_tail(inputs)
        node.inputs = new
        for t in new:
            if t is not None:
                self._reads.setdefault(t, {})[node] = None
        for t in old:
            if t is not None and t not in new:
                self._reads.get(t, {}).pop(node, None)
                self.release(t)

    def take_outputs(self, node: Node, outputs: Sequence[Tensor]) -> None:
        """Makes `node` the producer of these tensors, instead of its own and of whatever made them."""
        self._touched = True
        for t in node.outputs:
            if t not in outputs and self._made.get(t) is node:
                del self._made[t]
        node.outputs = list(outputs)
        for t in outputs:
            self._made[t] = node

    def redirect(self, old: Tensor, new: Tensor) -> None:
        """Makes every node that reads `old` read `new`. Graph outputs are not touched."""
        self._touched = True
        readers = self._reads.pop(old, {})
        target = self._reads.setdefault(new, {})
        for node in readers:
            node.inputs = [new if t is old else t for t in node.inputs]
            target[node] = None

    def bypass(self, node: Node) -> bool:
        """Removes a node whose output equals its input 0; False where that would cost a graph output its name.

        A graph output keeps its tensor: then the input's producer makes it.
        """
        x, y = node.required(0), node.outputs[0]
        return self.alias(y, x) and self.drop(node)

    def alias(self, old: Tensor, new: Tensor) -> bool:
        """Makes readers of `old` read the equal `new`; False (and nothing done) when both names must stay."""
        if old in self._kept:
            source = self._made.get(new)
            if source is None or new in self._kept or old.dtype != new.dtype or old.quant != new.quant:
                return False
            if old.layout == "" and new.layout:
                old.layout = new.layout
            self.redirect(new, old)
            self.take_outputs(source, [old if t is new else t for t in source.outputs])
            return True
        if old.quant != new.quant or old.dtype != new.dtype:
            return False
        self.redirect(old, new)
        return True

    def drop(self, node: Node) -> bool:
        """Removes a node that nothing needs; producers that only it needed go with it."""
        self._touched = True
        stack = [node]
        while stack:
            item = stack.pop()
            if item in self._gone:
                continue
            self._gone.add(item)
            for t in item.outputs:
                if self._made.get(t) is item:
                    del self._made[t]
            for t in dict.fromkeys(t for t in item.inputs if t is not None):
                self._reads.get(t, {}).pop(item, None)
                source = self._made.get(t)
                if source is not None and self._dead(source):
                    stack.append(source)
        return True

    def _dead(self, node: Node) -> bool:
        return not any(t in self._kept or self._reads.get(t) for t in node.outputs)

    def release(self, tensor: Tensor | None) -> None:
        """Drops the tensor's producer if nothing needs it."""
        source = self.producer(tensor)
        if source is not None and self._dead(source):
            self.drop(source)

    def finish(self) -> None:
        """Writes the node list: new nodes where they were placed, dropped ones left out, order repaired if need be.

        Editing may go on afterwards.
        """
        if not self._touched:
            return
        self._touched = False
        placed: list[Node] = []

        def place(node: Node) -> None:
            stack: list[tuple[Node, bool]] = [(node, False)]
            while stack:
                item, ready = stack.pop()
                if ready:
                    if item not in self._gone:
                        placed.append(item)
                    continue
                stack.extend((a, False) for a in reversed(self._after.get(item, ())))
                stack.append((item, True))
                stack.extend((b, False) for b in reversed(self._before.get(item, ())))

        for node in [*self.graph.nodes, *self._last]:
            place(node)
        self.graph.nodes = placed
        self._before, self._after, self._last = {}, {}, []
        known: set[Tensor] = set()
        for node in placed:
            if any(t in self._made and t not in known for t in node.inputs if t is not None):
                self.graph.sort()
                return
            known.update(node.outputs)


def trail(*nodes: Node) -> tuple[str, ...]:
    """The source nodes that a node made of these stands for, each once, in order."""
    names = [name for node in nodes for name in (node.origin or (node.name,))]
    return tuple(dict.fromkeys(names))


def is_plain(tensor: Tensor | None, kinds: str = "f") -> bool:
    """Whether the tensor holds plain reals: a floating dtype and no quantization."""
    return tensor is not None and tensor.quant is None and tensor.dtype.kind in kinds


def is_float_node(node: Node) -> bool:
    """Whether the node computes on reals: float data in and out (a constant may be a quantized weight)."""
    return all(is_plain(t) for t in node.outputs) and all(
        is_plain(t) for t in node.inputs if t is not None and not t.is_const
    )
