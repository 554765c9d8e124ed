"""A model file as a module in training, and a fine-tune of it with itself in float as the teacher."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..converter.errors import DataError, UnsupportedError, UsageError
from ..converter.formats import read_model
from ..converter.ir import is_quantized
from ..converter.passes import for_target, run_passes
from ..native.session import Session
from ..quant.ptq.prepare import prepare as prepare_graph
from ..quant.selection import select
from .distillation import distance
from .module import QatModule
from .prepare import Names, check_activations, laid_out, selectors
from .skeleton import skeleton_of
from .sources import Fixed

_LEAST = 1e-2
"""The root mean square that a tensor of smaller values, biases that are 0 among them, is trained as."""


def from_file(
    model_file: str | os.PathLike[str],
    data: Any,
    *,
    weights: int | Mapping[str, int] = 8,
    activations: int = 8,
    keep_float: Names = (),
    method: Names = "AUTO",
    calibrate_size: int = 100,
) -> QatModule:
    """A float .onnx, .tflite or .ms as a module in training, as `prepare` makes it of a torch module.

    Its weights are parameters below `bitlite`; inputs and outputs have the layout of the file.

    Raises:
        UnsupportedError: the file holds an integer graph already, or an operator that cannot be trained.
    """
    check_activations(activations)
    graph = read_model(os.fspath(model_file))
    run_passes(graph, for_target("general"))
    kept = select(graph, selectors("keep_float", keep_float))
    prepare_graph(graph, kept)
    codes = next((n for n in graph.nodes if any(is_quantized(t) for t in n.outputs)), None)
    if codes is not None:
        raise UnsupportedError(
            f"{model_file}: {codes.name} ({codes.op}) computes on codes already; a float model is fine-tuned"
        )
    result = laid_out(graph, data, weights, kept, method, calibrate_size)
    held = {t.name: t.value for t in graph.constants() if t.dtype == np.float32}
    free = {name: value for name, value in held.items() if value.ndim}
    skeleton = skeleton_of(result, {name: Fixed(value) for name, value in held.items()}, free)
    return QatModule(nn.Module(), skeleton)


def finetune(
    model_file: str | os.PathLike[str],
    data: Any,
    *,
    steps: int = 500,
    batch: int = 64,
    rate: float = 3e-3,
    seed: int = 0,
    **options: Any,
) -> QatModule:
    """`from_file`, trained for `steps` of `batch` samples until its outputs are those of the float model; no labels.

    Args:
        data: the inputs, stacked [N, ...] in the layout of the file's input, or a tuple of such where it has several.
        rate: of Adam, as a part of each tensor's root mean square, of 1 for ratios of scales; it falls to 0 over the
            steps.
        options: those of `from_file`.
    Returns:
        The module in evaluation mode, for `export` or more training.
    """
    if steps < 0 or batch < 1:
        raise UsageError(f"steps={steps}, batch={batch}: steps from 0, batches from 1")
    stacked = [np.asarray(a, np.float32) for a in (data if isinstance(data, tuple) else (data,))]
    count = len(stacked[0])
    if not count or any(len(a) != count for a in stacked):
        raise DataError(f"data: inputs of {[len(a) for a in stacked]} samples; as many of each, one at least")
    module = from_file(model_file, stacked[0] if len(stacked) == 1 else list(zip(*stacked)), **options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module.to(device)
    wanted = [w.to(device) for w in _float_outputs(model_file, stacked)]
    inputs = [torch.from_numpy(a).to(device) for a in stacked]
    # Adam's steps have one length for all elements: of a tensor of small values it must be a small one.
    optimizer = torch.optim.Adam(
        [
            {"params": [p], "lr": rate * max(float(p.detach().square().mean().sqrt()), _LEAST)}
            for p in module.parameters()
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1)))
    )
    module.train()
    for rows in _batches(count, batch, steps, seed):
        picked = rows.to(device)
        outputs = module(*(x[picked] for x in inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = torch.stack([distance(y, w[picked]) for y, w in zip(outputs, wanted)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return module.cpu().eval()


def _batches(count: int, batch: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Rows of each step: every sample once before any comes again."""
    generator, left = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(left) < batch:
            left = torch.cat([left, torch.randperm(count, generator=generator)])
        yield left[:batch]
        left = left[batch:]


def _float_outputs(model_file: str | os.PathLike[str], stacked: list[np.ndarray]) -> list[Tensor]:
    graph = read_model(os.fspath(model_file))
    run_passes(graph, for_target("general"))
    session = Session(graph, os.cpu_count() or 1)
    size = max(session.inputs[0].shape[0] or 1, 1) if session.inputs[0].shape else 1
    rows: list[list[np.ndarray]] = []
    for k in range(0, len(stacked[0]) - size + 1, size):
        feeds = {p.name: np.ascontiguousarray(a[k : k + size]) for p, a in zip(session.inputs, stacked)}
        rows.append(list(session.run(feeds).values()))
    return [torch.from_numpy(np.concatenate(column)) for column in zip(*rows)]
