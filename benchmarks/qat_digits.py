"""Training with quantization on scikit-learn's digits, beside PostTraining and torchao's QAT of the same module.

    python benchmarks/qat_digits.py [--steps 600] [--bits 4 2] [--seeds 3]

A LeNet of two convolutions and two dense layers, trained in float on half of the 1,797 images of 8 x 8, judged on the
other half; then weights of all layers in so many bits and activations in 8: PostTraining, `qat.prepare`, and torchao's
`prepare_qat_pt2e` (where torchao is installed), the last two with the same loop, steps, rate and teacher. Prints one
markdown table: top-1 in percent over all seeds and the difference from float with its paired standard error.

torchao is shown twice: with the fused fake quantization of its XNNPACK recipe, and with its plain one. The fused one
takes other scales of symmetric weights in training than `convert_pt2e` does after it, which few bits do not stand.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace

import bitlite
import numpy as np
import torch
import torch.nn.functional as F
from bitlite import qat
from sklearn.datasets import load_digits
from torch import nn

Data = tuple[torch.Tensor, torch.Tensor]


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def fit(module: nn.Module, data: Data, steps: int, rate: float, teacher: nn.Module | None = None) -> None:
    """Adam on the cross entropy, and the divergence from the teacher, with a rate that falls to 0."""
    optimizer = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(data[0]), (64,), generator=generator)
        x, y = data[0][rows], module(data[0][rows])
        loss = F.cross_entropy(y, data[1][rows])
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(x).softmax(1)
            loss = loss + F.cross_entropy(y, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def right(run: Callable[[torch.Tensor], torch.Tensor], data: Data) -> np.ndarray:
    """Per image, whether the largest score is the label's."""
    with torch.no_grad():
        return (run(data[0]).argmax(1) == data[1]).numpy()


def of_session(session: bitlite.Session) -> Callable[[torch.Tensor], torch.Tensor]:
    def run(x: torch.Tensor) -> torch.Tensor:
        scores = [next(iter(session.run(np.ascontiguousarray(row[None])).values())) for row in x.numpy()]
        return torch.from_numpy(np.concatenate(scores))

    return run


def post_training(net: nn.Module, seen: Data, bits: int) -> Callable[[torch.Tensor], torch.Tensor]:
    with tempfile.TemporaryDirectory() as work:
        source, out = os.path.join(work, "net.onnx"), os.path.join(work, "int8.onnx")
        torch.onnx.export(net, (seen[0][:1],), source, dynamo=False)
        bitlite.convert(
            source, out, quant_type="PostTraining", bit_num=bits, calibration_data=seen[0][:100].numpy(),
            output_format=["ONNX"],
        )  # fmt: skip
        return of_session(bitlite.load(out))


def prepared(net: nn.Module, seen: Data, bits: int, steps: int, rate: float) -> Callable[[torch.Tensor], torch.Tensor]:
    module = qat.prepare(net, seen[0][:1], data=seen[0][:100], weights=bits)
    fit(module.train(), seen, steps, rate, net)
    found = qat.verify(module.eval(), seen[0][:100])
    print(f"<!-- {found} -->", flush=True)
    return of_session(bitlite.Session(module.graph()))


def torchao_prepared(net: nn.Module, example: torch.Tensor, bits: int, fused: bool) -> nn.Module:
    """torchao's module in training. fused: weights as its recipe has them; else by the scales of `convert_pt2e`."""
    from torchao.quantization.pt2e import FakeQuantize, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

    most = 2 ** (bits - 1) - 1
    config = get_symmetric_quantization_config(is_per_channel=True, is_qat=True, weight_qmin=-most, weight_qmax=most)
    if not fused:
        plain = FakeQuantize.with_args(observer=PerChannelMinMaxObserver, eps=2**-12)
        config = replace(config, weight=replace(config.weight, observer_or_fake_quant_ctr=plain))
    quantizer = XNNPACKQuantizer().set_global(config)
    sizes = ({0: torch.export.Dim("n", min=2, max=4096)},)
    return prepare_qat_pt2e(torch.export.export(net, (example,), dynamic_shapes=sizes).module(), quantizer)


def torchao_qat(
    net: nn.Module, seen: Data, bits: int, steps: int, rate: float, fused: bool
) -> Callable[[torch.Tensor], torch.Tensor]:
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    module = torchao_prepared(net, seen[0][:64], bits, fused)
    module(seen[0][:100])
    fit(module, seen, steps, rate, net)
    return move_exported_model_to_eval(convert_pt2e(module))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    digits = load_digits()
    x = torch.from_numpy((digits.images / 16).astype(np.float32)[:, None])
    labels = torch.from_numpy(digits.target)
    seen, unseen = (x[::2], labels[::2]), (x[1::2], labels[1::2])
    rows: dict[str, list[np.ndarray]] = {}
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        net = network()
        fit(net, seen, 1200, 3e-3)
        net.eval()
        rows.setdefault("float", []).append(right(net, unseen))
        for bits in args.bits:
            runs = {
                "PostTraining": lambda bits=bits, net=net: post_training(net, seen, bits),
                "`qat.prepare`": lambda bits=bits, net=net: prepared(net, seen, bits, args.steps, args.rate),
            }
            if importlib.util.find_spec("torchao") is not None:
                for name, fused in (("torchao", False), ("torchao, its fused fake quantization", True)):
                    runs[name] = lambda bits=bits, net=net, fused=fused: torchao_qat(
                        copy.deepcopy(net), seen, bits, args.steps, args.rate, fused
                    )
            for name, make in runs.items():
                rows.setdefault(f"{name}, {bits} bits", []).append(right(make(), unseen))
    print(f"n = {args.seeds} networks x {len(unseen[0])} images, {args.steps} steps\n")
    print("| | top-1, % | against float |\n|---|---|---|")
    plain = np.concatenate(rows["float"]).astype(float)
    for name, found in rows.items():
        got = np.concatenate(found).astype(float)
        far = got - plain
        error = far.std(ddof=1) / math.sqrt(len(far))
        print(f"| {name} | {100 * got.mean():.2f} | {100 * far.mean():+.2f} ± {100 * error:.2f} |")


if __name__ == "__main__":
    main()
