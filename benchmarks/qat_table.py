"""Training with quantization beside PostTraining and torchao at the same bits, on held-out images; what a step costs.

    python benchmarks/qat_table.py EVAL [--steps 500] [--bits 4 2] [--ways file module torchao] [--forms plain learned]

EVAL is the folder of evaluation models and images with its evalpack.py. The evaluation images are split in two:
training sees the even ones, flipped, shifted and mixed; every figure is of the odd ones. Weights of the first and the
last layer keep 8 bits. Prints one markdown table: top-1 and the difference from float with its paired standard error of

* file: PostTraining of the .onnx, from which `qat.finetune` begins, and that; below it the codes that module and
  Session share on 100 images, and how far LiteRT and onnxruntime are from the module on the files that are written.
* module: `qat.prepare` of a torch module of the same weights, trained by `fit` of qat_peers.py.
* torchao: its `prepare_qat_pt2e` of that module in the same loop, with the same images, steps, optimizer, labels and
  teacher. Its first layer stays in float, since its selection by name reaches no convolution.

`--cost` prints what a training step takes beside the float module's, and what its forward keeps for the gradients.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from pathlib import Path

import bitlite
import numpy as np
import torch
from bitlite import qat
from ptq_table import load_evalpack
from qat_peers import FORMS, Data, fit, runtimes, torchao_converted, torchao_prepared, torchao_trained
from resnet8 import resnet8

MODEL = "resnet8_cifar10"
AUGMENT = ["flip", "shift", "mix"]
WAYS = ("file", "module", "torchao")


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
    pack = load_evalpack(Path(args.eval))
    data, _, scaling, first = pack.MODELS[MODEL]
    images, labels = pack.images(data, "eval")
    folder = Path(args.eval) / "data" / "models"
    source = (folder if folder.exists() else Path(args.eval) / "models") / f"{MODEL}.onnx"
    x = np.ascontiguousarray(pack.preprocess(images, scaling).transpose(0, 3, 1, 2))
    labels = np.asarray(labels) + first
    seen, unseen = (x[::2], labels[::2]), (x[1::2], labels[1::2])
    base = top1(bitlite.load(str(source), threads=os.cpu_count() or 1), *unseen)
    kind = "unlabelled" if args.no_labels else "labelled"
    print(f"{MODEL}: trained on {len(seen[0])} {kind} images, judged on {len(unseen[0])} others\n")
    print("| | top-1, % | against float |\n|---|---|---|")
    print(f"| float | {100 * base.mean():.2f} | |", flush=True)
    for bits in args.bits:
        if "file" in args.ways:
            of_file(args, source, bits, seen, unseen, base)
        if "module" in args.ways:
            of_module(args, source, bits, seen, unseen, base)
        for form in args.forms if "torchao" in args.ways else ():
            of_torchao(args, source, bits, form, seen, unseen, base)


Arrays = tuple[np.ndarray, np.ndarray]
"""Images [n, 3, 32, 32] and class numbers [n]."""


def of_file(args: argparse.Namespace, source: Path, bits: int, seen: Arrays, unseen: Arrays, base: np.ndarray) -> None:
    weights = {"": bits} | dict.fromkeys(("re:.*/conv2d/Conv2D1.*", "re:.*dense.*"), 8)
    labels = None if args.no_labels else seen[1]
    for name, steps in (("PostTraining", 0), ("`qat.finetune`", args.steps)):
        start = time.perf_counter()
        module = qat.finetune(
            source, seen[0], labels=labels, steps=steps, rate=args.rate, augment=AUGMENT, weights=weights
        )
        spent = f"{steps} steps in {time.perf_counter() - start:.0f} s"
        right = top1(bitlite.Session(module.graph(), os.cpu_count() or 1), *unseen)
        print(line(f"{name}, {bits}-bit weights, {spent}", right, base), flush=True)
    probes = unseen[0][:100]
    print(f"<!-- {qat.verify(module, torch.from_numpy(probes))}; {runtimes(module, probes)} -->", flush=True)


WIDE = ("stem", "dense")
"""Layers of the torch module whose weights keep 8 bits."""


def of_module(
    args: argparse.Namespace, source: Path, bits: int, seen: Arrays, unseen: Arrays, base: np.ndarray
) -> None:
    net, (x, _) = resnet8(source), as_tensors(seen)
    module = qat.prepare(net, x[:2], data=x[:100], weights={"": bits} | dict.fromkeys(WIDE, 8))
    said = trained(args, module.train(), net, seen)
    right = top1(bitlite.Session(module.eval().graph(), os.cpu_count() or 1), *unseen)
    print(line(f"`qat.prepare`, {bits}-bit weights, {said}", right, base), flush=True)


def of_torchao(
    args: argparse.Namespace, source: Path, bits: int, form: str, seen: Arrays, unseen: Arrays, base: np.ndarray
) -> None:
    net, (x, labels) = resnet8(source), as_tensors(unseen)
    module = torchao_prepared(copy.deepcopy(net), as_tensors(seen)[0], bits, form, WIDE)
    said = trained(args, module, net, seen)
    for state, make in (("as trained", torchao_trained), ("converted", torchao_converted)):
        with torch.no_grad():
            right = (make(module)(x).argmax(1) == labels).numpy()
        print(line(f"torchao, {form}, {bits}-bit weights, {said}, {state}", right, base), flush=True)


def trained(args: argparse.Namespace, module: torch.nn.Module, teacher: torch.nn.Module, seen: Arrays) -> str:
    """Trains the module; says for how long."""
    start = time.perf_counter()
    fit(module, as_tensors(seen), args.steps, args.rate, teacher, AUGMENT)
    return f"{args.steps} steps in {time.perf_counter() - start:.0f} s"


def as_tensors(data: Arrays) -> Data:
    return torch.from_numpy(data[0].copy()), torch.from_numpy(data[1].copy()).long()


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
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=["plain", "learned"])
    parser.add_argument("--no-labels", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    (cost if args.cost else accuracy)(args)


if __name__ == "__main__":
    main()
