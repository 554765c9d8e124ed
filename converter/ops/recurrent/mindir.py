"""Lstm in MINDIR, whose primitive keeps all weights in one row."""

from __future__ import annotations

import numpy as np

from ...ir import Tensor
from ...schema.op import reads
from ...schema.reading import Reading

_GATES = [0, 3, 1, 2]
"""Where i, o, f, c stand in i, f, c, o."""


@reads("mindir", "LSTM")
def read_mindir_lstm(r: Reading) -> list[Tensor]:
    """Inputs: x [T,N,I], states [1,N,H], and the input's weights [4H,I], the state's [4H,H] and biases [4H] in a row.

    Exporters write one such primitive per layer and direction.
    """
    if r.attr("bidirectional", False) or r.whole(None, "num_layers", 1) != 1:
        r.refuse("several layers or directions in one primitive are not read", hint="nn.LSTM, which has one for each")
    if r.whole(None, "proj_size", 0):
        r.refuse("a projection of the state is not read")
    size, hidden, flat = r.whole(None, "input_size"), r.whole(None, "hidden_size"), r.input(3)
    if flat.data is None:
        r.refuse("its weights are computed at run time")
    many, bias = 4 * hidden, bool(r.attr("has_bias", True))
    ends = np.cumsum([many * size, many * hidden, many if bias else 0])
    if flat.data.size != ends[-1]:
        r.refuse(f"{flat.data.size} weights, {ends[-1]} belong to input_size={size} and hidden_size={hidden}")
    parts = np.split(flat.data.reshape(-1), ends[:-1])
    w, u = (r.constant(_ordered(p.reshape(4, hidden, -1)), name=f"{r.name}/{n}") for p, n in zip(parts, ("w", "r")))
    both = None
    if bias:
        given = _ordered(parts[2].reshape(4, hidden, 1)).reshape(1, many)
        both = r.constant(np.concatenate([given, np.zeros_like(given)], 1), name=f"{r.name}/bias")
    outputs = r.emit_many("Lstm", [r.input(0), w, u, both, None, r.input(1), r.input(2)], hidden_size=hidden)
    return [r.emit("Squeeze", outputs[0], axes=[1]), *outputs[1:]]


def _ordered(gates: np.ndarray) -> np.ndarray:
    """[4,H,n] in the order of the IR, as [1,4H,n]."""
    return np.ascontiguousarray(gates[_GATES]).reshape(1, -1, gates.shape[-1])
