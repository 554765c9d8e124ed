"""The nodes that stand for a recurrent layer where a container has no operator of its own for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ...ir import Node, Tensor, is_quantized
from ...numeric.qparams import QuantParam
from .._support.acts import clip_attrs
from .rnn import GATES

_ACTS = {"tanh": "Tanh", "relu": "Relu", "relu6": "Relu6", "sigmoid": "Sigmoid"}


class Emission(Protocol):
    """What nodes are emitted through."""

    def name(self, wish: str) -> str: ...

    def constant(self, data: Any, name: str, quant: QuantParam | None = None) -> Tensor: ...

    def emit(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        attrs: dict[str, Any] | None = None,
        *,
        at: Node | None = None,
        name: str = "",
        origin: tuple[str, ...] = (),
    ) -> Node: ...


class GraphEdit(Emission, Protocol):
    """A graph in which nodes are emitted in place of others; see `passes/edit.py`."""

    def emit(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        attrs: dict[str, Any] | None = None,
        *,
        at: Node | None = None,
        name: str = "",
        outputs: Sequence[Tensor] | None = None,
        origin: tuple[str, ...] = (),
    ) -> Node: ...

    def is_output(self, tensor: Tensor) -> bool: ...

    def readers(self, tensor: Tensor) -> list[Node]: ...


E = TypeVar("E", bound=Emission)


class Parts(Generic[E]):
    """Emits the parts of one node, right before it.

    Attributes:
        place: what the names of new nodes begin with.
    """

    def __init__(self, edit: E, node: Node) -> None:
        self.edit, self.node, self.place = edit, node, node.name
        self.origin = node.origin or (node.name,)

    def make(self, op: str, *inputs: Tensor | None, **attrs: Any) -> Tensor:
        return self.all(op, *inputs, **attrs)[0]

    def all(self, op: str, *inputs: Tensor | None, **attrs: Any) -> list[Tensor]:
        name = self.edit.name(f"{self.place}/{op}")
        return self.edit.emit(op, inputs, attrs, at=self.node, name=name, origin=self.origin).outputs

    def constant(self, data: Any, name: str, dtype: Any = np.float32, quant: QuantParam | None = None) -> Tensor:
        return self.edit.constant(np.asarray(data, dtype), f"{self.node.name}/{name}", quant)

    def split(self, x: Tensor, axis: int, sizes: Sequence[int]) -> list[Tensor]:
        return [x] if len(sizes) == 1 else self.all("Split", x, axis=axis, sizes=list(sizes))

    def sum(self, *terms: Tensor | None) -> Tensor:
        """The sum of those that are there."""
        total, *rest = [t for t in terms if t is not None]
        for t in rest:
            total = self.make("Add", total, t)
        return total

    def bounded(self, x: Tensor, clip: float) -> Tensor:
        return self.make("Clip", x, min=-clip, max=clip) if clip > 0 else x


class NodeParts(Parts[GraphEdit]):
    """Parts that take the place of a node of a graph."""

    def used(self, t: Tensor) -> bool:
        return self.edit.is_output(t) or bool(self.edit.readers(t))

    def become(self, k: int, op: str, inputs: Sequence[Tensor], attrs: dict[str, Any], name: str) -> None:
        """The node's output k becomes that of a new operator."""
        y, name = self.node.outputs[k], self.edit.name(f"{self.node.name}/{name}")
        self.edit.emit(op, inputs, attrs, at=self.node, name=name, outputs=[y], origin=self.origin)


class LayerParts(NodeParts):
    """Parts of an Lstm, Gru or Rnn: its weights and states by direction."""

    def __init__(self, edit: GraphEdit, node: Node) -> None:
        super().__init__(edit, node)
        self.hidden, self.gates = node.attrs["hidden_size"], GATES[node.op]

    def weight(self, t: Tensor, d: int, begin: int = 0, end: int | None = None) -> Tensor:
        """t[d, begin:end] of a weight [D, rows, …] or a bias [D, rows]."""
        if t.data is not None:
            whole = begin == 0 and end in (None, t.data.shape[1])
            q = t.quant
            if q is not None and q.axis is not None:
                fields = {f: getattr(q, f) for f in ("scale", "zero_point", "var_corr", "mean_corr")}
                q = dataclasses.replace(q, axis=0, **{f: v[begin:end] for f, v in fields.items() if v is not None})
            name = t.name if whole and t.data.shape[0] == 1 else f"{t.name}/{d}" if whole else f"{t.name}/{d}_{begin}"
            return self.edit.constant(t.data[d, begin:end], name, q)
        end = t.size(1) if end is None else end
        bounds = (self.constant(v, k, np.int64) for v, k in (([d, begin], "begin"), ([d + 1, end], "end")))
        return self.make("Squeeze", self.make("Slice", t, *bounds, self.constant([0, 1], "axes", np.int64)), axes=[0])

    def state(self, index: int, d: int, directions: int) -> Tensor | None:
        """The first state [1, N, H] of a direction; None for zeros."""
        t = self.node.input(index)
        if t is None or (t.data is not None and not t.data.any()):
            return None
        if directions == 1:
            return t
        if t.data is not None:
            return self.edit.constant(t.data[d : d + 1], f"{t.name}/{d}")
        bounds = (self.constant([v], k, np.int64) for v, k in ((d, "begin"), (d + 1, "end"), (0, "axes")))
        return self.make("Slice", t, *bounds)

    def end(self, k: int, parts: list[Tensor], axis: int) -> None:
        """Parts, one behind the other, become the layer's output k."""
        op, attrs = ("Concat", {"axis": axis}) if len(parts) > 1 else ("Identity", {})
        self.become(k, op, parts, attrs, str(k))


class RealParts(NodeParts):
    """Parts, on reals, of a node that may be in codes."""

    def reals(self, x: Tensor) -> Tensor:
        return self.make("Dequantize", x) if is_quantized(x) else x

    def act(self, x: Tensor, act: str) -> Tensor:
        if act == "relu_n1_to_1":
            return self.make("Clip", x, **clip_attrs(act))
        return x if act == "none" else self.make(_ACTS[act], x)

    def held(self, x: Tensor, like: Tensor | None, clip: float = 0.0) -> Tensor:
        """x within what the codes of `like` can hold and within ±clip, which TFLite counts from code 0 whatever the
        zero point is."""
        if like is None or like.quant is None:
            return self.bounded(x, clip)
        info, scale, zero = np.iinfo(like.dtype), float(like.quant.scale[0]), int(like.quant.zero_point[0])
        most = min(int(clip / scale), info.max) if clip > 0 else info.max
        low = -most if clip > 0 else info.min
        return self.make("Clip", x, min=(low - zero) * scale, max=(most - zero) * scale)

    def end(self, x: Tensor, act: str = "none") -> None:
        """x becomes the node's output."""
        x, y = self.act(x, act), self.node.outputs[0]
        op, attrs = ("Quantize", {"dtype": y.dtype.name}) if is_quantized(y) else ("Identity", {})
        self.become(0, op, [x], attrs, "end")
