"""IR → plan: native segments, with numpy references between them where a node has no kernel.

A graph of static shapes is one plan; where an output's shape depends on values, what follows is planned at run time,
once per shape that occurs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..converter.errors import DataError, GraphError
from ..converter.execute import execute
from ..converter.ir import Graph, Node, Tensor
from ..converter.ir.limits import check_live
from ..converter.schema.builder import specialize
from .lower import Lowering, program, refusal
from .signed import with_signed_codes
from .step import Step

Values = dict[Tensor, np.ndarray]
_PLANS_KEPT = 8


@dataclass
class NativeSegment:
    """Consecutive native steps: one call."""

    steps: list[Step]
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    program: Any = None

    def run(self, values: Values) -> None:
        values.update(zip(self.outputs, _run(self.program, [values[t] for t in self.inputs])))

    def profile(self, values: Values, spent: Callable[[Node, int], None]) -> None:
        self.run(values)
        times = self.program.profile([values[t] for t in self.inputs])
        nodes = {step.name: step.nodes[-1] for step in self.steps}
        for name, ns in zip(self.program.step_names, times):
            spent(nodes[name] if name in nodes else _fused(name, nodes), ns)


def _run(program: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    try:
        return program.run(arrays)
    except IndexError as error:
        raise DataError(f"the model cannot run on these values: {error}") from error


def _fused(name: str, nodes: dict[str, Node]) -> Node:
    """A stand-in for the nodes that the extension runs as one step, whose names it joins with "+"."""
    parts = [nodes[part] for part in name.split("+") if part in nodes]
    ops = "+".join(dict.fromkeys(part.op for part in parts))
    return Node(ops or "fused", name, [], [])


@dataclass
class ReferenceSegment:
    """One node through its numpy reference."""

    node: Node

    def run(self, values: Values) -> None:
        node = self.node
        arrays = [None if t is None else t.data if t.data is not None else values[t] for t in node.inputs]
        try:
            results = execute(node, arrays)
        except GraphError as error:
            raise DataError(f"cannot run on these values: {error}") from error
        for t, a in zip(node.outputs, results):
            if a.dtype != t.dtype or (t.is_static and a.shape != t.shape):
                actual = f"{a.dtype} {list(a.shape)}"
                raise DataError(f"{node.name} ({node.op}) computes {actual} where {t} was planned")
            values[t] = a if a.flags.c_contiguous else np.ascontiguousarray(a)

    def profile(self, values: Values, spent: Callable[[Node, int], None]) -> None:
        start = time.perf_counter_ns()
        self.run(values)
        spent(self.node, time.perf_counter_ns() - start)


class TailSegment:
    """What can only be planned once the values before it are known."""

    def __init__(self, graph: Graph, make: Callable[[Graph], Plan]) -> None:
        self.graph, self._make = graph, make
        self._plans: dict[tuple[tuple[int, ...], ...], Plan] = {}
        self._lock = threading.Lock()

    def _plan(self, values: Values) -> Plan:
        key = tuple(values[t].shape for t in self.graph.inputs)
        with self._lock:
            plan = self._plans.get(key)
            if plan is None:
                shapes = {t.name: s for t, s in zip(self.graph.inputs, key)}
                try:
                    plan = self._plans[key] = self._make(specialize(self.graph, shapes))
                except GraphError as error:
                    given = ", ".join(f"{n} {list(s)}" for n, s in shapes.items())
                    raise DataError(f"the graph cannot go on with {given}: {error}") from error
                while len(self._plans) > _PLANS_KEPT:
                    self._plans.pop(next(iter(self._plans)))
        return plan

    def run(self, values: Values) -> None:
        results = self._plan(values).run([values[t] for t in self.graph.inputs])
        values.update(zip(self.graph.outputs, results))

    def profile(self, values: Values, spent: Callable[[Node, int], None]) -> None:
        results = self._plan(values).run([values[t] for t in self.graph.inputs], spent)
        values.update(zip(self.graph.outputs, results))


class Plan:
    """A graph ready to run on inputs of its shapes.

    Attributes:
        refusals: node name → why it runs through numpy. dequantized: node name → why its weight does not stay packed.
        whole: the one Program when everything is native.
    """

    def __init__(
        self, graph: Graph, threads: int = 1, rounding: str = "rne_f32", isa: str = "", keep_packed: bool = False
    ) -> None:
        check_live(graph)
        self.graph = graph = with_signed_codes(graph)
        self.refusals: dict[str, str] = {}
        self.segments: list[NativeSegment | ReferenceSegment | TailSegment] = []
        front, tail = _split(graph)
        lowering = Lowering(rounding, keep_packed)
        self.dequantized = lowering.dequantized
        self._build(front, threads, lowering, isa)
        if tail is not None:
            self.segments.append(TailSegment(tail, lambda g: Plan(g, threads, rounding, isa, keep_packed)))
        self.whole: Any = None
        if len(self.segments) == 1 and isinstance(self.segments[0], NativeSegment):
            segment = self.segments[0]
            if segment.inputs == graph.inputs and segment.outputs == graph.outputs:
                self.whole = segment.program

    @property
    def arena_bytes(self) -> int:
        return sum(s.program.arena_bytes for s in self.segments if isinstance(s, NativeSegment))

    def run(self, inputs: Sequence[np.ndarray], spent: Callable[[Node, int], None] | None = None) -> list[np.ndarray]:
        """inputs in the graph's order → outputs. `spent` is told each node's nanoseconds."""
        if self.whole is not None and spent is None:
            return _run(self.whole, inputs)
        values: Values = dict(zip(self.graph.inputs, inputs))
        for segment in self.segments:
            if spent is None:
                segment.run(values)
            else:
                segment.profile(values, spent)
        return [t.data if t.data is not None else values[t] for t in self.graph.outputs]

    def _build(self, graph: Graph, threads: int, lowering: Lowering, isa: str) -> None:
        producers = graph.producers()
        steps: dict[Node, Step] = {}
        for node in graph.nodes:
            step = lowering.lower(node, producers)
            reason = step if isinstance(step, str) else refusal(step, isa)
            if isinstance(step, str) or reason is not None:
                self.refusals[node.name] = str(reason)
            else:
                steps[node] = step
        needed = _needed(graph, steps)
        for group in _group([n for n in graph.nodes if n in needed], steps, producers):
            if group[0] in steps:
                self.segments.append(NativeSegment([steps[n] for n in group]))
            else:
                self.segments += [ReferenceSegment(n) for n in group]
        wanted = set(graph.outputs)
        for segment in reversed(self.segments):
            if isinstance(segment, ReferenceSegment):
                wanted.update(t for t in segment.node.inputs if t is not None)
            if not isinstance(segment, NativeSegment):
                continue
            computed = {t for s in segment.steps for t in s.outputs}
            read = dict.fromkeys(t for s in segment.steps for t in s.inputs if t is not None and t.data is None)
            outside = [t for t in read if t not in computed]
            order = {t: k for k, t in enumerate(graph.inputs)}
            segment.inputs = sorted(outside, key=lambda t: order.get(t, len(order)))
            first = [t for t in dict.fromkeys(graph.outputs) if t in computed]
            segment.outputs = first + [t for s in segment.steps for t in s.outputs if t in wanted and t not in first]
            wanted.update(outside)
            try:
                segment.program = program(segment.steps, segment.inputs, segment.outputs, threads, isa)
            except ValueError as error:
                raise GraphError(f"the plan of {graph.name!r} cannot be built: {error}") from error


def _needed(graph: Graph, steps: dict[Node, Step]) -> set[Node]:
    """Nodes whose outputs are read, once steps have fused the casts before them."""
    wanted, needed = set(graph.outputs), set()
    for node in reversed(graph.nodes):
        if any(t in wanted for t in node.outputs):
            needed.add(node)
            step = steps.get(node)
            wanted.update(t for t in (step.inputs if step else node.inputs) if t is not None)
    return needed


def _group(nodes: list[Node], steps: dict[Node, Step], producers: dict[Tensor, Node]) -> list[list[Node]]:
    """Nodes in an order that keeps each kind together as long as its inputs allow."""
    waiting = {
        n: {producers[t] for t in (steps[n].inputs if n in steps else n.inputs) if t in producers} for n in nodes
    }
    groups: list[list[Node]] = []
    pending = list(nodes)
    done: set[Node] = set()
    native = bool(nodes) and nodes[0] in steps
    while pending:
        group, rest = [], []
        for n in pending:
            if (n in steps) == native and waiting[n] <= done:
                group.append(n)
                done.add(n)
            else:
                rest.append(n)
        if group:
            groups.append(group)
        pending, native = rest, not native
    return groups


def _split(graph: Graph) -> tuple[Graph, Graph | None]:
    """The part whose shapes are all known before a run (with the nodes that end it), and the rest."""
    if all(t.is_static for n in graph.nodes for t in n.outputs):
        return graph, None
    open_tensors: set[Tensor] = set()
    front: list[Node] = []
    tail: list[Node] = []
    for node in graph.nodes:
        if any(t in open_tensors for t in node.inputs):
            tail.append(node)
            open_tensors.update(node.outputs)
            continue
        front.append(node)
        open_tensors.update(t for t in node.outputs if not t.is_static)
    if not tail:
        return graph, None
    computed = set(graph.inputs) | {t for n in front for t in n.outputs}
    crossing = list(dict.fromkeys(t for n in tail for t in n.inputs if t in computed))
    later = [t for t in dict.fromkeys(graph.outputs) if not t.is_const and t not in computed]
    head = Graph(
        graph.name,
        front,
        list(graph.inputs),
        crossing + [t for t in graph.outputs if t in computed and t not in crossing],
    )
    return head, Graph(f"{graph.name}/tail", tail, crossing, later)
