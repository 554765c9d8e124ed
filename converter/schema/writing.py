"""What a row's writer fills: the container's operators in order, with the tensors they need."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ..errors import GraphError, Hint, UnsupportedError
from ..ir import Graph, NameScope, Node, Tensor
from .logarithms import before_logarithms
from .node import without_absent_tail

NEWEST_OPSET = 23
"""Of the ONNX files that are written."""


@dataclass(eq=False, slots=True)
class Emitted:
    """One operator of the target container.

    Args:
        op: the container's name of it. source: the IR node that it stands for.
        fields: attribute name → value, by the container's own names.
        version: operator version where the container wants one; None lets the container decide.
    """

    op: str
    name: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    fields: dict[str, Any]
    source: Node
    version: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def required(self, index: int) -> Tensor:
        """Input `index`. Raises GraphError when it is absent."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise GraphError(f"{self.name} ({self.op}): input {index} is missing")
        return tensor


@dataclass(frozen=True)
class Written:
    """A file that was written: its bytes, and per stored constant the form it took and the bytes of its value.

    note: what else its user wants to know.
    """

    bytes: int
    tensors: dict[str, tuple[str, int]]
    note: str = ""


class Writing:
    """Collects a container's operators while rows write their nodes.

    Attributes:
        container: "ms", "tflite", "onnx" or "c". emitted: what has been written so far, in execution order.
        options: what the target was asked for ("opset", …).
    """

    def __init__(self, container: str, graph: Graph, **options: Any) -> None:
        self.container, self.graph, self.options = container, graph, options
        self.emitted: list[Emitted] = []
        self._names = NameScope(t.name for t in graph.tensors())
        self._permuted: dict[tuple[Tensor, tuple[int, ...]], Tensor] = {}
        self._producers: dict[Tensor, Node] | None = None
        self._spectral: set[str] | None = None

    def node(
        self,
        op: str,
        source: Node,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor] | None = None,
        *,
        fields: dict[str, Any] | None = None,
        version: int | None = None,
        **extra: Any,
    ) -> Emitted:
        """Appends one operator; `outputs` are the source node's unless given."""
        outs = list(source.outputs if outputs is None else outputs)
        name = source.name if outs[:1] == source.outputs[:1] else self.name(f"{source.name}/{op}")
        emitted = Emitted(op, name, without_absent_tail(inputs), outs, dict(fields or {}), source, version, extra)
        self.emitted.append(emitted)
        return emitted

    def constant(self, data: Any, dtype: Any = None, name: str = "const") -> Tensor:
        """A constant that exists only in the written file (a perm, a shape)."""
        array = np.asarray(data, dtype)
        return Tensor(self.name(name), array.dtype, array.shape, array)

    def between(self, like: Tensor, shape: Any = None, name: str = "") -> Tensor:
        """An intermediate value that exists only in the written file, typed as `like`."""
        return Tensor(
            self.name(name or f"{like.name}/part"),
            like.dtype,
            like.shape if shape is None else shape,
            None,
            like.quant,
        )

    def producer(self, x: Tensor) -> Node | None:
        """The node that computes x; None for inputs and constants."""
        if self._producers is None:
            self._producers = {t: node for node in self.graph.nodes for t in node.outputs}
        return self._producers.get(x)

    def reaches_logarithm(self, node: Node) -> bool:
        """Whether the layer's values reach a logarithm, so that its inputs must not be taken to 8 bits."""
        if self._spectral is None:
            self._spectral = {n.name for n in before_logarithms(self.graph)}
        return node.name in self._spectral

    def permuted(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        """The constant x with its axes reordered for this container: one tensor per (x, perm), so ties survive."""
        key = (x, tuple(perm))
        if list(perm) == list(range(len(perm))):
            return x
        if key not in self._permuted:
            if x.data is None:
                raise UnsupportedError(f"{x.name!r} must be a constant to be stored in another axis order")
            data, q = x.data.transpose(perm), x.quant
            if q is not None and q.axis is not None:
                q = dataclasses.replace(q, axis=list(perm).index(q.axis))
            self._permuted[key] = Tensor(x.name, x.dtype, data.shape, data, q)
        return self._permuted[key]

    def within(self, graph: Graph) -> Writing:
        """Collects the operators of another graph apart from these, with names that these do not have."""
        inner = Writing(self.container, graph, **self.options)
        inner._names = self._names
        return inner

    def refuse(self, node: Node, reason: str, hint: Hint = "") -> NoReturn:
        raise UnsupportedError(f"{node.name} ({node.op}): {reason}; cannot be written to {self.container}", hint=hint)

    def name(self, wish: str) -> str:
        """A name that nothing in the file has: `wish`, with a number when it is taken."""
        return self._names.take(wish)
