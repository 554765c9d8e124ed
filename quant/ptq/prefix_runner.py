"""Walks the integer graph (and, when asked, the float one beside it) node by node on a bounded number of samples.

A correction that needs the already quantized prefix never runs a prefix again. The samples are all in this process, or
shared out among the workers of a pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ...converter.ir import Graph, Node, Tensor
from ..calibrate.observe import ChannelMeans
from ..calibrate.spread import Chosen, observe_all
from ..cluster.pool import Workforce
from ..parallel import Workers
from .emit import QuantizedGraph
from .prefix_part import BUDGET, Fold, Operation, PrefixPart, folded
from .spread_prefix import SpreadPrefix


class Values(Protocol):
    """What holds the values of all samples. do: a command of `PrefixPart`. each: what an operation finds on the first
    `count` samples, in order, folded where there is a `fold`. changed: what is constant in it has changed, perhaps."""

    def do(self, *command: Any) -> None: ...
    def changed(self, node: Node) -> None: ...
    def each(
        self, operation: Operation, arguments: tuple[Any, ...], count: int, fold: Fold | None
    ) -> Iterator[Any]: ...


class _Here:
    """All samples in this process, several at a time by its threads."""

    def __init__(self, part: PrefixPart) -> None:
        self.part = part

    def do(self, *command: Any) -> None:
        getattr(self.part, command[0])(*command[1:])

    def changed(self, node: Node) -> None:
        """The part works on the graph itself."""

    def each(self, operation: Operation, arguments: tuple[Any, ...], count: int, fold: Fold | None) -> Iterator[Any]:
        found = self.part.each(operation(self.part, *arguments), count)
        return found if fold is None else iter(folded(found, fold))


class QuantizedPrefixRunner:
    """The two graphs' values at the frontier.

    Attributes:
        layers: by float node, those with a weight in codes. means: of each layer's float output, per channel. count: of
            samples. threads: of this process.
    """

    def __init__(
        self,
        graph: Graph,
        quantized: QuantizedGraph,
        samples: Chosen,
        workers: Workforce,
        *,
        floats: bool = False,
        budget: int = BUDGET,
    ) -> None:
        self.layers = quantized.weighted_layers | quantized.stored
        self.means, self.floats = ChannelMeans(), floats
        observe_all(graph, samples, [node.outputs[0] for node in self.layers], self.means, workers)
        self.graph, self.quantized, self.threads, self.count = graph, quantized, workers.threads, len(samples)
        self._left: Counter[Tensor] = Counter()
        for g in (graph, quantized.graph) if floats else (quantized.graph,):
            self._left.update(t for n in g.nodes for t in dict.fromkeys(n.inputs) if t is not None)
        self._left.update(node.outputs[0] for node in self.layers)
        self._left.update(quantized.quantized_of[node.required(0)] for node in quantized.weighted_layers)
        graphs = ({"real": graph} if floats else {}) | {"codes": quantized.graph}
        if workers.pool is not None:
            self._part, self._values = None, SpreadPrefix(graphs, samples, workers.pool, budget)
        else:
            self._part = PrefixPart(graphs, samples, self.threads, budget)
            self._values = _Here(self._part)
        self._position = 0

    def run(self, layer: Callable[[QuantizedPrefixRunner, Node], None]) -> None:
        """Runs all nodes; `layer` is called for each float node with a weight in both graphs, once its integer inputs
        (and its float output) are there, before its integer form runs."""
        if self._part is None:
            self._run(layer)
            return
        with Workers(min(self.threads, max(self.count, 1))) as self._part.workers:
            self._run(layer)
        self._part.workers = None

    def each(
        self, operation: Operation, *arguments: Any, count: int | None = None, fold: Fold | None = None
    ) -> Iterator[Any]:
        """What the operation finds on each sample, or on the first `count`, in order. fold: some samples' as one."""
        return self._values.each(operation, arguments, self.count if count is None else count, fold)

    def changed(self, node: Node) -> None:
        """To be told before an operation runs the layer's integer form: its constants may have other values."""
        self._values.changed(self.layers[node].node)

    def _run(self, layer: Callable[[QuantizedPrefixRunner, Node], None]) -> None:
        rest = set(self.layers)
        for node in self.graph.nodes:
            if not rest:
                return
            if self.floats:
                self._step("real", node)
            quantized = self.quantized.node.get(node)
            if quantized is not None:
                self._catch_up(quantized)
                if node in rest:
                    layer(self, node)
                    rest.discard(node)
                    if self.floats:
                        self._leave("real", node.outputs[0])
                    if node in self.quantized.weighted_layers:
                        self._leave("codes", self.quantized.quantized_of[node.required(0)])
                if rest:
                    self._step("codes", quantized)
                self._release("codes", quantized)
            if self.floats:
                self._release("real", node)

    def _catch_up(self, until: Node) -> None:
        nodes = self.quantized.graph.nodes
        while self._position < len(nodes) and nodes[self._position] is not until:
            node = nodes[self._position]
            self._step("codes", node)
            self._release("codes", node)
            self._position += 1
        self._position += 1

    def _step(self, side: str, node: Node) -> None:
        if side == "codes":
            self._values.changed(node)
        self._values.do("run", side, node.name, [t.name for t in node.outputs if self._left[t]])

    def _release(self, side: str, node: Node) -> None:
        for t in dict.fromkeys(node.inputs):
            if t is not None:
                self._leave(side, t)

    def _leave(self, side: str, t: Tensor) -> None:
        self._left[t] -= 1
        if not self._left[t] and not t.is_const:
            self._values.do("drop", side, t.name)


def subset_size(graph: Graph, quantized: QuantizedGraph, wish: int, budget: int = 1 << 30) -> int:
    """How many samples the runner takes: at most `wish`, fewer (never under 8) of very large activations."""
    per_sample = sum(t.nbytes for n in graph.nodes for t in n.outputs) + sum(
        t.nbytes for n in quantized.graph.nodes for t in n.outputs
    )
    return min(wish, max(8, budget // max(per_sample, 1)))
