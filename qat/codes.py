"""What operators compute on codes, in torch: the bits of the integer kernels (profile rne_f32).

A tensor in codes is carried as code minus zero point, whole numbers in float32. `CODES[op](run, node, *arguments)`
gives the output's; an operator without an entry, and every one whose form has none here, computes on reals and is
rounded, while in evaluation its own integer reference decides (`converter/execute.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor as Values

from ..converter.ir import Node, Tensor
from .float_ops import FLOAT, act, pool_counts, pool_sums, products, reduced_axes
from .moves import MOVES
from .straight_through import requantize


class Run(Protocol):
    """What an operator asks of the module while it runs: `exact` sums products in float64, where every partial sum is
    a whole number that it holds; `scale` is float64 [1] or, of a weight, [channels]."""

    exact: bool

    def scale(self, t: Tensor) -> Values: ...
    def bounds(self, t: Tensor, act: str = "none") -> tuple[float, float]: ...
    def same(self, a: Tensor, b: Tensor) -> bool: ...


CODES: dict[str, Callable[..., Any]] = {}


def _on(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        CODES.update(dict.fromkeys(names, function))
        return function

    return declare


def sums(run: Run, node: Node, x: Values, w: Values, bias: Values | None = None) -> Values:
    """Sums of products of codes plus an int32 bias, as float32: rounded once, when all is added up."""
    if not run.exact:
        return products(node, x, w, bias)
    return products(node, x.double(), w.double(), None if bias is None else bias.double()).float()


@_on("Conv", "ConvTranspose", "FullyConnected", "MatMul")
def layer(run: Run, node: Node, x: Values, w: Values, bias: Values | None = None) -> Values:
    y = node.outputs[0]
    multiplier = run.scale(node.required(0)) * run.scale(node.required(1)) / run.scale(y)
    return requantize(sums(run, node, x, w, bias), multiplier.float(), *run.bounds(y, node.attrs["act"]))


@_on("Add", "Sub")
def _add(run: Run, node: Node, a: Values, b: Values) -> Values:
    y = node.outputs[0]
    ratios = [(run.scale(node.required(i)) / run.scale(y)).float() for i in (0, 1)]
    left, right = a * ratios[0], b * ratios[1]
    total = left + right if node.op == "Add" else left - right
    return requantize(total, torch.ones_like(ratios[0]), *run.bounds(y, node.attrs["act"]))


@_on("Mul")
def _mul(run: Run, node: Node, a: Values, b: Values) -> Values:
    y = node.outputs[0]
    multiplier = run.scale(node.required(0)) * run.scale(node.required(1)) / run.scale(y)
    return requantize(a * b, multiplier.float(), *run.bounds(y, node.attrs["act"]))


def rescaled(run: Run, x: Tensor, y: Tensor, codes: Values, name: str = "none") -> Values:
    """Codes of x as codes of y: as they are where the two share parameters, and clamped."""
    if run.same(x, y):
        return codes if name == "none" else codes.clamp(*run.bounds(y, name))
    return requantize(codes, (run.scale(x) / run.scale(y)).float(), *run.bounds(y, name))


@_on("Quantize")
def _quantize(run: Run, node: Node, x: Values) -> Values:
    source, y = node.required(0), node.outputs[0]
    if source.quant is not None:
        return rescaled(run, source, y, x)
    return requantize(x, (1.0 / run.scale(y)).float(), *run.bounds(y))


@_on("Dequantize")
def _dequantize(run: Run, node: Node, x: Values) -> Values:
    return x * run.scale(node.required(0)).float()


def _same_act(node: Node) -> str:
    return node.attrs.get("act", "none")


def _moving(name: str) -> Callable[..., Any]:
    def move(run: Run, node: Node, x: Values, *rest: Values | None) -> Any:
        moved = _without_act(node)
        made = FLOAT[name](moved, x, *rest)
        if isinstance(made, tuple):
            return tuple(rescaled(run, node.required(0), t, y) for t, y in zip(node.outputs, made))
        return rescaled(run, node.required(0), node.outputs[0], made, _same_act(node))

    return move


def _without_act(node: Node) -> Node:
    if _same_act(node) == "none":
        return node
    return Node(node.op, node.name, node.inputs, node.outputs, node.attrs | {"act": "none"})


CODES.update({name: _moving(name) for name in ("MaxPool", "Identity", *MOVES)})


@_on("Pad")
def _pad(run: Run, node: Node, x: Values, pads: Values, fill: Values | None = None) -> Values | None:
    if fill is not None or (node.attrs["mode"] == "constant" and node.attrs["value"]):
        return None
    return rescaled(run, node.required(0), node.outputs[0], FLOAT["Pad"](node, x, pads))


@_on("Concat")
def _concat(run: Run, node: Node, *parts: Values) -> Values:
    y = node.outputs[0]
    fitted = [rescaled(run, t, y, part, _same_act(node)) for t, part in zip(node.operands(), parts)]
    return torch.cat(fitted, node.attrs["axis"])


@_on("Maximum", "Minimum")
def _ordered(run: Run, node: Node, a: Values, b: Values) -> Values | None:
    ends = (*node.operands(2), node.outputs[0])
    return FLOAT[node.op](node, a, b) if all(run.same(t, ends[2]) for t in ends) else None


def _averaged(run: Run, node: Node, total: Values, count: Any) -> Values:
    x, y = node.required(0), node.outputs[0]
    share = torch.as_tensor(count, dtype=torch.float64, device=total.device)
    multiplier = (run.scale(x) / (run.scale(y) * share)).float()
    return requantize(total, multiplier, *run.bounds(y, _same_act(node)))


@_on("AveragePool")
def _average_pool(run: Run, node: Node, x: Values) -> Values:
    total = pool_sums(node, x.double()).float() if run.exact else pool_sums(node, x)
    return _averaged(run, node, total, pool_counts(node, x))


@_on("Reduce")
def _reduce(run: Run, node: Node, x: Values, axes: Values | None = None) -> Values:
    at, mode, keep = reduced_axes(node, x, axes), node.attrs["mode"], node.attrs["keep_dims"]
    if mode in ("max", "min"):
        return rescaled(run, node.required(0), node.outputs[0], FLOAT["Reduce"](node, x, axes))
    total = (x.double() if run.exact else x).sum(at, keepdim=keep).float()
    count = 1
    for a in at if mode == "mean" else ():
        count *= x.shape[a]
    return _averaged(run, node, total, count)


def last_layer(run: Run, node: Node, x: Values, w: Values, bias: Values | None) -> Values:
    """Codes in, reals out: float32(Σ) · float32(sx·sw) + b."""
    scale = (run.scale(node.required(0)) * run.scale(node.required(1))).float()
    y = sums(run, node, x, w) * scale
    return act(y if bias is None else y + bias, node.attrs["act"])
