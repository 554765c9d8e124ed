"""Recurrent layers as products and gates of each step, or as simpler layers, where a container lacks an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..ir import Graph, Node
from ..ops.recurrent.ms import ms_lacks
from ..ops.recurrent.ms_loop import why_no_loop
from ..ops.recurrent.parts import GraphEdit
from ..ops.recurrent.rnn import GATES
from ..ops.recurrent.simpler import write_directions, write_forward_directions, write_sequences
from ..ops.recurrent.steps import write_steps
from ..ops.recurrent.tflite import tflite_lacks
from ..ops.recurrent.tflite_loop import why_no_tflite_loop
from ..ops.recurrent.unroll_limits import copies_fit, why_not_unrolled
from .edit import Edit
from .record import Change, Record, Refusal


@dataclass(frozen=True)
class Form:
    """What a layer that a container lacks is written as: `what` says it in the report, `write` does it."""

    what: str
    write: Callable[[GraphEdit, Node], None]
    grows: bool = False


STEPS = Form("step by step", write_steps, grows=True)
SEQUENCES = Form("a layer for each sequence", write_sequences)
FORWARD = Form("a layer that goes forward for each direction", write_forward_directions)
DIRECTIONS = Form("a layer for each direction", write_directions)
MOST_SEQUENCES = 64


def unroll_recurrent(graph: Graph) -> Iterator[Record]:
    """Lstm, Gru, Rnn ⇒ FullyConnected of all steps → Split → per step FullyConnected → gates → Concat.

    The input's products of all steps are one; each step adds the product with the state before it. Sequence lengths
    become factors of 0 and 1: h = m·h' + (1 - m)·h; a sequence that is read backwards is reversed before and after.
    Weights quantized by rows stay so, and layers that quantize while running do it at the same places.

    TFLite's own LSTM is kept where it is the same; one that goes backwards, or both ways, is one or two of these, with
    its steps reversed before and after. Another layer of more than 128 steps, or of large
    weights, stays, too: the file holds it as a loop.

    Not for a number of steps that is not known, or more than 512 of them.
    """
    yield from _rewrite(graph, "unroll_recurrent", lambda node: tflite_lacks(node, graph), _for_tflite)


def unroll_recurrent_for_ms(graph: Graph) -> Iterator[Record]:
    """Lstm, Gru, Rnn ⇒ FullyConnected of all steps → Split → per step FullyConnected → gates → Concat, for a .ms.

    As for TFLite. MindSpore Lite's LSTM and GRU are kept where they give the right answer. A batch of no more sequences
    than steps, and than 64, is a Gru for each of them where that lacks nothing else. Another Gru or Rnn of 8 steps or
    more stays, once for each direction: the file holds it as a loop. Not with sequence lengths, gates of other
    functions or computed weights.

    Not for a number of steps that is not known, or more than 512 of them.
    """
    yield from _rewrite(graph, "unroll_recurrent_for_ms", ms_lacks, _for_ms)


def unroll_recurrent_for_onnx(graph: Graph) -> Iterator[Record]:
    """Lstm whose cell state is bounded ⇒ FullyConnected → Split → per step FullyConnected → gates → Concat, for ONNX.

    As for TFLite, which has this form; the clip of ONNX bounds what its gates get.

    Not for a number of steps that is not known, or more than 512 of them.
    """
    yield from _rewrite(graph, "unroll_recurrent_for_onnx", _onnx_lacks, lambda graph, node, unrolls: STEPS)


def _rewrite(
    graph: Graph, name: str, lacks: Callable[[Node], str], form_of: Callable[[Graph, Node, bool], Form | None]
) -> Iterator[Record]:
    """Writes what a container lacks in a form that it has. `form_of` gets whether the steps can be written one by one;
    its None leaves the layer as it is."""
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op not in GATES or not (reason := lacks(node)):
            continue
        why = why_not_unrolled(node)
        form = form_of(graph, node, not why)
        if form is None:
            continue
        if form is STEPS and why:
            yield Refusal(name, node.name, why)
            continue
        form.write(edit, node)
        edit.drop(node)
        yield Change(name, node.name, f"{form.what}: {reason}", grows=form.grows)
    edit.finish()


def _for_tflite(graph: Graph, node: Node, unrolls: bool) -> Form | None:
    forward = node.attrs["direction"] == "forward"
    if tflite_lacks(node, graph, any_way=True) and why_no_tflite_loop(node):
        return STEPS
    return None if forward else FORWARD


def _for_ms(graph: Graph, node: Node, unrolls: bool) -> Form | None:
    x = node.required(0)
    loop = STEPS if why_no_loop(node) else DIRECTIONS if node.attrs["direction"] == "bidirectional" else None
    if node.op != "Gru" or x.shape is None or ms_lacks(node, one_by_one=True):
        return loop
    steps, batch = x.shape[:2]
    if batch is None or not 1 < batch <= MOST_SEQUENCES or not copies_fit(node.inputs[2], batch):
        return loop
    return SEQUENCES if not unrolls or (steps is not None and batch <= steps) else loop


def _onnx_lacks(node: Node) -> str:
    return "ONNX has no bound of the cell state" if node.attrs.get("cell_clip", 0.0) > 0 else ""
