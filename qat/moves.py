"""Operators that only move or choose elements, in torch: the same on reals and on codes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..converter.ir import Node
from .float_ops import named, refuse


def _ints(value: Any) -> list[int]:
    return [int(n) for n in (value.reshape(-1).tolist() if isinstance(value, Tensor) else value)]


@named("Reshape")
def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    wanted = _ints(shape)
    if node.attrs["zero_copies"]:
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    held = math.prod(wanted)
    if -1 not in wanted and held and x.numel() != held and x.numel() % held == 0:
        # The shape was written for another batch size.
        wanted[0] *= x.numel() // held
    return x.reshape(wanted)


@named("Squeeze")
def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    given = node.attrs["axes"] if axes is None else _ints(axes)
    if given is None:
        return x.squeeze()
    return x.squeeze(tuple(int(a) for a in given))


@named("ExpandDims")
def _expand_dims(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    given = node.attrs["axes"] if axes is None else _ints(axes)
    rank = x.ndim + len(given)
    for a in sorted(int(a) % rank for a in given):
        x = x.unsqueeze(a)
    return x


@named("Transpose")
def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(tuple(node.attrs["perm"]))


@named("Reverse")
def _reverse(node: Node, x: Tensor) -> Tensor:
    return x.flip([int(a) for a in node.attrs["axes"]])


@named("Concat")
def _concat(node: Node, *parts: Tensor) -> Tensor:
    return torch.cat(parts, node.attrs["axis"])


@named("Split")
def _split(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x, [int(n) for n in node.attrs["sizes"]], node.attrs["axis"])


@named("Slice")
def _slice(
    node: Node, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    first, end = _ints(starts), _ints(ends)
    along = list(range(len(first))) if axes is None else _ints(axes)
    step = [1] * len(first) if steps is None else _ints(steps)
    for a, s, e, k in zip(along, first, end, step):
        chosen = range(x.shape[a])[slice(0 if k < 0 and s < -x.shape[a] else s, e, k)]
        index = torch.tensor(list(chosen), dtype=torch.long, device=x.device)
        plain = k == 1 and len(chosen)
        x = x.narrow(a, chosen[0], len(chosen)) if plain else x.index_select(a, index)
    return x


@named("Gather")
def _gather(node: Node, x: Tensor, index: Tensor) -> Tensor:
    if node.attrs["batch_dims"]:
        raise refuse(node, "batch_dims")
    axis = node.attrs["axis"] % x.ndim
    at = index.long()
    at = torch.where(at < 0, at + x.shape[axis], at)
    y = x.index_select(axis, at.reshape(-1))
    return y.reshape((*x.shape[:axis], *at.shape, *x.shape[axis + 1 :]))


@named("Pad")
def _pad(node: Node, x: Tensor, pads: Tensor, fill: Tensor | None = None) -> Tensor:
    given, mode = _ints(pads), {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    if node.attrs["mode"] not in mode:
        raise refuse(node, f"mode {node.attrs['mode']}")
    pairs = list(zip(given[::2], given[1::2]))
    if node.attrs["mode"] == "constant":
        value = node.attrs["value"] if fill is None else float(fill)
        return F.pad(x, [n for pair in reversed(pairs) for n in pair], value=value)
    for axis, pair in enumerate(pairs):
        if any(pair):
            turned = x.movedim(axis, -1)
            rows = F.pad(turned.reshape(1, -1, turned.shape[-1]), pair, mode=mode[node.attrs["mode"]])
            x = rows.reshape(*turned.shape[:-1], -1).movedim(-1, axis)
    return x


@named("BroadcastTo")
def _broadcast_to(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    wanted = _ints(shape)
    if node.attrs["both_ways"]:
        wanted = list(torch.broadcast_shapes(x.shape, torch.Size(wanted)))
    return x.expand(wanted)


@named("Tile")
def _tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(_ints(repeats))


@named("DepthToSpace")
def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    b = node.attrs["block"]
    n, h, w, c = x.shape
    if node.attrs["mode"] == "DCR":
        parts = x.reshape(n, h, w, b, b, c // (b * b)).permute(0, 1, 3, 2, 4, 5)
    else:
        parts = x.reshape(n, h, w, c // (b * b), b, b).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, h * b, w * b, c // (b * b))


@named("Where")
def _where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


@named("Cast")
def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(getattr(torch, str(node.attrs["dtype"])))


@named("Shape")
def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[node.attrs["start"] : node.attrs["end"]], dtype=torch.long, device=x.device)


@named("Fill")
def _fill(node: Node, shape: Tensor, value: Tensor) -> Tensor:
    return torch.full(_ints(shape), value.item(), dtype=value.dtype, device=value.device)


MOVES = (
    "Reshape", "Squeeze", "ExpandDims", "Transpose", "Reverse", "Slice", "Gather", "BroadcastTo", "Tile",
    "DepthToSpace", "Split",
)  # fmt: skip
"""Those whose codes move as their reals do."""
