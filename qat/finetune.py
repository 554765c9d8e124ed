"""A model file as a module in training, and a fine-tune of it with itself in float as the teacher."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..converter.errors import DataError, UnsupportedError, UsageError
from ..converter.formats import read_model
from ..converter.ir import is_quantized
from ..converter.passes import for_target, run_passes
from ..quant.ptq.prepare import prepare as prepare_graph
from ..quant.selection import select
from .augment import checked
from .lesson import Lesson
from .module import QatModule
from .prepare import Bits, Names, laid_out, selectors
from .skeleton import begin_fitted, skeleton_of
from .sources import Fixed

_JUDGES = 256
"""Samples that judge a state, at most."""
_JUDGEMENTS = 10
"""How often, in the course of the steps."""
_LEAST = 1e-2
"""The root mean square that a tensor of smaller values, biases that are 0 among them, is trained as."""


def from_file(
    model_file: str | os.PathLike[str],
    data: Any,
    *,
    weights: Bits = 8,
    activations: Bits = 8,
    keep_float: Names = (),
    method: Names = "AUTO",
    calibrate_size: int = 100,
) -> QatModule:
    """A float .onnx, .tflite or .ms as a module in training, as `prepare` makes it of a torch module.

    Its weights are parameters below `bitlite`; inputs and outputs have the layout of the file.

    Raises:
        UnsupportedError: the file holds an integer graph already, or an operator that cannot be trained.
    """
    graph = read_model(os.fspath(model_file))
    run_passes(graph, for_target("general"))
    kept = select(graph, selectors("keep_float", keep_float))
    prepare_graph(graph, kept)
    codes = next((n for n in graph.nodes if any(is_quantized(t) for t in n.outputs)), None)
    if codes is not None:
        raise UnsupportedError(
            f"{model_file}: {codes.name} ({codes.op}) computes on codes already; a float model is fine-tuned"
        )
    result = laid_out(graph, data, weights, kept, method, calibrate_size, activations, fitted=True)
    held = {t.name: t.value for t in graph.constants() if t.dtype == np.float32}
    free = {name: value for name, value in held.items() if value.ndim}
    skeleton = skeleton_of(result, {name: Fixed(value) for name, value in held.items()}, free)
    begin_fitted(skeleton, result)
    return QatModule(nn.Module(), skeleton)


def finetune(
    model_file: str | os.PathLike[str],
    data: Any,
    *,
    labels: Any = None,
    steps: int = 500,
    batch: int = 64,
    rate: float = 3e-3,
    augment: Names = (),
    held_back: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> QatModule:
    """`from_file`, trained for `steps` of `batch` samples until its outputs, and what its layers give, are those of the
    float model.

    The state that is best on samples held back is returned: PostTraining's, where nothing later is better.

    Args:
        data: the inputs, stacked [N, ...] in the layout of the file's input, or a tuple of such where it has several.
        labels: class numbers [N]; with them the cross entropy of the first output [N, classes] is part of the loss.
        rate: of Adam, as a part of each tensor's root mean square, of 1 for ratios of scales; it falls to 0 over the
            steps.
        augment: of "flip", "shift" and "mix", what may be done to images, one input [N, H, W, C] or [N, C, H, W].
        held_back: the part of the samples that no step sees.
        options: those of `from_file`.
    Returns:
        The module in evaluation mode, for `export` or more training.
    """
    if steps < 0 or batch < 1:
        raise UsageError(f"steps={steps}, batch={batch}: steps from 0, batches from 1")
    if not 0 <= held_back < 1:
        raise UsageError(f"held_back={held_back}, allowed is from 0 to below 1")
    names = checked(augment)
    stacked = [np.asarray(a, np.float32) for a in (data if isinstance(data, tuple) else (data,))]
    count = len(stacked[0])
    if not count or any(len(a) != count for a in stacked):
        raise DataError(f"data: inputs of {[len(a) for a in stacked]} samples; as many of each, one at least")
    if names and (len(stacked) > 1 or stacked[0].ndim != 4):
        raise UsageError(f"augment: one input of images is needed, shapes are {[a.shape for a in stacked]}")
    if labels is not None and len(labels) != count:
        raise DataError(f"labels: {len(labels)} for {count} samples")
    module = from_file(model_file, stacked[0] if len(stacked) == 1 else list(zip(*stacked)), **options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module.to(device)
    lesson = Lesson(module, stacked, labels, names, seed)
    order = torch.randperm(count, generator=lesson.generator)
    kept = order[: min(int(held_back * count), _JUDGES)]
    rows = order[len(kept) :]
    judged = kept if len(kept) else rows[:_JUDGES]
    optimizer, schedule = optimizer_of(module, rate, steps)
    best = lesson.judgement(judged), copy.deepcopy(module.state_dict())
    every = max(steps // _JUDGEMENTS, 1)
    for step, picked in enumerate(_batches(rows, batch, steps, lesson.generator), 1):
        module.train()
        loss = lesson.loss(picked)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % every == 0 or step == steps:
            now = lesson.judgement(judged)
            if now < best[0]:
                best = now, copy.deepcopy(module.state_dict())
    module.load_state_dict(best[1])
    return module.cpu().eval()


def optimizer_of(
    module: nn.Module, rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Adam with `rate` as a part of each tensor's root mean square, and the schedule that takes it to 0 over the steps.

    Adam's steps have one length for all elements: of a tensor of small values it must be a small one.
    """
    optimizer = torch.optim.Adam(
        [
            {"params": [p], "lr": rate * max(float(p.detach().square().mean().sqrt()), _LEAST)}
            for p in module.parameters()
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1)))
    )
    return optimizer, schedule


def _batches(rows: Tensor, batch: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of each step: every sample once before any comes again."""
    left = rows[:0]
    for _ in range(steps):
        while len(left) < batch:
            left = torch.cat([left, rows[torch.randperm(len(rows), generator=generator)]])
        yield left[:batch]
        left = left[batch:]
