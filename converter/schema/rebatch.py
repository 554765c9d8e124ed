"""Another number of samples than a model declares: the constants that hold the declared number follow it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import GraphError
from ..ir import Graph, Node, Shape, Tensor
from .builder import Builder, specialize

Sizes = tuple[int, ...]

# The initial states of recurrent layers: input → the axis along which they hold the samples.
_STATES: dict[str, dict[int, int]] = {"Lstm": {5: 1, 6: 1}, "Gru": {5: 1}, "Rnn": {5: 1}}

# What computes along axes that an attribute names, so that samples there are no longer samples.
_ALONG = {"Softmax", "LogSoftmax", "Hardmax", "Reduce", "LpNorm", "CumSum", "ArgMax", "ArgMin", "TopK", "Concat"}

# How often another way of reading the sizes of Reshapes is tried, where nodes behind them do not take the first.
_TRIES = 32


def batch_of(graph: Graph, shapes: Mapping[str, Sizes]) -> tuple[int, int] | None:
    """(declared, given) numbers of samples of inputs of these shapes; None where the shapes differ otherwise.

    Samples stand along the first axis of an input at least; another may have them elsewhere, as states do.
    """
    pairs: list[tuple[int, int]] = []
    first = False
    for t in graph.inputs:
        given = shapes.get(t.name, t.shape)
        if given is None or not t.is_static or len(given) != len(t.static_shape):
            return None
        axes = _differing(t.static_shape, given)
        if len(axes) > 1:
            return None
        pairs += [(t.static_shape[k], given[k] or 0) for k in axes]
        first = first or axes == [0]
    declared = math.gcd(*(n for n, _ in pairs))
    if not first or not declared:
        return None
    if any(n and m * declared % n for n, m in pairs):
        return None
    counts = {m * declared // n if n else 0 for n, m in pairs}
    count = counts.pop()
    return None if counts else (declared, count)


def rebatch(graph: Graph, shapes: Mapping[str, Shape], batch: tuple[int, int]) -> Graph:
    """A copy of the graph for inputs of these shapes, which hold batch[1] samples where batch[0] are declared.

    As `specialize`, but a Reshape to constant sizes keeps the samples apart: the size that holds them follows.
    Tensors whose sizes are not all known are left to what their nodes say.

    Raises:
        GraphError: the graph cannot run on these shapes, or a node computes over the samples.
    """
    declared, given = batch
    # Where there are no samples at all, the sizes that follow them are found with some.
    found = _Samples(declared, given or 2 * declared)
    probed = {t.name: _probed(t, shapes[t.name], found) for t in graph.inputs if t.name in shapes}
    for tries in range(1, _TRIES + 1):
        try:
            specialize(graph, probed, change=found.adapt)
            break
        except GraphError:
            if tries == _TRIES or not found.next():
                raise
    return specialize(graph, dict(shapes), change=lambda *at: found.change(given, *at))


def _probed(t: Tensor, shape: Shape, found: _Samples) -> Shape:
    def size(declared: int | None, given: int | None) -> int | None:
        if declared is None or given is None or given == declared:
            return given
        return declared // found.declared * found.given

    return tuple(map(size, t.shape or (), shape))


class _Samples:
    """Where the samples stand in each tensor of a graph that is gone through, and which constants hold their number.

    Samples are one factor of one axis. The product of all sizes before that factor, in row-major order, is what a
    Reshape keeps (`before`); of an axis that others share, `outer` is the part before the samples.
    """

    def __init__(self, declared: int, given: int) -> None:
        self.declared, self.given = declared, given
        self.outer: dict[Tensor, int] = {}
        self.sizes: dict[Node, tuple[Sizes, int]] = {}  # Reshape → its declared sizes, the axis that follows
        self.moves: dict[Node, tuple[Sizes, int, int]] = {}  # Reshape → its declared sizes, the samples' axes
        self.choices: dict[Node, int] = {}  # Reshape → which of the ways that its sizes leave open is taken
        self.met: list[tuple[Node, int]] = []  # Reshapes in order, and how many ways each leaves open
        self.turned: set[Node] = set()  # recurrent layers of one step, which got one sample without a Transpose
        self.repeats: dict[tuple[Node, int], int] = {}  # node, input → the axis of a constant that is repeated

    def adapt(self, node: Node, args: list[Tensor | None], build: Builder) -> None:
        """Finds what holds samples among the node's constants, and changes it for `given` samples."""
        moved = [
            (a, _differing(a.shape, b.shape)) for a, b in zip(node.inputs, args) if a is not None and b is not None
        ]
        old, axes = next(((t, axes) for t, axes in moved if axes), (None, []))
        if old is None:
            return
        outer, axis = self.outer.get(old, 1), axes[0]
        if node.op == "Reshape" and _constant(args[1]) and node.outputs[0].is_static:
            outer = self._reshape(node, old, axis, outer)
        if node.op == "BroadcastTo" and node.outputs[0].is_static and _constant(args[1]):
            target = node.outputs[0].static_shape
            self.sizes[node] = (target, axis + len(target) - len(old.static_shape))
        if node.op in _STATES and axis == 0 and outer == 1 and old.static_shape[:2] == (self.declared,) * 2:
            self.turned.add(node)
        elif _mixes(node, axis, len(old.static_shape)):
            raise GraphError(f"{node.name} ({node.op}) computes over axis {axis}, which holds the samples")
        states = _STATES.get(node.op, {})
        if node.op == "Concat":
            states = dict.fromkeys(range(len(args)), axis)
        self.repeats.update({(node, k): at for k, at in states.items() if k < len(args) and _constant(args[k])})
        self.outer.update(dict.fromkeys(node.outputs, outer))
        self.change(self.given, node, args, build)

    def change(self, given: int, node: Node, args: list[Tensor | None], build: Builder) -> None:
        """Changes the constants that were found to hold `given` samples."""
        if node in self.sizes:
            (target, axis), shape = self.sizes[node], node.required(1)
            sizes = np.array(target, np.int64)
            sizes[axis] = sizes[axis] // self.declared * given
            args[1] = Tensor(build.name(shape.name), sizes.dtype, sizes.shape, sizes)
        if node in self.moves:
            target, before, axis = self.moves[node]
            args[:2] = _moved(build, node, args[0], target, before, axis)
        if node in self.turned:
            args[0] = build.emit("Transpose", [args[0]], {"perm": [1, 0, 2]}, name=f"{node.name}/samples")[0]
        for k, t in enumerate(args):
            if t is not None and (node, k) in self.repeats:
                axis, value = self.repeats[node, k], t.value
                rows = np.arange(value.shape[axis] // self.declared * given) % max(value.shape[axis], 1)
                value = np.take(value, rows, axis)
                args[k] = Tensor(build.name(t.name), t.dtype, value.shape, value, t.quant, t.layout)

    def _reshape(self, node: Node, x: Tensor, axis: int, outer: int) -> int:
        """Chooses the size that follows; returns what stands before the samples within it."""
        shape, target = x.static_shape, node.outputs[0].static_shape
        before = math.prod(shape[:axis]) * outer
        fits = [k for k in range(len(target)) if _holds(target, k, before, self.declared)]
        own = [k for k, n in enumerate(target) if n == self.declared]
        same = [k for k in fits if k == axis and target[: k + 1] == shape[: k + 1]]
        alone = [k for k in fits if k in own and math.prod(target[:k]) == before]
        apart = own if outer == 1 and shape[axis] == self.declared else []
        ways = dict.fromkeys([*same, *alone, *(k - len(target) for k in apart if k not in alone), *fits])
        if not ways:
            return outer
        self.choices[node] = min(self.choices.get(node, 0), len(ways) - 1)
        self.met.append((node, len(ways)))
        k = list(ways)[self.choices[node]]
        self.moves.pop(node, None)
        self.sizes.pop(node, None)
        if k < 0:
            self.moves[node] = (target, axis, k + len(target))
            return 1
        self.sizes[node] = (target, k)
        return before // math.prod(target[:k])

    def next(self) -> bool:
        """Takes the next way at the last Reshape that was met and has one; whether there was any."""
        while self.met:
            node, ways = self.met.pop()
            if self.choices[node] + 1 < ways:
                self.choices[node] += 1
                self.met.clear()
                return True
            del self.choices[node]
        return False


def _moved(build: Builder, node: Node, x: Any, target: Sizes, before: int, axis: int) -> list[Tensor]:
    """Inputs of a Reshape that stands for a Transpose as well, which one sample alone does not need.

    A pass or an exporter that saw one sample has left the Transpose of its axis out.
    """
    rank, rest = len(x.shape), [n for k, n in enumerate(target) if k != axis]
    first = [before, *(k for k in range(rank) if k != before)]
    back = [*range(1, axis + 1), 0, *range(axis + 1, len(target))]
    sizes = np.array([x.static_shape[before], *rest], np.int64)
    x = build.emit("Transpose", [x], {"perm": first}, name=f"{node.name}/samples")[0]
    x = build.emit("Reshape", [x, build.constant(sizes)], name=f"{node.name}/each")[0]
    x = build.emit("Transpose", [x], {"perm": back}, name=f"{node.name}/back")[0]
    return [x, build.constant(np.array(x.static_shape, np.int64))]


def _mixes(node: Node, axis: int, rank: int) -> bool:
    """Whether the node computes over this axis of its input."""
    if node.op in _STATES:
        return axis == 0
    if node.op == "LayerNorm":
        return axis >= node.attrs["axis"] % rank
    if node.op not in _ALONG:
        return False
    axes = node.attrs.get("axes", node.attrs.get("axis"))
    named = axes if isinstance(axes, (list, tuple)) else [] if axes is None else [axes]
    return not named or axis in {k % rank for k in named}


def _holds(target: Sizes, k: int, before: int, declared: int) -> bool:
    """Whether `declared` samples with `before` elements ahead of them can be a factor of size k."""
    ahead = math.prod(target[:k])
    return ahead > 0 and before % ahead == 0 and target[k] % (before // ahead * declared) == 0


def _constant(t: Tensor | None) -> bool:
    return t is not None and t.is_const


def _differing(old: Shape | None, new: Shape | None) -> list[int]:
    """The axes whose sizes differ; none where these are not known or not as many."""
    if old is None or new is None or len(old) != len(new) or None in old or None in new:
        return []
    return [k for k, (a, b) in enumerate(zip(old, new)) if a != b]
