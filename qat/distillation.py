"""Distillation: how far outputs and what layers give are from a teacher's."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..converter.ir import Graph
from ..converter.ir import Tensor as Value
from .float_ops import FLOAT, refuse

_LEAST = 1e-7


def distance(mine: Tensor, wanted: Tensor) -> Tensor:
    """Of one output: the divergence KL(wanted ‖ mine) where rows are distributions, else the mean squared error in
    units of the teacher's variance. A scalar with gradients for `mine`."""
    if distributions(wanted):
        return (wanted * ((wanted + _LEAST).log() - (mine + _LEAST).log())).sum(-1).mean()
    return (mine - wanted).square().mean() / wanted.var(correction=0).clamp(min=1e-12)


def distances(mine: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The sum of the distances of all outputs."""
    return torch.stack([distance(a, b) for a, b in zip(mine, wanted)]).sum()


def cross_entropy(mine: Tensor, targets: Tensor, distributions: bool) -> Tensor:
    """Of an output [N, classes], logits or, as `distributions` says, what softmax gives; targets: [N, classes]."""
    logs = (mine + _LEAST).log() if distributions else mine.log_softmax(-1)
    return -(targets * logs).sum(-1).mean()


class FloatGraph:
    """A float graph in torch, in evaluation."""

    def __init__(self, graph: Graph, device: torch.device | str) -> None:
        self._graph = graph
        self._constants = {t: torch.from_numpy(np.array(t.value)).to(device) for t in graph.constants()}

    @torch.no_grad()
    def __call__(self, inputs: Iterable[Tensor], wanted: Iterable[Value] = ()) -> tuple[list[Tensor], list[Tensor]]:
        """The outputs for the graph's inputs, and the values of the wanted tensors."""
        env = self._constants | dict(zip(self._graph.inputs, inputs))
        for node in self._graph.nodes:
            if node.op not in FLOAT:
                raise refuse(node, "an operator without a form in torch")
            made = FLOAT[node.op](node, *(None if t is None else env[t] for t in node.inputs))
            env.update(zip(node.outputs, made if isinstance(made, (tuple, list)) else (made,)))
        return [env[t] for t in self._graph.outputs], [env[t] for t in wanted]


def distributions(t: Tensor) -> bool:
    """Whether the rows are probabilities."""
    if t.ndim < 2 or t.shape[-1] < 2 or bool((t < 0).any()):
        return False
    total = t.sum(-1)
    return bool(torch.allclose(total, torch.ones_like(total), atol=1e-3))


class Teacher:
    """A float model, in evaluation mode, whose parameters are none of the module that it teaches: a copy, which is
    moved to where that module is."""

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).eval()

    def loss(self, inputs: tuple[Tensor, ...], outputs: Any) -> Tensor:
        """The sum of the distances of all outputs."""
        with torch.no_grad():
            wanted = self.model(*inputs)
        mine = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        theirs = wanted if isinstance(wanted, (tuple, list)) else (wanted,)
        return distances(mine, theirs)
