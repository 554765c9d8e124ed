"""Walks the integer graph (and, when asked, the float one beside it) node by node on a bounded number of samples.

What a node reads is kept until its last reader has run, in memory or, beyond a budget, in a temporary file. So a
correction that needs the already quantized prefix never runs a prefix again.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, TypeVar

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import quantize_f32
from ...native.session import Session
from ..calibrate.observe import ChannelMeans, Sample, float_isa, observe
from ..parallel import Workers
from .emit import QuantizedGraph

BUDGET = 48 << 20  # bytes of activations of one graph kept in memory
_SMALL = 1 << 16  # what is smaller stays in memory anyhow
_BATCH = 4  # samples that a thread takes at once
T = TypeVar("T")


class Store:
    """Arrays of a tensor, one a sample. What does not fit into the budget goes to a temporary file.

    Several threads may call `get`.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget, self.used = budget, 0
        self._arrays: dict[Tensor, list[np.ndarray | _Spilled]] = {}
        self._files: dict[Tensor, IO[bytes]] = {}

    def add(self, t: Tensor, a: np.ndarray) -> None:
        """Appends the value of the next sample."""
        kept = self._arrays.setdefault(t, [])
        if self.used + a.nbytes <= self.budget or a.nbytes < _SMALL:
            self.used += a.nbytes
            kept.append(a)
            return
        if t not in self._files:
            self._files[t] = tempfile.TemporaryFile(prefix="bitlite-")  # noqa: SIM115
        file = self._files[t]
        kept.append(_Spilled(file, file.tell(), a.shape, a.dtype))
        file.write(np.ascontiguousarray(a).data)
        file.flush()

    def get(self, t: Tensor, sample: int) -> np.ndarray:
        kept = self._arrays[t][sample]
        return kept.read() if isinstance(kept, _Spilled) else kept

    def drop(self, t: Tensor) -> None:
        self.used -= sum(a.nbytes for a in self._arrays.pop(t, ()) if isinstance(a, np.ndarray))
        file = self._files.pop(t, None)
        if file is not None:
            file.close()


@dataclass(frozen=True)
class _Spilled:
    """An array in a file."""

    file: IO[bytes]
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray:
        out = np.empty(self.shape, self.dtype)
        rest, at = out.data.cast("B"), self.offset
        while rest and (n := os.preadv(self.file.fileno(), [rest], at)):
            rest, at = rest[n:], at + n
        return out


class Single:
    """One node (with the cast that its step absorbs) as a program of its own."""

    def __init__(self, nodes: Sequence[Node], threads: int, rounding: str = "rne_f32", isa: str = "") -> None:
        inner = {t for n in nodes for t in n.outputs}
        self.inputs = list(
            dict.fromkeys(t for n in nodes for t in n.inputs if t is not None and not t.is_const and t not in inner)
        )
        self.outputs = list(nodes[-1].outputs)
        graph = Graph("node", list(nodes), self.inputs, self.outputs, {"rounding": rounding})
        self.session = Session(graph, threads, isa=isa)

    def __call__(self, values: Callable[[Tensor], np.ndarray]) -> list[np.ndarray]:
        outputs = self.session.run({t.name: values(t) for t in self.inputs})
        return [outputs[t.name] for t in self.outputs]


class QuantizedPrefixRunner:
    """The two graphs' values at the frontier.

    Attributes:
        layers: by float node, those with a weight in codes. real, codes: the float (with `floats`) and the integer
            graph's tensors per sample. means: of each layer's float output, per channel.
    """

    def __init__(
        self,
        graph: Graph,
        quantized: QuantizedGraph,
        samples: Sequence[Sample],
        threads: int,
        *,
        floats: bool = False,
        budget: int = BUDGET,
    ) -> None:
        self.layers = quantized.weighted_layers | quantized.stored
        outputs = [node.outputs[0] for node in self.layers]
        self.means, self.floats = ChannelMeans(), floats
        observe(graph, samples, outputs, self.means, threads)
        self.graph, self.quantized, self.threads, self.count = graph, quantized, threads, len(samples)
        self._workers: Workers | None = None
        self.real, self.codes = Store(budget), Store(budget)
        self.rounding = quantized.graph.meta.get("rounding", "rne_f32")
        self._left: Counter[Tensor] = Counter()
        for g in (graph, quantized.graph) if floats else (quantized.graph,):
            self._left.update(t for n in g.nodes for t in dict.fromkeys(n.inputs) if t is not None)
        self._left.update(node.outputs[0] for node in self.layers)
        self._left.update(quantized.quantized_of[node.required(0)] for node in quantized.weighted_layers)
        for t, codes in zip(graph.inputs, quantized.graph.inputs):
            for sample in samples:
                value = np.asarray(sample[t.name], order="C")
                self.codes.add(codes, self._fed(codes, value))
                if floats:
                    self.real.add(t, value)
        self._position = 0

    def run(self, layer: Callable[[QuantizedPrefixRunner, Node], None]) -> None:
        """Runs all nodes; `layer` is called for each float node with a weight in both graphs, once its integer inputs
        (and its float output) are there, before its integer form runs."""
        with Workers(min(self.threads, max(self.count, 1))) as self._workers:
            self._run(layer)
        self._workers = None

    def each(self, one: Callable[[int], T], count: int | None = None) -> Iterator[T]:
        """one(k) of each sample, or of the first `count`, in order, several at a time."""
        samples = range(self.count if count is None else count)
        return map(one, samples) if self._workers is None else self._workers.each(one, samples, _BATCH)

    def single(self, nodes: Sequence[Node], isa: str) -> Single:
        """One node as a program for `each`: threads that samples leave over work within a run."""
        return Single(nodes, max(1, self.threads // max(self.count, 1)), self.rounding, isa)

    def _run(self, layer: Callable[[QuantizedPrefixRunner, Node], None]) -> None:
        rest = set(self.layers)
        for node in self.graph.nodes:
            if not rest:
                return
            if self.floats:
                self._step(self.real, [node], float_isa())
            quantized = self.quantized.node.get(node)
            if quantized is not None:
                self._catch_up(quantized)
                if node in rest:
                    layer(self, node)
                    rest.discard(node)
                    if self.floats:
                        self._leave(self.real, node.outputs[0])
                    if node in self.quantized.weighted_layers:
                        self._leave(self.codes, self.quantized.quantized_of[node.required(0)])
                if rest:
                    self._step(self.codes, [quantized], isa_of(quantized))
                self._release(self.codes, quantized)
            if self.floats:
                self._release(self.real, node)

    def _catch_up(self, until: Node) -> None:
        nodes = self.quantized.graph.nodes
        while self._position < len(nodes) and nodes[self._position] is not until:
            node = nodes[self._position]
            self._step(self.codes, [node], isa_of(node))
            self._release(self.codes, node)
            self._position += 1
        self._position += 1

    def _step(self, store: Store, nodes: Sequence[Node], isa: str) -> None:
        run = self.single(nodes, isa)
        for arrays in self.each(lambda k: run(partial(store.get, sample=k))):
            for t, a in zip(run.outputs, arrays):
                if self._left[t]:
                    store.add(t, a)

    @staticmethod
    def _fed(t: Tensor, a: np.ndarray) -> np.ndarray:
        """What the integer graph's input gets: codes, when it takes codes."""
        return a if t.quant is None or t.dtype.kind == "f" else quantize_f32(a, t.quant, t.dtype)

    def _release(self, store: Store, node: Node) -> None:
        for t in dict.fromkeys(node.inputs):
            if t is not None:
                self._leave(store, t)

    def _leave(self, store: Store, t: Tensor) -> None:
        self._left[t] -= 1
        if not self._left[t]:
            store.drop(t)


def isa_of(node: Node) -> str:
    """Integer results are the same bits everywhere; float ones only on one instruction set."""
    return "" if all(t.dtype.kind in "iu" for t in node.outputs) else float_isa()


def subset_size(graph: Graph, quantized: QuantizedGraph, wish: int, budget: int = 1 << 30) -> int:
    """How many samples the runner takes: at most `wish`, fewer (never under 8) of very large activations."""
    per_sample = sum(t.nbytes for n in graph.nodes for t in n.outputs) + sum(
        t.nbytes for n in quantized.graph.nodes for t in n.outputs
    )
    return min(wish, max(8, budget // max(per_sample, 1)))
