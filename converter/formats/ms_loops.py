"""Loops in `.ms`: three subgraphs each, as the runtime's control flow wants them.

What stands before a loop ends with a call of its condition. The condition calls either the body, which calls the
condition again with what it has computed, or what stands after the loop. Each subgraph has inputs of its own, so a
value that is needed behind a loop goes round with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ..errors import ModelError, UnsupportedError
from ..ir import Graph, Tensor
from ..schema.loops import Found, Loop
from ..schema.writing import Emitted, Writing
from .flat import Record

_CONDITION = ["Call", "Less", "PartialFusion", "PartialFusion", "Switch"]


@dataclass(eq=False)
class Subgraph:
    name: str
    inputs: list[Tensor]
    nodes: list[Emitted] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


def lay_out(graph: Graph, writing: Writing) -> tuple[list[Subgraph], dict[Tensor, Tensor]]:
    """What was emitted as subgraphs, the main one first, and value → the last one that stands for it in them."""
    emitted, stands = writing.emitted, {}
    last_read = {
        t: k for k, operator in enumerate(emitted) for t in operator.inputs if t is not None and not t.is_const
    }
    last_read |= dict.fromkeys((t for t in graph.outputs if not t.is_const), len(emitted))
    here = Subgraph("subgraph_0_main", list(graph.inputs))
    subgraphs, known = [here], dict.fromkeys(graph.inputs)
    for k, operator in enumerate(emitted):
        ins = [t if t is None else stands.get(t, t) for t in operator.inputs]
        loop = operator.extra.get("loop")
        if loop is None:
            operator.inputs = ins
            here.nodes.append(operator)
        else:
            through = [t for t in known if last_read.get(t, -1) > k]
            kept = [i for i, t in enumerate(operator.outputs) if t in last_read]
            start = [*ins, *(stands.get(t, t) for t in through)]
            *more, here = _subgraphs(writing, operator, loop, through, kept, len(subgraphs), here, start, graph)
            stands |= dict(zip(through, here.inputs[len(kept) :]))
            subgraphs += [*more, here]
        known |= dict.fromkeys(operator.outputs)
    here.outputs = [stands.get(t, t) for t in graph.outputs]
    return subgraphs, stands


def _subgraphs(
    writing: Writing,
    operator: Emitted,
    loop: Loop,
    through: list[Tensor],
    kept: list[int],
    first: int,
    before: Subgraph,
    start: Sequence[Tensor | None],
    graph: Graph,
) -> tuple[Subgraph, Subgraph, Subgraph]:
    """The condition, the body and what begins after the loop, numbered from `first`."""

    def named(what: str, k: int) -> str:
        return f"subgraph_{first + k}_{operator.name}_{what}"

    def copies(tensors: Sequence[Tensor], what: str) -> list[Tensor]:
        return [writing.between(t, name=f"{t.name}/{what}") for t in tensors]

    def node(sub: Subgraph, op: str, ins: Sequence[Tensor | None], outs: list[Tensor], **fields: Any) -> None:
        sub.nodes.append(Emitted(op, writing.name(f"{operator.name}/{op}"), list(ins), outs, fields, operator.source))

    def call(sub: Subgraph, what: Tensor) -> None:
        sub.outputs = [Tensor(writing.name(f"{operator.name}/call"), np.dtype(np.float32)) for _ in graph.outputs]
        node(sub, "Call", [what], sub.outputs, is_tail_call=True)

    def partial(sub: Subgraph, index: int, ins: Sequence[Tensor | None]) -> Tensor:
        y = Tensor(writing.name(f"{operator.name}/partial"), np.dtype(np.float32))
        node(sub, "PartialFusion", ins, [y], sub_graph_index=index)
        return y

    call(before, partial(before, first, start))
    inside = copies(loop.params, "test")
    condition = Subgraph(named("test", 0), [*inside, *copies(through, "test")])
    body = Subgraph(named("round", 1), [*loop.params, *copies(through, "round")], list(loop.body))
    results = [loop.params.index(loop.results[i]) for i in kept]
    after = Subgraph(named("after", 2), [*(operator.outputs[i] for i in kept), *copies(through, "after")])
    counted = dict(zip(loop.params, inside))
    flag = Tensor(writing.name(f"{operator.name}/on"), np.dtype(bool), (1,))
    choice = Tensor(writing.name(f"{operator.name}/choice"), np.dtype(np.float32))
    rest = partial(condition, first + 2, [*(inside[i] for i in results), *condition.inputs[len(inside) :]])
    again = partial(condition, first + 1, condition.inputs)
    node(condition, "Less", [counted.get(t, t) for t in loop.test], [flag])
    node(condition, "Switch", [flag, again, rest], [choice])
    call(condition, choice)
    call(body, partial(body, first, [*loop.after, *body.inputs[len(loop.params) :]]))
    return condition, body, after


def find_loop(record: Record, order: list[int], seen: set[int], path: str) -> Found | None:
    """The loop that the nodes `order` end with, None where they end otherwise.

    Args:
        seen: subgraphs that have been read; those of the loop are added.

    Raises:
        UnsupportedError: control flow of another form. ModelError: an index is outside of the file.
    """
    nodes, subgraphs = record.nodes or [], record.subGraph

    def stop(why: str) -> NoReturn:
        raise UnsupportedError(f"control flow in .ms is read as counted loops only: {why}", file=path)

    def ints(values: Any, limit: int) -> list[int]:
        indices = [] if values is None else [int(v) for v in values]
        if any(not 0 <= i < limit for i in indices):
            raise ModelError(f"an index of {indices} is outside 0..{limit - 1}", file=path)
        return indices

    def op(k: int) -> str:
        primitive = nodes[k].primitive
        return "" if primitive is None or primitive.value is None else primitive.value.table

    def tensors(values: Any) -> list[int]:
        return ints(values, len(record.allTensors))

    def partial(k: int) -> tuple[int, list[int], Any]:
        if op(k) != "PartialFusion":
            stop(f"{op(k)} where a subgraph is called")
        index = int(nodes[k].primitive.value.fields().get("sub_graph_index") or 0)
        if not 0 <= index < len(subgraphs):
            raise ModelError(f"subgraph {index} is outside 0..{len(subgraphs) - 1}", file=path)
        return index, tensors(nodes[k].inputIndex), subgraphs[index]

    if not order or op(order[-1]) != "Call":
        return None
    if len(order) < 2:
        stop("a call of nothing")
    first, start, condition = partial(order[-2])
    tests = ints(condition.nodeIndices, len(nodes))
    if sorted(map(op, tests)) != _CONDITION or op(tests[-1]) != "Call":
        stop(f"a condition of {sorted(map(op, tests))}")
    producers = {i: k for k in tests for i in tensors(nodes[k].outputIndex)}
    (less,), (switch,) = ([k for k in tests if op(k) == name] for name in ("Less", "Switch"))
    chosen = tensors(nodes[switch].inputIndex)
    if len(chosen) != 3 or producers.get(chosen[0]) != less or not {*chosen[1:]} <= {*producers}:
        stop("a Switch that does not choose between two subgraphs")
    again, given, body = partial(producers[chosen[1]])
    behind, told, after = partial(producers[chosen[2]])
    inside, params = tensors(condition.inputIndices), tensors(body.inputIndices)
    rounds, afters = ints(body.nodeIndices, len(nodes)), tensors(after.inputIndices)
    if given != inside or len(start) != len(inside) or len(params) != len(inside) or not {*told} <= {*inside}:
        stop("its subgraphs hand on other values than they take")
    if len(rounds) < 2 or op(rounds[-1]) != "Call" or len(afters) != len(told) or {first, again, behind} & seen:
        stop("its body is not followed by its condition")
    seen |= {first, again, behind}
    back, changed, _ = partial(rounds[-2])
    operands = tensors(nodes[less].inputIndex)
    if back != first or len(changed) != len(params) or len(operands) != 2:
        stop("its body is not followed by its condition")
    a, b = (inside.index(i) if i in inside else ~i for i in operands)
    results = {i: inside.index(value) for i, value in zip(afters, told)}
    name = nodes[order[-2]].name or "loop"
    return Found(name, start, params, changed, (a, b), results, rounds[:-2], ints(after.nodeIndices, len(nodes)))
