"""Walks the integer graph (and, when asked, the float one beside it) layer by layer on a bounded number of samples.

A correction that needs the already quantized prefix never runs a prefix again; what lies between two layers runs as one
program, of which only what later nodes read is kept. The samples are all in this process, or shared out among the
workers of a pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...converter.ir import Graph, Node, Tensor
from ...converter.schema.node import make_node
from ..calibrate.observe import ChannelMeans
from ..calibrate.spread import Chosen, observe_all
from ..calibrate.thresholds import Range
from ..cluster.pool import Workforce
from ..parallel import Workers
from .islands import work_of
from .placement import Placement, activation_bits
from .prefix_part import BUDGET, Fold, Operation, PrefixPart, folded, isa_of, leading_to
from .quantized_graph import QuantizedGraph
from .spread_prefix import SpreadPrefix

_STEPS = 3  # of a layer: its rows, and twice the mean of its output
_STEP = 6e7  # multiplications that a thread does while a step goes to workers and back: 5 ms


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


@dataclass
class _Waiting:
    """Nodes that are to run as one program. given: what they give, in order. unread: what nobody reads once they have
    run."""

    nodes: list[Node] = field(default_factory=list)
    given: dict[Tensor, None] = field(default_factory=dict)
    unread: list[Tensor] = field(default_factory=list)

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        self.given.update(dict.fromkeys(node.outputs))


class QuantizedPrefixRunner:
    """The two graphs' values at the frontier.

    floats: layers whose float inputs are to be there; results: their float output, too. means: of each layer's float
    output, per channel, where they are known (`means_of`); bounds: of outputs whose means are those of what is within.

    Attributes:
        layers: by float node, those with a weight in codes. count: of samples. threads: of this process.
    """

    def __init__(
        self,
        graph: Graph,
        quantized: QuantizedGraph,
        samples: Chosen,
        workers: Workforce,
        *,
        floats: Collection[Node] = (),
        results: bool = False,
        means: ChannelMeans | None = None,
        bounds: Mapping[Tensor, Range] | None = None,
        budget: int = BUDGET,
    ) -> None:
        self.layers = quantized.weighted_layers | quantized.stored
        if not walks_there(graph, len(self.layers), len(samples), workers):
            workers = Workforce(workers.threads)
        self.means = means or means_of(graph, self.layers, samples, workers, bounds or {})
        self.graph, self.quantized, self.threads, self.count = graph, quantized, workers.threads, len(samples)
        self._floats, self._results = set(floats), results
        self._left: Counter[Tensor] = Counter(t for node in self._floats for t in self._watched(node))
        self._real = set(leading_to(graph.nodes, self._left))
        for nodes in (self._real, quantized.graph.nodes):
            self._left.update(t for n in nodes for t in dict.fromkeys(n.inputs) if t is not None)
        self._left.update(quantized.quantized_of[node.required(0)] for node in quantized.weighted_layers)
        graphs = ({"real": graph} if floats else {}) | {"codes": quantized.graph}
        self._waiting = {side: _Waiting() for side in graphs}
        if workers.pool is not None:
            self._part, self._values = None, SpreadPrefix(graphs, samples, workers.pool, budget)
        else:
            self._part = PrefixPart(graphs, samples, self.threads, budget)
            self._values = _Here(self._part)
        self._position = 0

    def run(self, layer: Callable[[QuantizedPrefixRunner, Node], None]) -> None:
        """Runs all nodes; `layer` is called for each float node with a weight in both graphs, once its integer inputs
        (and what is watched of it in float) are there, before its integer form runs."""
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

    def _watched(self, node: Node) -> list[Tensor]:
        """What is to be there of a layer in float."""
        return [t for t in dict.fromkeys([*node.inputs, *(node.outputs if self._results else ())]) if t is not None]

    def _run(self, layer: Callable[[QuantizedPrefixRunner, Node], None]) -> None:
        rest = set(self.layers)
        for node in self.graph.nodes:
            if not rest:
                return
            if node in self._real:
                self._add("real", node)
            quantized = self.quantized.node.get(node)
            if quantized is not None:
                self._catch_up(quantized)
                if node in rest:
                    self._show(layer, node)
                    rest.discard(node)
                if rest:
                    self._add("codes", quantized)
                self._release("codes", quantized)
            if node in self._real:
                self._release("real", node)

    def _show(self, layer: Callable[[QuantizedPrefixRunner, Node], None], node: Node) -> None:
        self._flush("codes")
        if node in self._floats:
            self._flush("real")
        layer(self, node)
        if node in self._floats:
            for t in self._watched(node):
                self._leave("real", t)
        if node in self.quantized.weighted_layers:
            self._leave("codes", self.quantized.quantized_of[node.required(0)])

    def _catch_up(self, until: Node) -> None:
        nodes = self.quantized.graph.nodes
        while self._position < len(nodes) and nodes[self._position] is not until:
            node = nodes[self._position]
            self._add("codes", node)
            self._release("codes", node)
            self._position += 1
        self._position += 1

    def _add(self, side: str, node: Node) -> None:
        """Has a node run, once what it gives is wanted."""
        before = self._waiting[side].nodes
        if side == "codes" and before and isa_of(node) != isa_of(before[-1]):
            self._flush(side)
        self._waiting[side].add(node)

    def _flush(self, side: str) -> None:
        waiting, self._waiting[side] = self._waiting[side], _Waiting()
        if kept := [t.name for t in waiting.given if self._left[t]]:
            if side == "codes":
                for node in waiting.nodes:
                    self._values.changed(node)
            self._values.do("run", side, [n.name for n in waiting.nodes], kept)
        for t in waiting.unread:
            self._values.do("drop", side, t.name)

    def _release(self, side: str, node: Node) -> None:
        for t in dict.fromkeys(node.inputs):
            if t is not None:
                self._leave(side, t)

    def _leave(self, side: str, t: Tensor) -> None:
        """Forgets a tensor that its last reader has read, once what waits has run."""
        self._left[t] -= 1
        waiting = self._waiting[side]
        if self._left[t] or t.is_const or t in waiting.given:
            return
        if waiting.nodes:
            waiting.unread.append(t)
        else:
            self._values.do("drop", side, t.name)


def walks_there(graph: Graph, layers: int, count: int, workers: Workforce) -> bool:
    """Whether the workers of a pool take such a walk along on `count` samples, or threads here, which wait for nobody:
    by what they are foreseen to gain on it and to lose on the way, for the values are the same."""
    if workers.pool is None:
        return False
    work = count * sum(map(work_of, graph.nodes))
    return work / workers.threads - work / workers.pool.lanes > _STEPS * layers * _STEP


def means_of(
    graph: Graph,
    layers: Collection[Node],
    samples: Chosen,
    workers: Workforce,
    bounds: Mapping[Tensor, Range] | None = None,
) -> ChannelMeans:
    """The means of the float outputs of layers, per channel, over all samples. bounds: what some are clipped to before,
    as their codes do that stand for no more."""
    means, within = ChannelMeans(), dict[Tensor, Tensor]()
    view = Graph(graph.name, [], list(graph.inputs), list(graph.outputs), dict(graph.meta))
    for node in graph.nodes:
        view.nodes.append(node)
        t = node.outputs[0]
        if node in layers and t in (bounds or {}):
            low, high = (bounds or {})[t]
            clipped = Tensor(f"{t.name}/within", t.dtype, t.shape, None, None, t.layout)
            view.nodes.append(make_node("Clip", [t], {"min": low, "max": high}, name=clipped.name, outputs=[clipped]))
            within[t] = clipped
    observe_all(view, samples, [within.get(node.outputs[0], node.outputs[0]) for node in layers], means, workers)
    means.rename({clipped: t for t, clipped in within.items()})
    return means


def most_samples(graph: Graph, wish: int, budget: int = 1 << 30) -> int:
    """How many samples a walk takes that keeps most of its activations in a temporary file: at most `wish`, fewer,
    never under 8, where those of a node's inputs and outputs alone are beyond the budget."""
    at_once = (sum(t.nbytes for t in (*n.outputs, *n.inputs) if t is not None and not t.is_const) for n in graph.nodes)
    return min(wish, max(8, budget // max(*at_once, 1, 1)))


def subset_size(graph: Graph, others: int, wish: int, budget: int = 1 << 30) -> int:
    """How many samples the runner takes: at most `wish`, fewer (never under 8) of very large activations. others: bytes
    of the integer graph's (`bytes_given`)."""
    return min(wish, max(8, budget // max(bytes_given(graph) + others, 1)))


def bytes_given(graph: Graph) -> int:
    """What the nodes of a graph give for a sample."""
    return sum(t.nbytes for n in graph.nodes for t in n.outputs)


def bytes_foreseen(graph: Graph, plan: Placement) -> int:
    """What the nodes of the integer graph by this plan will give for a sample: codes, casts and what stays float."""
    bits = activation_bits(graph, plan)
    crossing = [t for t in graph.inputs if t in bits]
    given = [*crossing, *(t for n in graph.nodes for t in n.outputs)]
    read = sum(t.nbytes for t in graph.outputs if t in bits)
    return read + sum(t.nbytes * bits[t] // 32 if t in bits else t.nbytes for t in given)
