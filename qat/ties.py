"""Codes of a runtime beside the module's, where float32 may round what is computed in float either way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

_ROOM = 16 * 2.0**-24
"""How far apart two float32 computations of a value are taken to be, as a part of the largest code."""


@dataclass
class Beside:
    """codes: what the runtime gives, by tensor. ties: tensor → how many of its codes differ by such a rounding."""

    codes: Mapping[str, np.ndarray]
    ties: dict[str, int] = field(default_factory=dict)

    def settled(self, name: str, real: Tensor, mine: Tensor, zero: int, bits: int) -> Tensor:
        """The module's codes of a tensor that rounds floats, and the runtime's where the value is as near to either.

        What follows is computed from them, so that one rounding is counted once. real: the values in units of the
        scale; mine: codes less the zero point.
        """
        given = self.codes.get(name)
        if given is None or given.shape != tuple(mine.shape):
            return mine
        other = torch.from_numpy(given.astype(np.float32)).to(mine.device) - zero
        between = (real.double() - (mine.double() + other.double()) / 2).abs() <= _ROOM * 2 ** (bits - 1)
        ties = ((mine - other).abs() == 1) & between
        if count := int(ties.sum()):
            self.ties[name] = self.ties.get(name, 0) + count
        return torch.where(ties, other, mine)
