"""TFLite's LSTM as products and gates of each step, for containers that have nothing of the kind."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph
from ..ops.recurrent.sequence_lstm import why_not_parted
from ..ops.recurrent.sequence_steps import write_sequence_steps
from .edit import Edit
from .record import Change, Record, Refusal


def unroll_sequence_lstm(graph: Graph) -> Iterator[Record]:
    """SequenceLstm ⇒ FullyConnected of all steps → Split → per step FullyConnected → gates → FullyConnected → Concat.

    Gates that are normalized have a LayerNorm before them.

    An integer layer computes on reals between casts: its 8-bit weights keep their codes, its 16-bit gates are floats.

    Not for a number of steps that is not known, or more than 512 of them, nor for an integer layer with peepholes and a
    projection, which TFLite computes in a way of its own.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        if node.op != "SequenceLstm":
            continue
        if why := why_not_parted(node):
            yield Refusal("unroll_sequence_lstm", node.name, why)
            continue
        write_sequence_steps(edit, node)
        edit.drop(node)
        yield Change("unroll_sequence_lstm", node.name, "step by step", grows=True)
    edit.finish()
