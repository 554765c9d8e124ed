"""LSTM and GRU as torch's own kernels compute them, from weights in ONNX's order of gates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..converter.errors import UnsupportedError
from ..converter.ir import Node

_LSTM, _GRU = (0, 2, 3, 1), (1, 0, 2)
"""Of ONNX's gates (i o f c; z r h), which stands where torch has its own (i f g o; r z n)."""
_PLAIN = {"Lstm": {"input_forget": False, "cell_clip": 0.0, "clip": 0.0}, "Gru": {"clip": 0.0}}


def lstm(node: Node, x: Tensor, w: Tensor, r: Tensor, b: Any = None, lengths: Any = None, h0: Any = None,
         c0: Any = None, p: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """x [T,N,I], w [D,4H,I], r [D,4H,H], b [D,8H], h0 c0 [D,N,H] → Y [T,D,N,H], last h, last c."""
    _check(node, lengths, p)
    flat, first = _parts(node, x, w, r, b, _LSTM), [_start(node, x, h0), _start(node, x, c0)]
    x, both = _turned(node, x)
    y, h, c = torch.lstm(x, first, flat, b is not None, 1, 0.0, False, both, False)
    return _stacked(node, y), h, c


def gru(node: Node, x: Tensor, w: Tensor, r: Tensor, b: Any = None, lengths: Any = None,
        h0: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """x [T,N,I], w [D,3H,I], r [D,3H,H], b [D,6H], h0 [D,N,H] → Y [T,D,N,H], last h."""
    _check(node, lengths, None)
    if not node.attrs["linear_before_reset"]:
        raise _refused(node, "a reset before the product with the state")
    flat = _parts(node, x, w, r, b, _GRU)
    x, both = _turned(node, x)
    y, h = torch.gru(x, _start(node, x, h0), flat, b is not None, 1, 0.0, False, both, False)
    return _stacked(node, y), h


def _refused(node: Node, what: str) -> UnsupportedError:
    return UnsupportedError(f"{node.name} ({node.op}): {what} cannot be trained")


def _check(node: Node, lengths: Any, peepholes: Any) -> None:
    a = node.attrs
    if lengths is not None or peepholes is not None:
        raise _refused(node, "lengths or peepholes")
    if a["activations"] is not None or any(a[key] != value for key, value in _PLAIN[node.op].items()):
        raise _refused(node, "activations of its own, a clip or coupled gates")


def _turned(node: Node, x: Tensor) -> tuple[Tensor, bool]:
    return x.flip(0) if node.attrs["direction"] == "reverse" else x, node.attrs["direction"] == "bidirectional"


def _stacked(node: Node, y: Tensor) -> Tensor:
    """torch's [T,N,D·H] as [T,D,N,H]."""
    parts = y.reshape(*y.shape[:2], -1, node.attrs["hidden_size"]).transpose(1, 2)
    return parts.flip(0) if node.attrs["direction"] == "reverse" else parts


def _start(node: Node, x: Tensor, h: Any) -> Tensor:
    count = 2 if node.attrs["direction"] == "bidirectional" else 1
    return x.new_zeros(count, x.shape[1], node.attrs["hidden_size"]) if h is None else h.contiguous()


def _parts(node: Node, x: Tensor, w: Tensor, r: Tensor, b: Any, order: tuple[int, ...]) -> list[Tensor]:
    hidden, flat = node.attrs["hidden_size"], list[Tensor]()

    def gates(t: Tensor) -> Tensor:
        return torch.cat([t[g * hidden : (g + 1) * hidden] for g in order])

    for d in range(w.shape[0]):
        flat += [gates(w[d]), gates(r[d])]
        if b is not None:
            half = len(order) * hidden
            flat += [gates(b[d, :half]), gates(b[d, half:])]
    return flat
