"""What the tables of training with quantization share: one loop for every module, torchao's modules beside ours, and
the runtimes beside the trained module.

torchao is taken as `prepare_qat_pt2e` with its XNNPACK recipe, weights symmetric per channel, activations of 8 bits.
`FORMS` are the fake quantizations that it has:

* plain: scales are the extremes of the weights, and moving extremes of activations.
* learned: scales, and zero points of activations, begin there and are trained (its LearnableFakeQuantize).
* fused: what the recipe takes by itself. It divides symmetric weights by other scales in training than `convert_pt2e`
  does after it, which few bits do not stand.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from bitlite import qat
from bitlite.qat.augment import augmented
from bitlite.qat.finetune import optimizer_of
from torch import nn
from write_formats import compare_nodes, sqnr

Data = tuple[torch.Tensor, torch.Tensor]
"""Inputs [n, ...] and class numbers [n]."""

FORMS = ("plain", "learned", "fused")
_SEEN = 100
"""Samples that set the first ranges."""


def fit(
    module: nn.Module,
    data: Data,
    steps: int,
    rate: float,
    teacher: nn.Module | None = None,
    augment: Iterable[str] = (),
) -> None:
    """Steps of 64 samples of the optimizer of `qat.finetune`, on the cross entropy with the labels plus that with what
    the teacher says."""
    optimizer, schedule = optimizer_of(module, rate, steps)
    generator = torch.Generator().manual_seed(0)
    targets = F.one_hot(data[1]).float()
    for _ in range(steps):
        rows = torch.randint(len(data[0]), (64,), generator=generator)
        x, wanted = augmented(list(augment), data[0][rows], targets[rows], "NCHW", generator)
        y = module(x)
        loss = F.cross_entropy(y, wanted)
        if teacher is not None:
            with torch.no_grad():
                taught = teacher(x).softmax(1)
            loss = loss + F.cross_entropy(y, taught)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def torchao_prepared(net: nn.Module, seen: torch.Tensor, bits: int, form: str, wide: Iterable[str] = ()) -> nn.Module:
    """torchao's module in training, which has seen the first samples. wide: submodules whose weights have 8 bits."""
    from torchao.quantization.pt2e import enable_range_learning
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer

    quantizer = XNNPACKQuantizer().set_global(_config(bits, form))
    for name in wide:
        quantizer.set_module_name(name, _config(8, form))
    sizes = ({0: torch.export.Dim("n", min=2, max=4096)},)
    module = prepare_qat_pt2e(torch.export.export(net, (seen[:64],), dynamic_shapes=sizes).module(), quantizer)
    module(seen[:_SEEN])
    return module.apply(enable_range_learning)


def _config(bits: int, form: str) -> Any:
    import torchao.quantization.pt2e as ao
    from torchao.testing.pt2e._xnnpack_quantizer import get_symmetric_quantization_config

    most = 2 ** (bits - 1) - 1
    config = get_symmetric_quantization_config(is_per_channel=True, is_qat=True, weight_qmin=-most, weight_qmax=most)
    if form == "fused":
        return config
    kind, extra = (ao.LearnableFakeQuantize, {"use_grad_scaling": True}) if form == "learned" else (ao.FakeQuantize, {})

    def of(spec: Any, observer: Any) -> Any:
        return replace(spec, observer_or_fake_quant_ctr=kind.with_args(observer=observer, eps=2**-12, **extra))

    activation = of(config.input_activation, ao.MovingAverageMinMaxObserver)
    weight = of(config.weight, ao.PerChannelMinMaxObserver)
    return replace(config, input_activation=activation, output_activation=activation, weight=weight)


def torchao_trained(module: nn.Module) -> nn.Module:
    """As it was trained, in evaluation: nothing is observed."""
    from torchao.quantization.pt2e import disable_observer, move_exported_model_to_eval

    return move_exported_model_to_eval(module).apply(disable_observer)


def torchao_converted(module: nn.Module) -> nn.Module:
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    return move_exported_model_to_eval(convert_pt2e(module))


def runtimes(module: qat.QatModule, x: np.ndarray) -> str:
    """By runtime: how far outputs are from the module's, images of another class, and the nodes whose codes are more
    than one off, each on bitlite's inputs."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    said = []
    with tempfile.TemporaryDirectory() as work:
        source = os.path.join(work, "net.ms")
        qat.export(module, source)
        turned = module.skeleton.graph.inputs[0].layout == "NCHW"
        nodes, *far = compare_nodes(source, x.transpose(0, 2, 3, 1) if turned else x, work)
        for ending, off in zip(("tflite", "onnx"), far):
            path = os.path.join(work, f"net.{ending}")
            qat.export(module, path)
            got = []
            if ending == "onnx":
                session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
                got = [session.run(None, {session.get_inputs()[0].name: row[None]})[0] for row in x]
            else:
                runner = Interpreter(path)
                runner.allocate_tensors()
                port, out = runner.get_input_details()[0], runner.get_output_details()[0]
                for row in x:
                    turned = row[None] if row[None].shape == tuple(port["shape"]) else row[None].transpose(0, 2, 3, 1)
                    runner.set_tensor(port["index"], np.ascontiguousarray(turned))
                    runner.invoke()
                    got.append(runner.get_tensor(out["index"]).copy())
            found = np.concatenate(got)
            other = int((found.argmax(1) != wanted.argmax(1)).sum())
            name = {"onnx": "onnxruntime", "tflite": "LiteRT"}[ending]
            said.append(
                f"{name} {sqnr(wanted, found):.1f} dB and at most {np.abs(found - wanted).max():.4f} from the module, "
                f"{other} of {len(x)} of another class, {off} of {nodes} nodes more than one code off"
            )
    return "; ".join(said)
