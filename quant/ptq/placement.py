"""Which nodes compute on int8 codes, which stay in float, and why.

Everything with an int8 meaning computes on codes. Two exceptions: the layer that produces a graph output takes codes
and gives float (its accumulator is never rounded to 8 bits, so logits do not tie and nothing is clipped; codes of 16
bits are fine enough and have room), and what only moves or rescales values behind it (Softmax, Reshape) runs in float.
Layers in front of operators in float give float, too: a residual stream that is in float for the outputs' sake then
goes from product to product, and each product reads it in codes of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.qparams import foldable
from ...converter.ops import row
from ...converter.schema.logarithms import on_the_way_to_logarithms
from ...converter.schema.op import quant_spec
from ..selection import REQUESTED
from .masks import mask_carriers

_IDLE = "moves float values between float operators"
_SPECTRAL = "its values reach a logarithm"
LOSSY = "codes there cost the outputs too much"


@dataclass
class Placement:
    """The decision for every node of a graph.

    integer: codes in, codes out. last: codes in, float out, for an output or readers in float. wide: of integer, those
    whose codes have 16 bits. why: the reason of every other node.
    """

    integer: set[Node] = field(default_factory=set)
    last: set[Node] = field(default_factory=set)
    wide: set[Node] = field(default_factory=set)
    why: dict[Node, str] = field(default_factory=dict)

    @property
    def int8_nodes(self) -> set[Node]:
        return self.integer | self.last


def weight_index(node: Node) -> int | None:
    """The input that is a constant float weight, None when the node has none."""
    cell = quant_spec(node)
    if cell.output_of(node) == "same" or len(cell.weights) != 1:
        return None
    w = node.input(cell.weights[0])
    return cell.weights[0] if w is not None and w.is_const and w.dtype.kind == "f" else None


def data_inputs(node: Node) -> list[int]:
    """The inputs that carry activations or constant operands: float, neither weight nor bias."""
    cell, weight = quant_spec(node), weight_index(node)
    return [
        i
        for i, t in enumerate(node.inputs)
        if t is not None and t.dtype.kind == "f" and i != weight and not (weight is not None and i == cell.bias)
    ]


def preserves_qparams(node: Node) -> bool:
    """Whether input and output share scale and zero point."""
    return quant_spec(node).preserves_qparams(node)


def place(
    graph: Graph,
    kept: Iterable[Node] = (),
    lossy: Iterable[Node] = (),
    *,
    wide: Iterable[Node] = (),
    target: str = "bitlite",
    integer_output: bool = False,
) -> Placement:
    """Decides for every node. kept: nodes that a user wants in float. lossy: those that codes would cost the outputs
    too much. wide: those whose activations have 16 bits. integer_output: outputs are codes too."""
    plan, kept, lossy = Placement(wide=set(wide)), set(kept), set(lossy)
    masks = mask_carriers(graph, lambda node: bool(quant_spec(node).weights))
    masks = dict.fromkeys(on_the_way_to_logarithms(graph), _SPECTRAL) | masks
    fed = set(graph.inputs)
    for node in graph.nodes:
        reason = REQUESTED if node in kept else _obstacle(node, target) or masks.get(node, "")
        if fed.isdisjoint(t for t in node.inputs if t is not None):
            reason = reason or "computes a constant, too large to be stored"
        else:
            fed.update(node.outputs)
        if not reason and node in plan.wide and not _has_wide_form(node):
            reason = "no int16 form"
        if not reason and node in lossy:
            reason = LOSSY
        if reason:
            plan.why[node] = reason
        else:
            plan.integer.add(node)
    if not integer_output:
        _end_in_float(graph, plan)
    _leave_idle_moves(graph, plan)
    if target == "bitlite":
        _give_float(graph, plan)
    plan.wide &= plan.integer
    return plan


def _has_wide_form(node: Node) -> bool:
    cell = quant_spec(node)
    return cell.int16 or cell.output_of(node) == "same"


def _obstacle(node: Node, target: str) -> str:
    cell, definition = quant_spec(node), row(node.op)
    if not cell.int8 or (definition.integer is None and not cell.table):
        return "no int8 form"
    if target == "mslite" and (fault := cell.foreign_to_mslite(node)):
        return fault
    if any(t.dtype != np.float32 for t in node.outputs):
        return f"computes {node.outputs[0].dtype}"
    if any(0 in (t.shape or ()) for t in node.outputs):
        return "its output is empty"
    inputs = [node.required(i) for i in data_inputs(node)]
    if not inputs or any(t.dtype != np.float32 for t in inputs):
        return "its input is not float32"
    if not foldable(node.attrs.get("act", "none")):
        return f"fused {node.attrs['act']} is not a clamp"
    if cell.no_int8_form is not None and (fault := cell.no_int8_form(node)):
        return fault
    weight = weight_index(node)
    if cell.conv_family and weight is None:
        return "its weight is computed"
    bias = node.input(cell.bias) if cell.bias is not None else None
    if bias is not None and (weight is None or not bias.is_const):
        return "its bias is computed" if not bias.is_const else "a bias without a constant weight"
    if any(t is not None and t.is_const and t.quant is not None and t.dtype.kind in "iu" for t in node.inputs):
        return "holds a weight that is quantized already"
    for i in (*data_inputs(node), *(() if weight is None else (weight,))):
        t = node.inputs[i]
        if t is not None and t.data is not None and not np.isfinite(t.data).all():
            return f"constant {t.name!r} holds NaN or infinity"
    return ""


def foreign_to_mslite(plan: Placement) -> list[str]:
    """Operators on codes that MindSpore Lite has no kernel for, or one that goes wrong by more than rounding."""
    return sorted({n.op for n in plan.integer if not quant_spec(n).mslite_close and _obstacle(n, "mslite")})


def wants_fixed_sizes(plan: Placement) -> list[str]:
    """Nodes on codes that MindSpore Lite refuses: it looks at the sizes before it knows them."""
    refused = (n for n in plan.integer if quant_spec(n).mslite_static)
    return sorted(n.name for n in refused if not n.required(0).is_static)


def _end_in_float(graph: Graph, plan: Placement) -> None:
    producers, consumers = graph.producers(), graph.consumers()
    pending, stuck = list(dict.fromkeys(graph.outputs)), list[Tensor]()
    done, moved = set[Tensor](), True
    while pending or moved:
        if not pending:
            # What was read as codes a moment ago may be free now.
            pending, stuck, moved = stuck, [], False
            continue
        t = pending.pop()
        node = producers.get(t)
        if node is None or node in plan.last or t in done:
            continue
        if any(c in plan.integer for y in node.outputs for c in consumers.get(y, ())):
            stuck.append(t)
            continue
        moved = True
        done.add(t)
        if _passive(node):
            if node in plan.integer:
                plan.integer.discard(node)
                plan.why[node] = "after the last layer, whose output is float"
            pending += [x for x in node.inputs if x is not None and not x.is_const]
        elif node in plan.integer and node not in plan.wide:
            plan.integer.discard(node)
            plan.last.add(node)


def _passive(node: Node) -> bool:
    """Moves or rescales values: what may follow the last layer."""
    cell = quant_spec(node)
    data = [t for t in node.inputs if t is not None and not t.is_const]
    if not data or (len(data) > 1 and cell.output_of(node) != "same") or weight_index(node) is not None:
        return False
    each_by_itself = data[0].shape is not None and data[0].shape == node.outputs[0].shape
    return cell.output_of(node) in ("same", "fixed") or cell.table or not cell.int8 or each_by_itself


def _leave_idle_moves(graph: Graph, plan: Placement) -> None:
    """Moves of float values to float readers would only add casts."""
    producers, consumers = graph.producers(), graph.consumers()
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            if node not in plan.integer or quant_spec(node).output_of(node) != "same":
                continue
            sources = [t for i in data_inputs(node) if (t := node.inputs[i]) is not None and not t.is_const]
            from_codes = any(t not in producers or producers[t] in plan.integer for t in sources)
            to_codes = any(c in plan.int8_nodes for t in node.outputs for c in consumers.get(t, ()))
            if not from_codes or (not to_codes and all(t not in producers for t in sources)):
                plan.integer.discard(node)
                plan.why[node] = _IDLE
                changed = True


def _give_float(graph: Graph, plan: Placement) -> None:
    """A layer that only operators in float read, perhaps through moves, gives float, as the last one does: its sums are
    exact, and what they are rounded to would be undone at once. Not in front of a cast whose codes what comes quantized
    reads, nor for MindSpore Lite, which computes such a layer in float."""
    consumers = graph.consumers()
    for node in graph.nodes:
        if node not in plan.integer or node in plan.wide or weight_index(node) is None:
            continue
        behind, moves = [node], list[Node]()
        while behind:
            outputs = behind.pop().outputs
            readers = [c for t in outputs for c in consumers.get(t, ())]
            if not readers or any(t in graph.outputs for t in outputs) or any(map(_gives_bytes, readers)):
                break
            codes = [c for c in readers if c in plan.int8_nodes]
            if not all(c in plan.integer and _moves_alone(c) for c in codes):
                break
            behind += codes
            moves += codes
        else:
            plan.integer.difference_update([node, *moves])
            plan.last.add(node)
            plan.why |= dict.fromkeys(moves, _IDLE)


def _gives_bytes(node: Node) -> bool:
    """As a cast to codes does."""
    return any(t.dtype.kind in "iu" and t.dtype.itemsize == 1 for t in node.outputs)


def _moves_alone(node: Node) -> bool:
    """Whether it moves the values of one tensor, every one of them."""
    data = [t for i in data_inputs(node) if (t := node.inputs[i]) is not None and not t.is_const]
    return quant_spec(node).output_of(node) == "same" and len(data) == 1 and data[0].nbytes == node.outputs[0].nbytes


def tensors_in_codes(graph: Graph, plan: Placement) -> list[Tensor]:
    """Every tensor that exists as codes, in order: what int8 layers read and write, constant operands among them."""
    tensors: dict[Tensor, None] = {}
    for node in graph.nodes:
        if node in plan.int8_nodes:
            tensors.update(dict.fromkeys(node.required(i) for i in data_inputs(node)))
        if node in plan.integer:
            tensors.update(dict.fromkeys(node.outputs))
    return list(tensors)


def activation_bits(graph: Graph, plan: Placement) -> dict[Tensor, int]:
    """The width of every tensor in codes: that of what makes it, else 16 where any node reads it so."""
    producers = graph.producers()
    made = {t for node in plan.wide for t in node.outputs}
    read = {node.required(i) for node in plan.wide for i in data_inputs(node)}
    wide = made | {t for t in read if producers.get(t) not in plan.integer}
    return {t: 16 if t in wide else 8 for t in tensors_in_codes(graph, plan)}
