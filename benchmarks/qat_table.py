"""Training with quantization beside PostTraining, at the same bits, on held-out images; and what a step costs.

    python benchmarks/qat_table.py EVAL [--model resnet8_cifar10] [--steps 500] [--bits 4 2] [--no-labels]

EVAL is the folder of evaluation models and images with its evalpack.py. The evaluation images are split in two:
`finetune` sees the even ones, flipped, shifted and mixed; every figure is of the odd ones. Weights of the layers of
`--wide` keep 8 bits. Prints one markdown table (top-1 of the float file, of PostTraining, from which the fine-tune
begins, and of the fine-tune, the difference from float with its paired standard error), the codes that module and
Session share on 100 images, and how far LiteRT and onnxruntime are from the module on the files that are written.
`--cost` prints what a training step takes beside the float module's, and what its forward keeps for the gradients.
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
from write_formats import compare_nodes, sqnr


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
    given = None if args.no_labels else labels[::2]
    kind = "unlabelled" if args.no_labels else "labelled"
    print(f"{args.model}: trained on {len(seen)} {kind} images, judged on {len(unseen)} others\n")
    print("| | top-1, % | against float |\n|---|---|---|")
    print(f"| float | {100 * base.mean():.2f} | |")
    for bits in args.bits:
        weights = {"": bits} | dict.fromkeys(args.wide, 8)
        options = {"weights": weights, "labels": given, "batch": args.batch, "rate": args.rate}
        for name, steps in (("PostTraining", 0), ("finetune", args.steps)):
            start = time.perf_counter()
            module = qat.finetune(source, seen, steps=steps, augment=["flip", "shift", "mix"], **options)
            spent = f"{steps} steps in {time.perf_counter() - start:.0f} s"
            right = top1(bitlite.Session(module.graph(), os.cpu_count() or 1), unseen, wanted)
            print(line(f"{name}, {bits}-bit weights, {spent}", right, base), flush=True)
        print(
            f"<!-- {qat.verify(module, torch.from_numpy(unseen[:100]))}; {runtimes(module, unseen[:100])} -->",
            flush=True,
        )


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
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--wide", nargs="*", default=["re:.*/conv2d/Conv2D1.*", "re:.*dense.*"])
    parser.add_argument("--no-labels", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    (cost if args.cost else accuracy)(args)


if __name__ == "__main__":
    main()
