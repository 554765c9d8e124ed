"""Values of the float and the integer graph at the frontier of a walk, on some of its samples.

What a node reads is kept until its last reader has run, in memory or, beyond a budget, in a temporary file. A part is
told what to do by commands of names and arrays, so it may be in this process or in another, and one that is lost is
made again from its samples and the commands so far.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, TypeVar

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import QuantParam, quantize_f32
from ...native.session import Session
from ..calibrate.observe import Sample, float_isa
from ..parallel import Workers

BUDGET = 48 << 20  # bytes of activations of one graph kept in memory
_SMALL = 1 << 16  # what is smaller stays in memory anyhow
_BATCH = 4  # samples that a thread takes at once
T = TypeVar("T")
Operation = Callable[..., Callable[[int], Any]]
"""A function of a module: (part, plain arguments) → what is found on the part's k-th sample."""
Fold = Callable[[list[Any], Any], None]
"""A function of a module that appends what was found on a sample to that on samples before: as one where nothing, not a
bit, depends on the order of sums."""
Command = tuple[Any, ...]
"""A method of `PrefixPart` and its plain arguments."""


def folded(found: Iterable[Any], fold: Fold) -> list[Any]:
    before: list[Any] = []
    for one in found:
        fold(before, one)
    return before


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
    """One node, or several in their order, as a program of its own.

    wanted: what it gives of its nodes' outputs; without, those of the last one.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        threads: int,
        rounding: str = "rne_f32",
        isa: str = "",
        wanted: Sequence[Tensor] | None = None,
    ) -> None:
        self.outputs = list(nodes[-1].outputs if wanted is None else wanted)
        nodes = leading_to(nodes, self.outputs)
        inner = {t for n in nodes for t in n.outputs}
        self.inputs = list(
            dict.fromkeys(t for n in nodes for t in n.inputs if t is not None and not t.is_const and t not in inner)
        )
        graph = Graph("node", list(nodes), self.inputs, self.outputs, {"rounding": rounding})
        self.session = Session(graph, threads, isa=isa)

    def __call__(self, values: Callable[[Tensor], np.ndarray]) -> list[np.ndarray]:
        outputs = self.session.run({t.name: values(t) for t in self.inputs})
        return [outputs[t.name] for t in self.outputs]


class PrefixPart:
    """The values on some samples.

    graphs: "real" (where layers are watched in float) and "codes". values: of each of them, by tensor and sample.
    """

    def __init__(self, graphs: Mapping[str, Graph], samples: Iterable[Sample], threads: int, budget: int) -> None:
        self.graphs, self.threads, self.count = graphs, threads, 0
        self.rounding = graphs["codes"].meta.get("rounding", "rne_f32")
        self.values = {side: Store(budget) for side in graphs}
        self._nodes = {side: {n.name: n for n in g.nodes} for side, g in graphs.items()}
        self._tensors = {side: {t.name: t for t in g.tensors()} for side, g in graphs.items()}
        names = [t.name for t in graphs["real" if "real" in graphs else "codes"].inputs]
        for sample in samples:
            for name, codes in zip(names, graphs["codes"].inputs):
                value = np.asarray(sample[name], order="C")
                self.values["codes"].add(codes, _fed(codes, value))
                if "real" in graphs:
                    self.values["real"].add(self.tensor("real", name), value)
            self.count += 1
        self.workers: Workers | None = None

    def node(self, side: str, name: str) -> Node:
        return self._nodes[side][name]

    def tensor(self, side: str, name: str) -> Tensor:
        return self._tensors[side][name]

    def get(self, side: str, name: str, sample: int) -> np.ndarray:
        return self.values[side].get(self._tensors[side][name], sample)

    def each(self, one: Callable[[int], T], count: int) -> Iterator[T]:
        """one(k) of the first samples, in order, several at a time."""
        samples = range(count)
        return map(one, samples) if self.workers is None else self.workers.each(one, samples, _BATCH)

    def single(self, node: Node, isa: str) -> Single:
        """One node as a program for `each`."""
        return Single([node], self._inside, self.rounding, isa)

    @property
    def _inside(self) -> int:
        """Threads that samples leave over, which work within a run."""
        return max(1, self.threads // max(self.count, 1))

    def run(self, side: str, names: Sequence[str], keep: Sequence[str]) -> None:
        """Runs nodes, one behind the other, on all samples and keeps these of their outputs."""
        nodes, wanted = [self.node(side, name) for name in names], [self.tensor(side, name) for name in keep]
        isa = float_isa() if side == "real" else isa_of(*nodes)
        run, values = Single(nodes, self._inside, self.rounding, isa, wanted), self.values[side]
        for arrays in self.each(lambda k: run(partial(values.get, sample=k)), self.count):
            for t, a in zip(run.outputs, arrays):
                values.add(t, a)

    def drop(self, side: str, name: str) -> None:
        self.values[side].drop(self.tensor(side, name))

    def put(self, name: str, data: np.ndarray, quant: QuantParam | None) -> None:
        """Gives a constant of the integer graph another value."""
        t = self.tensor("codes", name)
        t.data, t.quant = data, quant


def _fed(t: Tensor, a: np.ndarray) -> np.ndarray:
    """What the integer graph's input gets: codes, when it takes codes."""
    return a if t.quant is None or t.dtype.kind == "f" else quantize_f32(a, t.quant, t.dtype)


def isa_of(*nodes: Node) -> str:
    """Integer results are the same bits everywhere; float ones only on one instruction set."""
    return "" if all(t.dtype.kind in "iu" for node in nodes for t in node.outputs) else float_isa()


def leading_to(nodes: Sequence[Node], wanted: Iterable[Tensor]) -> list[Node]:
    """Those of the nodes that it takes for the wanted tensors."""
    read, found = set(wanted), list[Node]()
    for node in reversed(nodes):
        if not read.isdisjoint(node.outputs):
            read.update(t for t in node.inputs if t is not None)
            found.append(node)
    return found[::-1]
