"""int8 files in the real MindSpore Lite runtime, beside bitlite's Session: whole models, each node, single operators.

    python benchmarks/interop_int8.py EVAL RUNNER [--samples N] [--node-samples N] [--models NAME …] [--target …]
    python benchmarks/interop_int8.py EVAL RUNNER --operators [--only REGEX] [--target …]

EVAL is the folder of evaluation models and images with its evalpack.py; RUNNER a command that runs
`RUNNER run MODEL.ms IN.npz OUT.npz` (in0, in1, … with a leading sample axis → out0, …) in the real runtime.

Whole models: each is quantized on 100 calibration samples for every target; printed are mean and smallest cosine of the
outputs over the samples and how often the top class is the same. Nodes: the file is written once more with every
tensor as an output, and each node is run here on what the real runtime fed it; printed are, per operator, nodes,
the share of equal elements, the largest difference in codes, and the mean difference (here less there). Operators: the
same for small networks around one operator each (`interop_networks`).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import bitlite
import numpy as np
from bitlite.converter.formats import ms
from bitlite.converter.ir import Graph, Node, Tensor
from bitlite.native.session import Session
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings
from float_equality import pack
from interop_networks import NETWORKS, Inputs, network

MODELS = ("resnet8_cifar10.tflite", "mobilenet_v2_1.0_224_tf.tflite", "squeezenet1.1.onnx", "ad01_fp32.tflite")
TARGETS = ("mslite", "bitlite")


@dataclass
class Count:
    """Elements compared; of integers."""

    nodes: int = 0
    elements: int = 0
    different: int = 0
    largest: int = 0
    total: float = 0.0
    worst: list[str] = field(default_factory=list)

    def add(self, node: Node, mine: np.ndarray, theirs: np.ndarray) -> None:
        d = mine.astype(np.int64) - theirs.astype(np.int64)
        self.nodes += 1
        self.elements += d.size
        self.different += int(np.count_nonzero(d))
        self.largest = max(self.largest, int(np.abs(d).max(initial=0)))
        self.total += float(d.sum())
        if np.count_nonzero(d) > 0.001 * d.size:
            self.worst.append(node.name)

    def __str__(self) -> str:
        equal = 100 * (1 - self.different / max(self.elements, 1))
        mean = self.total / max(self.elements, 1)
        return f"{self.nodes:3d} nodes  {equal:9.5f} % equal  max {self.largest} codes  mean {mean:+.5f}"


def run_there(runner: str, path: str, data: list[np.ndarray], folder: str) -> list[np.ndarray]:
    """Outputs of the real runtime, each with a leading sample axis."""
    source, target = os.path.join(folder, "in.npz"), os.path.join(folder, "out.npz")
    np.savez(source, **{f"in{i}": a for i, a in enumerate(data)})
    done = subprocess.run([*runner.split(), "run", path, source, target], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit status {done.returncode}")
    with np.load(target) as arrays:
        return [arrays[f"out{i}"] for i in range(len(arrays.files))]


def alone(graph: Graph, node: Node) -> tuple[Graph, list[Tensor]]:
    """The node as a graph of its own, and the tensors that it is fed."""
    fed = [t for t in dict.fromkeys(node.inputs) if t is not None and not t.is_const]
    copies = {t: Tensor(t.name, t.dtype, t.shape, None, t.quant, t.layout) for t in (*fed, *node.outputs)}
    inputs = [copies.get(t, t) if t is not None else None for t in node.inputs]
    one = Node(node.op, node.name, inputs, [copies[t] for t in node.outputs], dict(node.attrs), node.origin)
    return Graph("one", [one], [copies[t] for t in fed], list(one.outputs), dict(graph.meta)), fed


def nodes(runner: str, path: str, data: list[np.ndarray], folder: str) -> Iterator[tuple[Node, np.ndarray, np.ndarray]]:
    """Every node with integer outputs: what it gives here on what the real runtime fed it, and what it gave there."""
    graph = ms.read(path)
    known = set(graph.outputs)
    # The real runtime crashes when a transposition of codes gives a graph output.
    seen = [t for n in graph.nodes if n.op != "Transpose" for t in n.outputs if t not in known]
    graph.outputs = [*graph.outputs, *seen]
    tapped = os.path.join(folder, "tapped.ms")
    ms.write(graph, tapped)
    values = dict(zip(graph.outputs, run_there(runner, tapped, data, folder))) | dict(zip(graph.inputs, data))
    for node in graph.nodes:
        one, fed = alone(graph, node)
        session = Session(one)
        runs = [
            session.run({t.name: np.reshape(values[t][k], t.shape or ()) for t in fed}) for k in range(len(data[0]))
        ]
        for t in node.outputs:
            mine = np.stack([r[t.name] for r in runs])
            theirs = values.setdefault(t, mine)
            if mine.dtype.kind in "iu" and t.quant is not None and theirs is not mine:
                yield node, mine, theirs.reshape(mine.shape)


def label(node: Node) -> str:
    return "depthwise" if node.op == "Conv" and node.attrs["group"] > 1 else node.op


def samples(data: str, model: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibration inputs [100, …] and `count` others."""
    name, evalpack = model.rpartition(".")[0], pack(data)
    if name in evalpack.MODELS:
        part, _, how, _ = evalpack.MODELS[name]
        images = evalpack.images(part, "eval")[0]
        chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
        return evalpack.calibration(name), evalpack.preprocess(images[chosen], how)
    port = bitlite.load(os.path.join(data, "models", model)).inputs[0]
    noise = np.random.default_rng(0).standard_normal((100 + count, *(d or 1 for d in (port.shape or ())[1:])))
    return noise[:100].astype(np.float32), noise[100:].astype(np.float32)


def laid_out(x: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Samples [n, …] or [n, 1, …] as [n, 1, …] for an input of that shape, channels where it has them."""
    x = x if x.ndim == len(shape) + 1 else x[:, None]
    forms = (x, np.moveaxis(x, -1, 2), np.moveaxis(x, 2, -1))
    return np.ascontiguousarray(next(a for a in forms if a.shape[2:] == shape[1:]))


def whole(runner: str, path: str, x: np.ndarray, folder: str) -> str:
    session = bitlite.load(path)
    name = session.inputs[0].name
    mine = np.stack([next(iter(session.run({name: v}).values())).ravel() for v in x]).astype(np.float64)
    theirs = run_there(runner, path, [x], folder)[0].reshape(mine.shape).astype(np.float64)
    cosines = (mine * theirs).sum(1) / (np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1))
    same = 100 * float((mine.argmax(1) == theirs.argmax(1)).mean())
    return f"cosine mean {cosines.mean():.6f}  min {cosines.min():.6f}  top class {same:.1f} % the same  (n={len(x)})"


def models(args: argparse.Namespace, folder: str) -> None:
    for model in args.models:
        source = os.path.join(args.data, "models", model)
        shape = bitlite.load(source).inputs[0].shape or ()
        calibration, x = (laid_out(a, shape) for a in samples(args.data, model, args.samples))
        for target in args.target:
            path = os.path.join(folder, f"{model}.{target}")
            bitlite.convert(source, path, quant_type="PostTraining", calibration_data=list(calibration), target=target)
            fed = laid_out(x, bitlite.load(f"{path}.ms").inputs[0].shape or ())
            print(f"{model} --target={target}: {whole(args.runner, f'{path}.ms', fed, folder)}", flush=True)
            counts: dict[str, Count] = {}
            for node, mine, theirs in nodes(args.runner, f"{path}.ms", [fed[: args.node_samples]], folder):
                counts.setdefault(label(node), Count()).add(node, mine, theirs)
            for name, count in sorted(counts.items()):
                print(f"    {name:16s} {count}", flush=True)


def operators(args: argparse.Namespace, folder: str) -> None:
    given = Inputs(32, seed=1)
    data = [np.stack([v["x"] for v in Inputs(48, seed=7)])]
    path = os.path.join(folder, "small.ms")
    for target in args.target:
        for name in NETWORKS:
            if not re.search(args.only, name):
                continue
            head = f"--target={target:8s} {name:28s}"
            result = quantize_graph(network(name), given, Settings(target=target))
            why = {n.name: reason for n, reason in result.plan.why.items()}
            counts: dict[str, Count] = {}
            try:
                ms.write(result.graph, path)
                for node, mine, theirs in nodes(args.runner, path, data, folder):
                    if node.name.startswith("op"):
                        counts.setdefault(label(node), Count()).add(node, mine, theirs)
            except (bitlite.Error, RuntimeError) as problem:
                print(f"{head} {problem}", flush=True)
                continue
            if not counts:
                print(f"{head} {why.get('op') or 'seen only through the layer behind it'}", flush=True)
            for operator, count in counts.items():
                print(f"{head} {operator:16s} {count}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("runner")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--target", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--node-samples", type=int, default=4)
    parser.add_argument("--operators", action="store_true")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (operators if args.operators else models)(args, folder)


if __name__ == "__main__":
    main()
