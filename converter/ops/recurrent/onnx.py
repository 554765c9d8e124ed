"""Lstm, Gru and Rnn in ONNX, whose layers they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import Node, Tensor
from ...schema.op import reads, writes
from ...schema.reading import Reading
from ...schema.writing import Writing
from .._support.params import write_cast


def _read_onnx(name: str, special: dict[str, Any]) -> Callable[[Reading], list[Tensor]]:
    """layout=1 has the batch first: [N,T,I], [N,T,D,H] and states [N,D,H]."""

    def read(r: Reading) -> list[Tensor]:
        inputs: list[Tensor | None] = [r.optional(i) for i in range(8 if name == "Lstm" else 6)]
        batch_first = bool(r.attr("layout", 0))
        if batch_first:
            inputs[0] = r.emit("Transpose", r.input(0), perm=[1, 0, 2])
            for i in (5, 6):
                if i < len(inputs) and inputs[i] is not None:
                    inputs[i] = r.emit("Transpose", inputs[i], perm=[1, 0, 2])
        hidden = r.attr("hidden_size", None)
        if hidden is None:
            shape = r.input(2).shape
            hidden = shape[-1] if shape else None
        if hidden is None:
            r.refuse("its hidden size is not known")
        attrs = {
            "hidden_size": hidden,
            "direction": r.attr("direction", "forward"),
            "activations": r.attr("activations", None),
            "alpha": r.attr("activation_alpha", None),
            "beta": r.attr("activation_beta", None),
            "clip": float(r.attr("clip", 0.0)),
        }
        attrs |= {key: bool(r.attr(key, value)) for key, value in special.items()}
        results = r.emit_many(name, inputs, **attrs)
        if not batch_first:
            return results
        first = r.emit("Transpose", results[0], perm=[2, 0, 1, 3])
        return [first, *(r.emit("Transpose", t, perm=[1, 0, 2]) for t in results[1:])]

    return read


_SPECIAL: dict[str, dict[str, Any]] = {"Lstm": {"input_forget": 0}, "Gru": {"linear_before_reset": 0}, "Rnn": {}}


for _name, _special in _SPECIAL.items():
    reads("onnx", _name.upper())(_read_onnx(_name, _special))


@writes("onnx", "Lstm", "Gru", "Rnn")
def write_onnx_recurrent(w: Writing, node: Node) -> None:
    a = node.attrs
    if a.get("cell_clip", 0.0) > 0:
        w.refuse(node, f"cell_clip={a['cell_clip']} is not in ONNX")
    fields = {"hidden_size": a["hidden_size"], "direction": a["direction"]}
    for key, name in (("activations", "activations"), ("alpha", "activation_alpha"), ("beta", "activation_beta")):
        if a[key]:
            fields[name] = list(a[key])
    if a["clip"] > 0:
        fields["clip"] = a["clip"]
    fields |= {key: 1 for key in _SPECIAL[node.op] if a[key]}
    ins = list(node.inputs)
    if node.input(4) is not None:
        ins[4] = write_cast(w, node, node.required(4), np.dtype(np.int32), "lengths")
    w.node(node.op.upper(), node, ins, fields=fields)
