"""Training with quantization on scikit-learn's digits, beside PostTraining and torchao's QAT of the same module.

    python benchmarks/qat_digits.py [--steps 600] [--bits 4 2] [--seeds 3] [--forms plain learned fused]

A LeNet of two convolutions and two dense layers, trained in float on half of the 1,797 images of 8 x 8, judged on the
other half; then weights of all layers in so many bits and activations in 8: PostTraining, `qat.prepare`, and torchao's
`prepare_qat_pt2e` (where torchao is installed) in the forms of qat_peers.py, all but the first with its loop: the same
steps, optimizer, labels and teacher. Prints one markdown table: top-1 in percent over all seeds and the difference from
float with its paired standard error; of torchao's before and after its `convert_pt2e`.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import math
import os
import tempfile
from collections.abc import Callable

import bitlite
import numpy as np
import torch
from bitlite import qat
from qat_peers import FORMS, Data, fit, runtimes, torchao_converted, torchao_prepared, torchao_trained
from sklearn.datasets import load_digits
from torch import nn


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


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


def prepared(net: nn.Module, seen: Data, bits: int, steps: int, rate: float) -> qat.QatModule:
    module = qat.prepare(net, seen[0][:1], data=seen[0][:100], weights=bits)
    fit(module.train(), seen, steps, rate, net)
    return module.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    args = parser.parse_args()
    digits = load_digits()
    x = torch.from_numpy((digits.images / 16).astype(np.float32)[:, None])
    labels = torch.from_numpy(digits.target)
    seen, unseen = (x[::2], labels[::2]), (x[1::2], labels[1::2])
    rows: dict[str, list[np.ndarray]] = {}
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        net = network()
        fit(net, seen, 1200, 1e-2)
        net.eval()
        rows.setdefault("float", []).append(right(net, unseen))
        for bits in args.bits:
            trained = prepared(net, seen, bits, args.steps, args.rate)
            said = str(qat.verify(trained, unseen[0][:100]))
            if not seed:
                said += "; " + runtimes(trained, unseen[0][:100].numpy())
            print(f"<!-- network {seed}, {bits} bits: {said} -->", flush=True)
            found = {
                "PostTraining": right(post_training(net, seen, bits), unseen),
                "`qat.prepare`": right(of_session(bitlite.Session(trained.graph())), unseen),
            }
            for form in args.forms if importlib.util.find_spec("torchao") is not None else ():
                module = torchao_prepared(copy.deepcopy(net), seen[0], bits, form)
                fit(module, seen, args.steps, args.rate, net)
                found[f"torchao, {form}, as trained"] = right(torchao_trained(module), unseen)
                found[f"torchao, {form}, converted"] = right(torchao_converted(module), unseen)
            for name, scores in found.items():
                rows.setdefault(f"{name}, {bits} bits", []).append(scores)
                print(f"<!-- network {seed}, {name}, {bits} bits: {100 * scores.mean():.2f} -->", flush=True)
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
