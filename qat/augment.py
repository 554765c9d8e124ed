"""What may be done to images so that few samples become many; a sample and its target change alike.

`AUGMENT[name](images, targets, generator) → (images, targets)`: images float32 [N, C, H, W], targets float32
[N, classes] or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..converter.errors import UsageError

Pair = tuple[Tensor, Tensor | None]
_SHIFT = 8
"""The part of a side that a shift takes at most: one in so many pixels."""


def _flip(x: Tensor, targets: Tensor | None, generator: torch.Generator) -> Pair:
    """Left and right changed in half of the images."""
    turned = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(turned.to(x.device).reshape(-1, 1, 1, 1), x.flip(3), x), targets


def _shift(x: Tensor, targets: Tensor | None, generator: torch.Generator) -> Pair:
    """Moved by up to an eighth of each side; what comes in repeats the edge."""
    height, width = x.shape[2:]
    most = [max(n // _SHIFT, 1) for n in (height, width)]
    padded = F.pad(x, (most[1], most[1], most[0], most[0]), mode="replicate")
    down, right = (torch.randint(2 * m + 1, (len(x), 1), generator=generator) for m in most)
    rows, columns = (down + torch.arange(height)).to(x.device), (right + torch.arange(width)).to(x.device)
    batch = torch.arange(len(x), device=x.device).reshape(-1, 1, 1)
    moved = padded.permute(0, 2, 3, 1)[batch, rows.unsqueeze(2), columns.unsqueeze(1)]
    return moved.permute(0, 3, 1, 2).contiguous(), targets


def _mix(x: Tensor, targets: Tensor | None, generator: torch.Generator) -> Pair:
    """Each image mixed with another, in a share of its own between all and half (mixup: Zhang et al., 2018)."""
    other = torch.randperm(len(x), generator=generator).to(x.device)
    share = (1 - 0.5 * torch.rand(len(x), generator=generator)).to(x.device)

    def mixed(t: Tensor) -> Tensor:
        return torch.lerp(t[other], t, share.reshape(-1, *[1] * (t.ndim - 1)))

    return mixed(x), None if targets is None else mixed(targets)


AUGMENT: dict[str, Callable[[Tensor, Tensor | None, torch.Generator], Pair]] = {
    "flip": _flip,
    "shift": _shift,
    "mix": _mix,
}


def checked(names: str | Iterable[str]) -> list[str]:
    """The names as a list. Raises UsageError for one that is unknown."""
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in AUGMENT:
            raise UsageError(f"augment: {name!r} is unknown, allowed are {', '.join(AUGMENT)}")
    return wanted


def augmented(names: Iterable[str], x: Tensor, targets: Tensor | None, layout: str, generator: torch.Generator) -> Pair:
    """Images of either layout, changed by each name in turn."""
    last = layout == "NHWC"
    x = x.movedim(-1, 1) if last else x
    for name in names:
        x, targets = AUGMENT[name](x, targets, generator)
    return (x.movedim(1, -1).contiguous() if last else x), targets
