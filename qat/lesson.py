"""What a fine-tune is trained towards, and judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..converter.errors import DataError
from .augment import augmented
from .distillation import FloatGraph, cross_entropy, distance, distances, distributions
from .module import QatModule

_TOGETHER = 32
"""Samples that one run in evaluation takes."""


class Lesson:
    """What a module is trained towards: the float graph on the same samples, and labels where there are any."""

    def __init__(self, module: QatModule, stacked: list[np.ndarray], labels: Any, names: list[str], seed: int) -> None:
        device, skeleton = module.bitlite.steps.device, module.skeleton
        self.module, self.names, self.layout = module, names, skeleton.graph.inputs[0].layout
        self.generator = torch.Generator().manual_seed(seed)
        self.inputs = [torch.from_numpy(a).to(device) for a in stacked]
        self.teacher = FloatGraph(skeleton.plain, device)
        (first, *_), _ = self.teacher([x[:1] for x in self.inputs])
        self.targets, self.distributions = None, distributions(first)
        if labels is not None:
            classes = torch.as_tensor(np.asarray(labels), dtype=torch.long)
            if first.ndim != 2 or int(classes.min()) < 0 or int(classes.max()) >= first.shape[1]:
                raise DataError(
                    f"labels: {int(classes.min())} to {int(classes.max())} for outputs {tuple(first.shape)}"
                )
            self.targets = torch.nn.functional.one_hot(classes, first.shape[1]).float().to(device)

    def loss(self, rows: Tensor) -> Tensor:
        """Of a batch, changed as `augment` has it, with gradients."""
        picked = rows.to(self.inputs[0].device)
        inputs, targets = [x[picked] for x in self.inputs], None if self.targets is None else self.targets[picked]
        if self.names:
            inputs[0], targets = augmented(self.names, inputs[0], targets, self.layout, self.generator)
        outputs, reals = self.module.observed(*inputs)
        plain = self.module.skeleton.plain_of
        wanted, features = self.teacher(inputs, [plain[t] for t in reals])
        loss = distances(outputs, wanted)
        if reals:
            loss = loss + torch.stack([distance(a, b) for a, b in zip(reals.values(), features)]).mean()
        if targets is not None:
            loss = loss + cross_entropy(outputs[0], targets, self.distributions)
        return loss

    @torch.no_grad()
    def judgement(self, rows: Tensor) -> float:
        """How far the module, in evaluation, is from what it is trained towards; per sample."""
        self.module.eval()
        mine: list[tuple[Tensor, ...]] = []
        theirs: list[list[Tensor]] = []
        for some in rows.split(_TOGETHER):
            inputs = [x[some.to(x.device)] for x in self.inputs]
            outputs = self.module(*inputs)
            mine.append(outputs if isinstance(outputs, tuple) else (outputs,))
            theirs.append(self.teacher(inputs)[0])
        outputs, wanted = ([torch.cat(column) for column in zip(*side)] for side in (mine, theirs))
        loss = distances(outputs, wanted)
        if self.targets is not None:
            loss = loss + cross_entropy(outputs[0], self.targets[rows.to(self.targets.device)], self.distributions)
        return float(loss)
