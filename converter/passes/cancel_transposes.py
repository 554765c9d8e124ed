"""Moves Transposes until they meet and cancel: what makes an NC… source an N…C graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ..ir import Graph, Node, Shape, Tensor
from ..ops._support.layout import first_perm, permuted_shape
from ..schema.node import own_attrs
from .axes import (
    Perm,
    composed,
    inverse,
    is_identity,
    keeps_memory,
)
from .edit import Edit
from .permuted_nodes import (
    Permuted,
    data_inputs,
    node_before,
    operands_fit,
    outputs_agree,
    permuted_node,
    permuted_quant,
)
from .record import Change, Record, Refusal

_NAME = "cancel_transposes"
# How far up one Transpose looks for something to cancel with.
_REACH = 200


def cancel_transposes(graph: Graph) -> Iterator[Record]:
    """Transpose → Op → Transpose⁻¹ ⇒ Op with its axes renamed.

    Op(T(x)) = T(Op'(x)), where Op' is what the operator's row says of transposed data: elementwise operators change
    nothing but their broadcast operands, others rename an axis; constants are transposed as views. First every
    Transpose sinks as far as it can, two in a row become one, inverse ones vanish. Then one that is left rises if on
    its way up more elements stop being transposed than start to be. What moves only axes of size 1 becomes a Reshape.

    Not through operators whose axes have a fixed meaning (Conv, MatMul), not where an operand that is not transposed
    would cost more than is saved, and not through a Reshape that merges axes which the Transpose brought together.
    """
    before = _cost(graph)
    if before == (0, 0):
        return
    nodes, fields = list(graph.nodes), [(n.op, n.inputs, n.outputs, n.attrs, n.origin) for n in graph.nodes]
    move = _Mover(Edit(graph))
    records: list[Record] = []
    for phase in (move.sink, move.rise, move.settle):
        records += phase()
        move.edit.finish()
    if _cost(graph) >= before:
        # Where a Transpose stands without a gain is the source's choice; without this rule rounds would not end.
        graph.nodes = nodes
        for node, (op, inputs, outputs, attrs, origin) in zip(nodes, fields):
            node.op, node.inputs, node.outputs, node.attrs, node.origin = op, inputs, outputs, attrs, origin
        records = [r for r in records if isinstance(r, Refusal)]
    else:
        move.name_values()
    yield from records


def _cost(graph: Graph) -> tuple[int, int]:
    """(elements that are transposed, Transposes)."""
    transposes = [n for n in graph.nodes if n.op == "Transpose"]
    moved = [n for n in transposes if n.inputs[0] is None or not keeps_memory(n.attrs["perm"], n.inputs[0].shape)]
    return sum(_size(n.outputs[0].shape) for n in moved), len(transposes)


class _Mover:
    def __init__(self, edit: Edit) -> None:
        self.edit = edit
        self.seen: list[tuple[Node, Tensor, Tensor, bool]] = []
        self.constants: dict[tuple[Tensor, Perm], Tensor] = {}
        for node in edit.nodes():
            if node.op == "Transpose" and node.inputs[0] is not None:
                source_name = list(node.attrs["perm"]) == first_perm(len(node.attrs["perm"]))
                self.seen.append((node, node.inputs[0], node.outputs[0], source_name))

    def sink(self) -> Iterator[Record]:
        for node in self.edit.nodes():
            if node.op == "Transpose":
                done = self._merge(node)
                if done:
                    yield Change(_NAME, node.name, done)
            elif any(self._transpose(t) is not None for t in node.inputs):
                done = self._sink(node)
                if isinstance(done, Refusal):
                    yield done
                elif done:
                    yield Change(_NAME, node.name, done)

    def _transpose(self, tensor: Tensor | None) -> Node | None:
        node = self.edit.producer(tensor)
        return node if node is not None and node.op == "Transpose" else None

    def _merge(self, node: Node) -> str:
        """Joins a Transpose with the one before it, or with its equal beside it."""
        x = node.required(0)
        done = ""
        source = self._transpose(x)
        if source is not None and source.inputs[0] is not None:
            perm = composed(source.attrs["perm"], node.attrs["perm"])
            x = source.inputs[0]
            if is_identity(perm):
                if self.edit.alias(node.outputs[0], x):
                    self.edit.drop(node)
                    return f"cancels with {source.name!r}"
                return ""
            node.attrs = {"perm": list(perm)}
            self.edit.set_inputs(node, [x])
            done = f"joined with {source.name!r}"
        for other in self.edit.readers(x):
            if other is not node and other.op == "Transpose" and other.attrs["perm"] == node.attrs["perm"]:
                if not self.edit.alias(node.outputs[0], other.outputs[0]):
                    break
                self.edit.drop(node)
                return f"is the same as {other.name!r}"
        return done

    def _sink(self, node: Node) -> str | Refusal:
        """Moves the Transposes in front of a node behind it."""
        sources = [s for t in node.inputs if (s := self._transpose(t)) is not None]
        first = max(sources, key=lambda s: _size(s.outputs[0].shape))
        perm: Perm = tuple(first.attrs["perm"])
        through = permuted_node(node, inverse(perm))
        if through is None:
            return ""
        data = data_inputs(node, through)
        if not operands_fit(node, data, len(perm)):
            return ""
        undo = inverse(perm)
        saved = sum(_size(s.outputs[0].shape) for s in dict.fromkeys(sources) if self._ends_with(s, node))
        cost, mixed = 0, False
        for i in data:
            extra = self._price(node.inputs[i], undo, len(perm))
            cost, mixed = cost + extra, mixed or extra > 0
        if mixed:
            for t, out in zip(node.outputs, through.outs):
                back = [r for r in self.edit.readers(t) if _is_transpose(r, inverse(out))]
                saved += len(back) * _size(t.shape)
                if len(back) != len(self.edit.readers(t)) or self.edit.is_output(t):
                    cost += 0 if keeps_memory(inverse(out), t.shape) else _size(t.shape)
            if cost >= saved:
                loose = next(n for i in data if (n := node.inputs[i]) is not None and self._price(n, undo, len(perm)))
                return Refusal(_NAME, node.name, f"only some of its operands are transposed, {loose.name!r} is not")
        if not self._becomes(node, through, data, undo):
            return ""
        return f"Transpose {first.name!r} moved behind {node.op}"

    def _ends_with(self, source: Node, reader: Node) -> bool:
        readers = self.edit.readers(source.outputs[0])
        return readers == [reader] and not self.edit.is_output(source.outputs[0])

    def _price(self, tensor: Tensor | None, perm: Perm, rank: int) -> int:
        """Elements that start to be transposed when `tensor` is needed in the order `perm`."""
        if tensor is None or tensor.is_const or tensor.shape is None or _size(tensor.shape) == 1:
            return 0
        shape = (1,) * (rank - len(tensor.shape)) + tensor.shape
        if keeps_memory(perm, shape):
            return 0
        source = self._transpose(tensor)
        if source is not None and len(tensor.shape) == rank:
            joint = composed(source.attrs["perm"], perm)
            if keeps_memory(joint, source.required(0).shape):
                return 0
        if len(tensor.shape) == rank and any(_is_transpose(r, perm) for r in self.edit.readers(tensor)):
            return 0
        return _size(tensor.shape)

    def _becomes(self, node: Node, through: Permuted, data: list[int], perm: Perm) -> bool:
        """Rewrites the node onto operands in the order `perm`, and puts Transposes behind its outputs."""
        inputs = list(node.inputs)
        for i, array in through.inputs.items():
            old = inputs[i]
            inputs[i] = self.edit.constant(array, old.name if old is not None else f"{node.name}/{i}")
        for i in data:
            inputs[i] = self._ordered(node.inputs[i], perm, node)
        op = node.op
        if through.shape is not None:
            op = "Reshape"
            shape = self.edit.constant(np.asarray(through.shape, np.int64), f"{node.name}/shape")
            inputs = [inputs[0], shape]
        shapes = [permuted_shape(t.shape, inverse(out)) for t, out in zip(node.outputs, through.outs)]
        trial = Node(op, node.name, inputs, [], own_attrs(through.attrs))
        if not outputs_agree(trial, shapes):
            for t in inputs:
                self.edit.release(t)
            return False
        node.op, node.attrs = op, trial.attrs
        old = list(node.outputs)
        self.edit.set_inputs(node, inputs)
        fresh = []
        for t, out, shape in zip(old, through.outs, shapes):
            if is_identity(out):
                fresh.append(t)
                continue
            fresh.append(Tensor(self.edit.name(t.name), t.dtype, shape, None, permuted_quant(t.quant, inverse(out))))
        self.edit.take_outputs(node, fresh)
        for t, new, out in zip(old, fresh, through.outs):
            if new is t or not (self.edit.readers(t) or self.edit.is_output(t)):
                continue
            transpose = self.edit.emit(
                "Transpose", [new], {"perm": list(out)}, after=node, outputs=[t], origin=node.origin or (node.name,)
            )
            self.seen.append((transpose, new, t, True))
        return True

    def _ordered(self, tensor: Tensor | None, perm: Perm, at: Node) -> Tensor | None:
        """`tensor` (aligned to the rank as in broadcasting) with its axes in the order `perm`."""
        if tensor is None or tensor.shape is None:
            return tensor
        rank, shape = len(perm), tensor.shape
        if _size(shape) == 1 and None not in shape:
            return tensor
        missing = rank - len(shape)
        full = (1,) * missing + shape
        if tensor.data is not None:
            if (tensor, perm) not in self.constants:
                self.constants[tensor, perm] = self._constant(tensor, full, perm)
            return self.constants[tensor, perm]
        source = self._transpose(tensor)
        if source is not None and source.inputs[0] is not None and not missing:
            joint = composed(source.attrs["perm"], perm)
            if is_identity(joint):
                return source.inputs[0]
            return self._transposed(source.inputs[0], joint, at)
        if missing:
            known = [-1 if n is None else n for n in full]
            sizes = self.edit.constant(np.asarray(known, np.int64), f"{tensor.name}/shape")
            tensor = self.edit.emit("Reshape", [tensor, sizes], at=at, like=tensor).outputs[0]
        return self._transposed(tensor, perm, at)

    def _constant(self, tensor: Tensor, full: Shape, perm: Perm) -> Tensor:
        """A constant, broadcast to the shape `full`, in another order of axes: a view of the same data."""
        missing, quant = len(full) - tensor.known_rank, tensor.quant
        if quant is not None and quant.axis is not None:
            quant = dataclasses.replace(quant, axis=quant.axis % tensor.known_rank + missing)
        data = tensor.value.reshape((1,) * missing + tensor.value.shape).transpose(perm)
        quant = permuted_quant(quant, perm)
        if missing and quant is None:
            while data.ndim > 1 and data.shape[0] == 1:
                data = data[0]
        return self.edit.constant(data, tensor.name, quant)

    def _transposed(self, x: Tensor, perm: Perm, at: Node) -> Tensor:
        for reader in self.edit.readers(x):
            if _is_transpose(reader, perm) and reader.outputs[0].quant == permuted_quant(x.quant, perm):
                # Read it where it stands; the order of nodes is repaired at the end of the pass.
                return reader.outputs[0]
        transpose = self.edit.emit("Transpose", [x], {"perm": list(perm)}, at=at, like=x)
        transpose.outputs[0].quant = permuted_quant(x.quant, perm)
        self.seen.append((transpose, x, transpose.outputs[0], False))
        return transpose.outputs[0]

    def rise(self) -> Iterator[Record]:
        for node in reversed(list(self.edit.nodes())):
            if node.op != "Transpose":
                continue
            x, perm = node.required(0), tuple(node.attrs["perm"])
            readers = self.edit.readers(x)
            if (
                self.edit.is_output(x)
                or not all(_is_transpose(r, perm) for r in readers)
                or keeps_memory(perm, x.shape)
            ):
                continue
            saved = len(readers) * _size(x.shape)
            region: list[tuple[Node, Perm]] = []
            cost = self._climb(x, perm, region, saved)
            if cost is not None and cost < saved:
                for member, order in region:
                    self._lift(member, order)
                yield Change(_NAME, node.name, f"moved up past {region[-1][0].name!r}")

    def _climb(self, x: Tensor, perm: Perm, region: list[tuple[Node, Perm]], limit: int) -> int | None:
        """Elements to transpose so that x's producer gives x in the order `perm`; None when it cannot.

        The nodes to rewrite for it are appended to `region`.
        """
        node = self.edit.producer(x)
        if node is None or node.op == "Transpose" or len(node.outputs) != 1 or len(region) >= _REACH:
            return None
        rising = node_before(node, perm)
        if rising is None or not operands_fit(node, rising[1], len(rising[0])):
            return None
        order, data = rising
        region.append((node, order))
        cost = 0
        for i in data:
            t = node.inputs[i]
            cost += 0 if t is None else self._supply(t, order, node, region, limit - cost)
            if cost >= limit:
                return cost
        return cost

    def _supply(self, x: Tensor, perm: Perm, reader: Node, region: list[tuple[Node, Perm]], limit: int) -> int:
        """Elements to transpose so that `reader` gets x in the order `perm`, by whichever way is cheapest."""
        price = self._price(x, perm, len(perm))
        if price == 0 or x.shape is None or len(x.shape) != len(perm) or self.edit.is_output(x):
            return price
        known, source = dict(region), self.edit.producer(x)
        if source is not None and known.get(source) == perm:
            return 0
        if self._transpose(x) is not None:
            return 0 if self.edit.readers(x) == [reader] else price  # The two Transposes become one.
        if not all(_is_transpose(r, perm) or known.get(r) == perm for r in self.edit.readers(x)):
            return price
        mark = len(region)
        cost = self._climb(x, perm, region, min(limit, price))
        if cost is None or cost >= price:
            del region[mark:]
            return price
        return cost

    def _lift(self, node: Node, order: Perm) -> None:
        """Rewrites a node of the region onto operands in the order `order`."""
        through = permuted_node(node, order)
        if through is None:
            return
        y = node.outputs[0]
        if not self._becomes(node, through, data_inputs(node, through), order):
            return
        for reader in self.edit.readers(y):
            if reader.op == "Transpose":
                self._merge(reader)

    def settle(self) -> Iterator[Record]:
        """What only moves axes of size 1 is a Reshape."""
        for node in self.edit.nodes():
            x, y = (node.inputs[0], node.outputs[0]) if node.op == "Transpose" else (None, None)
            if x is None or y is None or y.shape is None or not keeps_memory(node.attrs["perm"], x.shape):
                continue
            if is_identity(node.attrs["perm"]) or y.shape.count(None) > 1:
                continue
            if x.quant is not None and x.quant.axis is not None:
                continue
            sizes = [-1 if n is None else n for n in y.shape]
            if -1 not in sizes and 0 not in sizes:
                sizes[node.attrs["perm"].index(0)] = -1
            shape = self.edit.constant(np.asarray(sizes, np.int64), f"{node.name}/shape")
            node.op, node.attrs = "Reshape", {"zero_copies": False}
            self.edit.set_inputs(node, [x, shape])
            yield Change(_NAME, node.name, "moves only axes of size 1: a Reshape")

    def name_values(self) -> None:
        """A value that lost its NC… view takes the view's name: it is the source's."""
        named: set[Tensor] = set()
        for node, x, y, source_name in self.seen:
            edit = self.edit
            gone = not edit.alive(node) and edit.producer(y) is None and not edit.is_output(y) and not edit.readers(y)
            if gone and source_name and x not in named and edit.producer(x) is not None and not edit.is_output(x):
                x.name, y.name = y.name, x.name
                named.add(x)


def _size(shape: Shape | None) -> int:
    """Elements, an unknown size counted as 1."""
    size = 1
    for n in shape or ():
        size *= 1 if n is None else n
    return size


def _is_transpose(node: Node, perm: Sequence[int]) -> bool:
    return node.op == "Transpose" and tuple(node.attrs["perm"]) == tuple(perm)
