"""4 bits of matrix products, bitlite beside onnxruntime, NNCF and MindSpore Lite, as a markdown table.

    python benchmarks/block_table.py ZOO --peers PYTHON [--mslite "RUNNER"] [--methods bitlite onnxruntime …]

ZOO holds minilm.onnx and its vocabulary; the second model is a vision transformer's products, seeded weights of heavy
tails. PYTHON has onnxruntime with onnx_ir, nncf and openvino; RUNNER is a command that runs `RUNNER convert SOURCE
TARGET CONFIG` in the real converter and `RUNNER run MODEL.ms IN.npz OUT.npz` in its runtime. 64 samples calibrate, 64
others judge: SQNR in dB and the mean cosine with float; bytes are the model's files, seconds of the whole process.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitlite
import bitlite.converter.formats
import numpy as np
from block_peers import CALIBRATION, METHODS
from onnx import TensorProto, helper, numpy_helper, save

Feed = dict[str, np.ndarray]
_WIDTH, _PATCHES, _PIXELS, _HEADS, _LAYERS = 192, 64, 192, 3, 4
_TEXTS = ("README.md", "docs", "CONTRIBUTING.md")  # whose sentences MiniLM reads
_FORMS: dict[str, dict[str, Any]] = {
    "bitlite, blocks of 32": {"block_size": 32},
    "bitlite, blocks of 32, zero points": {"block_size": 32, "block_zero_points": True},
    "bitlite, blocks of 32, data": {"block_size": 32, "data": True},
    "bitlite, one scale per output, data": {"data": True},
}
_CONFIG = (
    "[common_quant_param]\nquant_type=WEIGHT_QUANT\nbit_num=4\nmin_quant_weight_size=0\nmin_quant_weight_channel=0\n"
)


def vision_transformer(path: Path) -> None:
    """Patches [1, P, 192] through layers of attention and a perceptron to 100 classes; weights are Student's t of 4."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def constant(value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, f"c{len(weights)}"))
        return weights[-1].name

    def node(op: str, *inputs: str, **fields: Any) -> str:
        nodes.append(helper.make_node(op, list(inputs), [f"v{len(nodes)}"], **fields))
        return f"v{len(nodes) - 1}"

    def product(x: str, k: int, n: int) -> str:
        w = (rng.standard_t(4, (k, n)) / np.sqrt(2 * k)).astype(np.float32)
        return node("Add", node("MatMul", x, constant(w)), constant(rng.normal(0, 0.1, n).astype(np.float32)))

    def norm(x: str) -> str:
        scale = rng.lognormal(0, 0.4, _WIDTH).astype(np.float32)
        return node("LayerNormalization", x, constant(scale), constant(np.zeros(_WIDTH, np.float32)))

    split = constant(np.array([1, _PATCHES, _HEADS, _WIDTH // _HEADS]))
    whole = constant(np.array([1, _PATCHES, _WIDTH]))
    x = product("x", _PIXELS, _WIDTH)
    for _ in range(_LAYERS):
        h = norm(x)
        q, k, v = (node("Reshape", product(h, _WIDTH, _WIDTH), split) for _ in range(3))
        q, v = (node("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
        scores = node("MatMul", q, node("Transpose", k, perm=[0, 2, 3, 1]))
        part = node("Softmax", node("Mul", scores, constant(np.float32(_HEADS**0.5 / _WIDTH**0.5))), axis=-1)
        h = node("Reshape", node("Transpose", node("MatMul", part, v), perm=[0, 2, 1, 3]), whole)
        x = node("Add", x, product(h, _WIDTH, _WIDTH))
        h = product(norm(x), _WIDTH, 4 * _WIDTH)
        half = node(
            "Mul", node("Add", node("Erf", node("Mul", h, constant(np.float32(0.5**0.5)))), constant(np.float32(1))), h
        )
        x = node("Add", x, product(node("Mul", half, constant(np.float32(0.5))), 4 * _WIDTH, _WIDTH))
    y = product(node("ReduceMean", norm(x), axes=[1], keepdims=0), _WIDTH, 100)
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, _PATCHES, _PIXELS])]
    ends.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 100]))
    graph = helper.make_graph(nodes, "vit", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def patches(count: int) -> Feed:
    """Waves of a few lengths across an image, and noise."""
    rng = np.random.default_rng(1)
    at = np.linspace(0, 1, _PATCHES * _PIXELS // 3)
    waves = [
        sum(rng.normal() * np.sin(at * rng.uniform(5, 500) + rng.uniform(0, 6)) for _ in range(8))
        for _ in range(3 * count)
    ]
    x = np.reshape(waves, (count, 1, _PATCHES, _PIXELS)) / 3 + rng.normal(0, 0.2, (count, 1, _PATCHES, _PIXELS))
    return {"x": x.astype(np.float32)}


def sentences(vocabulary: Path, count: int) -> Feed:
    """Lines of this project's own texts, whole words of the vocabulary, 32 at most."""
    root = Path(__file__).parents[1]
    files = [f for name in _TEXTS for f in sorted([root / name, *(root / name).glob("*.md")]) if f.is_file()]
    number = {word: i for i, word in enumerate(vocabulary.read_text(encoding="utf-8").splitlines())}
    lines = [
        re.findall("[a-z]+|[.,]", s.lower()) for f in files for s in re.split(r"[.:]\s", f.read_text(encoding="utf-8"))
    ]
    lines = [[number[w] for w in line if w in number][:30] for line in lines]
    chosen = np.random.default_rng(2).permutation([i for i, line in enumerate(lines) if len(line) > 7])[:count]
    ids, mask = np.zeros((count, 1, 32), np.int64), np.zeros((count, 1, 32), np.int64)
    for row, i in enumerate(chosen):
        tokens = [number["[CLS]"], *lines[i], number["[SEP]"]]
        ids[row, 0, : len(tokens)], mask[row, 0, : len(tokens)] = tokens, 1
    return {"input_ids": ids, "attention_mask": mask}


def _bytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir() if f.suffix in (".onnx", ".bin", ".xml", ".ms", ".data"))


def row(name: str, source: Path, want: np.ndarray, make: Callable[[Path], np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        try:
            got = make(Path(out)).reshape(want.shape).astype(np.float64)
        except (subprocess.CalledProcessError, bitlite.Error) as error:
            text = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
            print(f"| {source.stem} | {name} | {(text or '').strip().splitlines()[-1:]} | | | |", flush=True)
            return
        seconds = time.perf_counter() - start
        decibel = 10 * np.log10(np.square(want).sum() / np.square(got - want).sum())
        cosine = (got * want).sum(-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(want, axis=-1)
        print(
            f"| {source.stem} | {name} | {decibel:.1f} | {cosine.mean():.4f} | {_bytes(Path(out)):,} | {seconds:.0f} |",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--mslite", default="")
    parser.add_argument("--methods", nargs="*", default=[""])
    args = parser.parse_args()
    print("| model | form | SQNR dB | cosine | bytes | s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vision_transformer(folder / "vit.onnx")
        vocabulary = next(args.zoo.glob("x/*minilm*/**/vocab.txt"))
        models = {
            args.zoo / "minilm.onnx": sentences(vocabulary, 2 * CALIBRATION),
            folder / "vit.onnx": patches(2 * CALIBRATION),
        }
        for source, samples in models.items():
            compare(source, samples, folder, args)
    return 0


def compare(source: Path, samples: Feed, folder: Path, args: argparse.Namespace) -> None:
    feeds = [{k: x[i] for k, x in samples.items()} for i in range(2 * CALIBRATION)]
    judges = feeds[CALIBRATION:]

    def run(path: Path) -> np.ndarray:
        session = bitlite.load(str(path))
        return np.stack([next(iter(session.run(feed).values())) for feed in judges])

    def ours(out: Path, data: bool = False, **options: Any) -> np.ndarray:
        given = {"calibration_data": feeds[:CALIBRATION]} if data else {}
        gates = {"quant_weight_channel": 0, "gain_gate": False, "keep_float": embeddings}
        form = {"quant_type": "WeightQuant", "bit_num": 4, "output_format": "ONNX", "cost": False, "quiet": True}
        bitlite.convert(source, out / "model", **form, **gates, **given, **options)
        return run(out / "model.onnx")

    def theirs(out: Path, method: str) -> np.ndarray:
        peer = str(Path(__file__).with_name("block_peers.py"))
        subprocess.run([args.peers, peer, method, source, file, out], check=True, capture_output=True, text=True)
        return np.load(out / "outputs.npy")

    def real(out: Path) -> np.ndarray:
        config, fed, given = out / "4.cfg", out / "in.npz", out / "out.npz"
        config.write_text(_CONFIG)
        runner, quiet = args.mslite.split(), {"check": True, "capture_output": True, "text": True}
        subprocess.run([*runner, "convert", source, out / "model", config], **quiet)
        np.savez(fed, **{f"in{k}": x[CALIBRATION:, 0] for k, x in enumerate(samples.values())})
        subprocess.run([*runner, "run", out / "model.ms", fed, given], **quiet)
        return np.load(given)["out0"]

    file = folder / f"{source.stem}.npz"
    np.savez(file, **samples)
    nodes = bitlite.converter.formats.read_model(str(source)).nodes
    tables = [n for n in nodes if n.op == "Gather" and n.required(0).is_const]
    embeddings = [n.name for n in tables if n.required(0).value.size > 1 << 20]  # as others leave them
    want = run(source).astype(np.float64)
    forms: dict[str, Callable[[Path], np.ndarray]] = {
        name: lambda out, options=options: ours(out, **options) for name, options in _FORMS.items()
    }
    forms |= {method: lambda out, method=method: theirs(out, method) for method in METHODS}
    if args.mslite:
        forms["MindSpore Lite, one scale per output"] = real
    for name, make in forms.items():
        if any(part in name for part in args.methods):
            row(name, source, want, make)


if __name__ == "__main__":
    sys.exit(main())
