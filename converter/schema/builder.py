"""Appends nodes to a graph: defaults filled in, outputs inferred, constants folded as they appear.

Readers, `specialize` and the passes that create nodes all go through `Builder.emit`, so that a node is never without
its attributes and types.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import GraphError
from ..ir import Graph, NameScope, Node, Shape, Tensor
from ..ir.limits import check_output
from ..numeric.qparams import QuantParam
from .node import make_node
from .op import computing, evaluate, infer, row

# What exporters compute on the side (shapes, indices, masks) is folded while reading; weights are left to the pass.
_FOLD_WHILE_READING = 1 << 16


class Builder:
    """Builds `graph` node by node.

    Args:
        graph: where nodes go.
        fold_limit: outputs of at most so many elements are computed at once when all inputs are constants.
    """

    def __init__(self, graph: Graph, fold_limit: int = _FOLD_WHILE_READING) -> None:
        self.graph = graph
        self.fold_limit = fold_limit
        self._tensors = NameScope(t.name for t in graph.tensors())
        self._nodes = NameScope(n.name for n in graph.nodes)
        self._permuted: dict[tuple[Tensor, tuple[int, ...]], Tensor] = {}
        self.codes: dict[Tensor, Tensor] = {}  # plain view → the quantized tensor behind it; see ops/qparam_views.py
        # Tensor that stands for complex numbers, which no node computes → their real and imaginary parts.
        self.complex: dict[Tensor, tuple[Tensor, Tensor]] = {}
        # The variables of a file that keeps values from run to run, by name; see ops/variables.py.
        self.variables: dict[str, Any] = {}
        # Nodes read by unrolling loops, which the reader limits.
        self.unrolled = 0
        # Plain constants whose source type is narrower than a byte: their bits.
        self.narrow: dict[Tensor, int] = {}

    def name(self, wish: str) -> str:
        """A tensor name: `wish`, with a number when it is taken; reserved from now on."""
        return self._tensors.take(wish)

    def rename(self, old: str, wish: str) -> str:
        """Gives the name `old` back and takes `wish` (a variant when another tensor has it)."""
        return self._tensors.rename(old, wish)

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Takes back the nodes appended in the block when it raises."""
        count = len(self.graph.nodes)
        try:
            yield
        except BaseException:
            del self.graph.nodes[count:]
            raise

    def reserve(self, names: Iterable[str], anew: bool = False) -> None:
        """Keeps names for tensors still to come, which get them by `rename`; `anew` also those that were given up."""
        self._tensors.reserve(names, anew)

    def constant(
        self, data: np.ndarray | Sequence[int] | Sequence[float] | float, name: str = "const", dtype: Any = None
    ) -> Tensor:
        array = np.asarray(data, dtype)
        return Tensor(self.name(name), array.dtype, array.shape, array)

    def permuted(self, x: Tensor, perm: tuple[int, ...]) -> Tensor:
        """The constant `x` with its axes reordered, a view of its data; one tensor per (x, perm), so ties survive."""
        turned = self._permuted.get((x, perm))
        if turned is None:
            if x.data is None or sorted(perm) != list(range(x.data.ndim)):
                raise GraphError(f"constant {x.name!r} of shape {x.shape} cannot take the axis order {list(perm)}")
            data, q = x.data.transpose(perm), x.quant
            if q is not None and q.axis is not None:
                q = dataclasses.replace(q, axis=perm.index(q.axis))
            turned = self._permuted[x, perm] = Tensor(x.name, x.dtype, data.shape, data, q)
        return turned

    def input(self, name: str, dtype: Any, shape: Any, **rest: Any) -> Tensor:
        tensor = Tensor(self.name(name), np.dtype(dtype), None if shape is None else tuple(shape), **rest)
        self.graph.inputs.append(tensor)
        return tensor

    def emit(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        attrs: dict[str, Any] | None = None,
        *,
        name: str = "",
        outputs: Sequence[str] = (),
        origin: tuple[str, ...] = (),
        fold: bool = True,
    ) -> list[Tensor]:
        """Appends a node and returns its outputs, or constants when it could be computed.

        Args:
            attrs: what differs from the row's defaults. name, outputs: wished names. origin: source nodes.
            fold: whether a node with constant inputs is computed instead.
        """
        definition = row(op)
        node = make_node(
            op, inputs, attrs, name=self._nodes.take(name or op), origin=origin or ((name,) if name else ())
        )
        folded = self._fold(node) if fold else None
        if folded is not None:
            types = [(a.dtype, a.shape) for a in folded]
        else:
            types = infer(node)
        for k, (dtype, shape) in enumerate(types):
            check_output(f"{node.name} ({op})", shape, np.dtype(dtype).itemsize, node.inputs)
            wish = outputs[k] if k < len(outputs) and outputs[k] else (node.name if k == 0 else f"{node.name}:{k}")
            tensor = Tensor(self.name(wish), np.dtype(dtype), None if shape is None else tuple(shape))
            if folded is not None:
                tensor.data = folded[k]
            elif definition.quant is not None and definition.quant.output == "same":
                tensor.quant = _carried(node.inputs[0], tensor)
            node.outputs.append(tensor)
        if folded is None:
            self.graph.nodes.append(node)
        return node.outputs

    def _fold(self, node: Node) -> tuple[np.ndarray, ...] | None:
        definition = row(node.op)
        if not definition.foldable:
            return None
        with computing(node):
            value = definition.known_value(node) if definition.known_value else None
        if value is not None:
            return value
        if not node.inputs or any(t is not None and (not t.is_const or t.quant is not None) for t in node.inputs):
            return None
        if sum(t.data.size for t in node.inputs if t is not None) > self.fold_limit:  # pyright: ignore
            return None
        types = infer(node)
        sizes = [None if s is None or None in s else int(np.prod(s, dtype=np.int64)) for _, s in types]  # pyright: ignore
        if any(s is not None and s > self.fold_limit for s in sizes):
            return None
        with np.errstate(all="ignore"):
            return evaluate(node, [None if t is None else t.data for t in node.inputs])


def _carried(x: Tensor | None, y: Tensor) -> QuantParam | None:
    """What an operator that only moves or chooses elements leaves of its input's parameters."""
    if x is None or x.is_const or x.quant is None or x.quant.axis is not None or x.dtype != y.dtype:
        return None
    return x.quant


def specialize(
    graph: Graph,
    shapes: Mapping[str, Shape] | None = None,
    fold_limit: int = _FOLD_WHILE_READING,
    change: Callable[[Node, list[Tensor | None], Builder], None] | None = None,
) -> Graph:
    """A copy of `graph` for given input shapes, every type inferred anew and what became constant folded.

    Args:
        change: given a node of `graph` and the copy's inputs of it, may put others in their place.
    Raises:
        GraphError: a shape is given for a name that is no input, or does not fit the model.
    """
    shapes = shapes or {}
    fresh = Graph(graph.name, meta=dict(graph.meta), states=graph.states)
    unknown = set(shapes) - {t.name for t in graph.inputs}
    if unknown:
        raise GraphError(f"{unknown.pop()!r} is not an input; inputs are {[t.name for t in graph.inputs]}")
    value: dict[Tensor, Tensor] = {}
    for t in graph.inputs:
        shape = shapes.get(t.name, t.shape)
        value[t] = Tensor(t.name, t.dtype, shape, None, t.quant, t.layout, t.dims)
        value[t].check_quant()
        fresh.inputs.append(value[t])
    build = Builder(fresh, fold_limit)  # which knows the inputs' names
    for t in graph.constants():
        value[t] = Tensor(t.name, t.dtype, t.shape, t.data, t.quant, t.layout)
        build.name(t.name)
    for node in graph.nodes:
        lost = next((t for t in node.inputs if t is not None and t not in value), None)
        if lost is not None:
            raise GraphError(f"{node.name} ({node.op}) reads {lost.name!r} before anything produces it")
        args = [None if t is None else value[t] for t in node.inputs]
        if change is not None:
            change(node, args, build)
        results = build.emit(
            node.op, args, node.attrs, name=node.name, outputs=[t.name for t in node.outputs], origin=node.origin
        )
        for old, new in zip(node.outputs, results):
            new.quant, new.layout = old.quant, old.layout
            if new.data is None:
                new.dtype = old.dtype
            new.check_quant()
            value[old] = new
    fresh.outputs = [value[t] for t in graph.outputs]
    return fresh
