"""Training with quantization beside PostTraining, at the same bits, on held-out images; and what a step costs.

    python benchmarks/qat_table.py EVAL [--model resnet8_cifar10] [--steps 600] [--bits 8 4 2]

EVAL is the folder of evaluation models and images with its evalpack.py. The evaluation images are split in two:
`finetune` sees the even ones, without their labels; every figure is of the odd ones. Prints one markdown table (top-1
of the float file, of PostTraining and of the fine-tune, the difference from float with its paired standard error) and
the codes that module and Session share on 100 images. `--cost` prints what a training step takes beside the float
module's, and what its forward keeps for the gradients.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from pathlib import Path

import bitlite
import numpy as np
import torch
from bitlite import qat


def top1(session: bitlite.Session, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per image, whether the largest score is the label's."""
    name = session.inputs[0].name
    scores = [next(iter(session.run({name: np.ascontiguousarray(x[k : k + 1])}).values())) for k in range(len(x))]
    return np.concatenate(scores).argmax(1) == labels


def line(name: str, right: np.ndarray, plain: np.ndarray) -> str:
    """Top-1 and its difference from float, both in percent, with the paired standard error."""
    difference = right.astype(float) - plain
    error = difference.std(ddof=1) / np.sqrt(len(right))
    return f"| {name} | {100 * right.mean():.2f} | {100 * difference.mean():+.2f} ± {100 * error:.2f} |"


def accuracy(args: argparse.Namespace) -> None:
    spec = importlib.util.spec_from_file_location("evalpack", Path(args.eval) / "evalpack.py")
    assert spec is not None and spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    images, labels = pack.images(pack.MODELS[args.model][0], "eval")
    x, labels = pack.preprocess(images, pack.MODELS[args.model][2]), np.asarray(labels) + pack.MODELS[args.model][3]
    folder = Path(args.eval) / "data" / "models"
    folder = folder if folder.exists() else Path(args.eval) / "models"
    source = next(p for end in (".onnx", ".tflite") if (p := folder / (args.model + end)).exists())
    plain = bitlite.load(str(source), threads=os.cpu_count() or 1)
    if plain.inputs[0].layout == "NCHW":
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    seen, unseen, wanted = x[::2], x[1::2], labels[1::2]
    base = top1(plain, unseen, wanted)
    print(f"{args.model}: trained on {len(seen)} images without labels, judged on {len(unseen)} others\n")
    print("| | top-1, % | against float |\n|---|---|---|")
    print(f"| float | {100 * base.mean():.2f} | |")
    with tempfile.TemporaryDirectory() as work:
        for bits in args.bits:
            path = os.path.join(work, "ptq.tflite" if source.suffix == ".tflite" else "ptq.onnx")
            bitlite.convert(
                str(source), path, quant_type="PostTraining", bit_num=bits, calibrate_size=100,
                calibration_data=seen[:: max(len(seen) // 100, 1)], output_format=[path.rpartition(".")[2].upper()],
            )  # fmt: skip
            print(line(f"PostTraining, {bits}-bit weights", top1(bitlite.load(path), unseen, wanted), base), flush=True)
            start = time.perf_counter()
            module = qat.finetune(source, seen, steps=args.steps, weights=bits, batch=args.batch, rate=args.rate)
            spent = time.perf_counter() - start
            right = top1(bitlite.Session(module.graph(), os.cpu_count() or 1), unseen, wanted)
            found = qat.verify(module, torch.from_numpy(unseen[:100]))
            print(line(f"finetune, {bits}-bit weights, {args.steps} steps in {spent:.0f} s", right, base), flush=True)
            print(f"<!-- {found} -->", flush=True)


def cost(args: argparse.Namespace) -> None:
    torch.manual_seed(0)

    def block(i: int, o: int, stride: int) -> list[torch.nn.Module]:
        return [torch.nn.Conv2d(i, o, 3, stride, 1, bias=False), torch.nn.BatchNorm2d(o), torch.nn.ReLU()]

    net = torch.nn.Sequential(
        *block(3, 16, 1), *block(16, 16, 1), *block(16, 32, 2), *block(32, 32, 1), *block(32, 64, 2), *block(64, 64, 1),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10),
    )  # fmt: skip
    x, target = torch.randn(args.batch, 3, 32, 32), torch.arange(args.batch) % 10
    modules = {"float": net, "norms of the batch": qat.prepare(net, x[:2], data=x, weights=4)}
    modules["norms frozen"] = qat.prepare(net, x[:2], data=x, weights=4)
    modules["norms frozen"].freeze_norms()
    best = dict.fromkeys(modules, float("inf"))
    optimizers = {name: torch.optim.Adam(m.parameters()) for name, m in modules.items()}
    held = {name: saved_bytes(m.train(), x, target) for name, m in modules.items()}
    for _ in range(args.repeats):
        for name, module in modules.items():
            start = time.perf_counter()
            optimizers[name].zero_grad()
            torch.nn.functional.cross_entropy(module(x), target).backward()
            optimizers[name].step()
            best[name] = min(best[name], time.perf_counter() - start)
    for name in modules:
        print(f"{name}: {1e3 * best[name]:.1f} ms a step, {best[name] / best['float']:.2f} of float's;"
              f" {held[name] / 2**20:.1f} MB held for the gradients, {held[name] / held['float']:.2f}")  # fmt: skip


def saved_bytes(module: torch.nn.Module, x: torch.Tensor, target: torch.Tensor) -> int:
    """Bytes that a forward keeps for the gradients, each storage once."""
    kept: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = torch.nn.functional.cross_entropy(module(x), target)
    assert loss.requires_grad
    return sum(kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("eval", nargs="?", default=os.environ.get("BITLITE_EVAL", ""))
    parser.add_argument("--model", default="resnet8_cifar10")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4, 2])
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    (cost if args.cost else accuracy)(args)


if __name__ == "__main__":
    main()
