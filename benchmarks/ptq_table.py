"""Tables of PostTraining's accuracy: every method of bitlite, and other quantizers, on the same samples.

    python benchmarks/ptq_table.py EVAL WORK [--models …] [--only …] [--peers PYTHON] [--runner RUNNER] [--images 700]

EVAL (or $BITLITE_EVAL) is the folder of evaluation models and images with its evalpack.py. PYTHON: an interpreter with
onnxruntime and NNCF. RUNNER: a command that runs `RUNNER convert SOURCE TARGET CONFIG` in the MindSpore Lite converter
and `RUNNER run MODEL.ms IN.npz OUT.npz` in its runtime. Every cell is one whole conversion, from the same 100 files,
and one run over the evaluation images; its scores are kept in WORK, where the next call finds them. Files of MindSpore
Lite run in bitlite's Session once a few samples have shown that it computes what their runtime does. Prints one
markdown table per model.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import bitlite
import numpy as np

METHODS = (
    *("AUTO", "MSE", "MAX_MIN", "ADMM", "KL", "JSD", "SYMKL", "PERCENTILE", "ACIQ"),
    *("REMOVAL_OUTLIER", "RemovalOutlier"),
)
PEERS = ("onnxruntime MinMax", "onnxruntime Percentile", "NNCF", "NNCF, full bias correction")
REAL = ("MindSpore Lite MAX_MIN", "MindSpore Lite KL")
_CONFIG = """\
[common_quant_param]
quant_type=FULL_QUANT
bit_num=8
min_quant_weight_size=0
min_quant_weight_channel=16

[full_quant_param]
activation_quant_method={method}
bias_correction=true

[data_preprocess_param]
calibrate_path={name}:{folder}
calibrate_size={count}
input_type=BIN
"""
_CHUNK = 50
_CHECKED = 4


class Model:
    """One evaluation model: its files, samples, and scores of its float form."""

    def __init__(self, pack: ModuleType, data: Path, name: str, work: Path, threads: int) -> None:
        self.pack, self.name, self.work, self.threads = pack, name, work, threads
        files = [p for ending in (".tflite", ".onnx") if (p := data / "models" / (name + ending)).exists()]
        self.source, self.onnx = files[0], data / "models" / (name + ".onnx")
        self.images, self.labels = pack.images(pack.MODELS[name][0], "eval")
        self.labels = self.labels + pack.MODELS[name][3]
        self.bins = work / (name + "_bins")
        if not self.bins.exists():
            self.bins.mkdir(parents=True)
            for i, sample in enumerate(pack.calibration(name)):
                np.ascontiguousarray(sample).tofile(self.bins / f"{i:04d}.bin")

    def inputs(self, rows: slice) -> np.ndarray:
        """Evaluation samples, channels last."""
        return self.pack.preprocess(self.images[rows], self.pack.MODELS[self.name][2])

    def cell(self, label: str, make: Callable[[Path], Callable[[np.ndarray], np.ndarray]]) -> np.ndarray | None:
        """Scores [n, classes] of a cell; made and kept when they are not there yet. None: it failed, see WORK."""
        stem = f"{self.name}__{label}".replace(" ", "_").replace(":", "-").replace(",", "")
        kept, failed = self.work / (stem + ".npy"), self.work / (stem + ".failed")
        if failed.exists():
            return None
        if not kept.exists():
            start = time.perf_counter()
            try:
                run = make(self.work / stem)
                seconds = time.perf_counter() - start
                parts = range(0, len(self.images), _CHUNK)
                scores = np.concatenate([run(self.inputs(slice(i, i + _CHUNK))) for i in parts])
            except (RuntimeError, bitlite.Error) as error:
                failed.write_text(str(error))
                print(f"{self.name}, {label}: {error}", file=sys.stderr)
                return None
            (self.work / (stem + ".json")).write_text(json.dumps({"seconds": seconds}))
            np.save(kept, scores.astype(np.float32))
            print(f"{self.name}, {label}: {seconds:.1f} s", file=sys.stderr, flush=True)
        return np.load(kept)


def in_session(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    session = bitlite.load(str(path), threads=threads)
    source, target = session.inputs[0], session.outputs[0].name

    def run(x: np.ndarray) -> np.ndarray:
        if source.layout == "NCHW":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        return np.stack([session.run({source.name: row[None]})[target].ravel() for row in x])

    return run


def ours(model: Model, method: str, bits: int = 8) -> Callable[[Path], Callable[[np.ndarray], np.ndarray]]:
    def make(stem: Path) -> Callable[[np.ndarray], np.ndarray]:
        flags = [f"--modelFile={model.source}", f"--outputFile={stem}", "--quantType=PostTraining", f"--bitNum={bits}"]
        data = [f"--calibratePath={model.bins}", f"--method={method}", f"--threads={model.threads}", "--quiet"]
        call([sys.executable, "-m", "bitlite.tools.converter_lite", *flags, *data])
        return in_session(stem.with_name(stem.name + ".ms"), model.threads)

    return make


def peer(model: Model, python: str, method: str) -> Callable[[Path], Callable[[np.ndarray], np.ndarray]]:
    script = str(Path(__file__).with_name("ptq_peers.py"))

    def planes(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))

    def make(stem: Path) -> Callable[[np.ndarray], np.ndarray]:
        given, results, path = (stem.with_name(stem.name + e) for e in (".in.npy", ".out.npy", ".onnx"))
        np.save(given, planes(model.pack.calibration(model.name)))
        call([python, script, method, str(model.onnx), str(given), str(path)])

        def run(x: np.ndarray) -> np.ndarray:
            np.save(given, planes(x))
            call([python, script, "run", str(path), str(given), str(results)])
            scores = np.load(results)
            given.unlink()
            results.unlink()
            return scores

        return run

    return make


def real(model: Model, runner: list[str], method: str) -> Callable[[Path], Callable[[np.ndarray], np.ndarray]]:
    def make(stem: Path) -> Callable[[np.ndarray], np.ndarray]:
        config, given, results, path = (stem.with_name(stem.name + e) for e in (".cfg", ".in.npz", ".out.npz", ".ms"))
        name = bitlite.load(str(model.source)).inputs[0].name
        text = _CONFIG.format(method=method.split()[-1], name=name, folder=model.bins, count=100)
        config.write_text(text)
        if not path.exists():
            call([*runner, "convert", str(model.source), str(stem), str(config)])
        run, x = in_session(path, model.threads), model.inputs(slice(0, _CHECKED))
        np.savez(given, in0=x[:, None])
        call([*runner, "run", str(path), str(given), str(results)])
        theirs = np.load(results)["out0"].reshape(len(x), -1)
        noise = 10 * np.log10(np.square(theirs).sum() / (np.square(theirs - run(x)).sum() + 1e-30))
        if noise < 60:
            raise RuntimeError(f"bitlite's Session is {noise:.1f} dB from what their runtime computes")
        return run

    return make


def call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise RuntimeError(f"{Path(command[0]).name} ends with {done.returncode}: {said[-1]}")


def row(label: str, scores: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> str:
    n = len(labels)
    same = scores.argmax(1) == reference.argmax(1)
    change = (scores.argmax(1) == labels).astype(float) - (reference.argmax(1) == labels)
    error = np.square(scores.astype(np.float64) - reference).sum()
    noise = 10 * np.log10(np.square(reference.astype(np.float64)).sum() / error)
    spread = [100 * np.sqrt(v.var() / n) for v in (same, change)]
    return (
        f"| {label} | {100 * same.mean():.2f} ± {spread[0]:.2f} | {noise:.2f} "
        f"| {100 * change.mean():+.2f} ± {spread[1]:.2f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval", nargs="?", default=os.environ.get("BITLITE_EVAL"))
    parser.add_argument("work", nargs="?", default="ptq_table")
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--only", nargs="+", help="labels of the rows to make")
    parser.add_argument("--bits", action="store_true", help="AUTO with weights of 8 to 1 bits instead, with bytes")
    parser.add_argument("--peers", help="python of an environment with onnxruntime and NNCF")
    parser.add_argument("--runner")
    parser.add_argument("--images", type=int, help="evaluate only so many images, spread evenly")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if not args.eval:
        parser.error("the evaluation folder is needed")
    data, work = Path(args.eval), Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    pack = load_evalpack(data)
    for name in args.models or pack.MODELS:
        model = Model(pack, data, name, work, args.threads)
        if args.images and args.images < len(model.images):
            chosen = np.linspace(0, len(model.images) - 1, args.images).astype(int)
            model.images, model.labels = model.images[chosen], model.labels[chosen]
        reference = model.cell("float", lambda _, m=model: in_session(m.source, args.threads))
        assert reference is not None
        jobs = {m: ours(model, m) for m in METHODS}
        if args.bits:
            jobs = {f"{b} bits": ours(model, "AUTO", b) for b in range(8, 0, -1)}
        else:
            jobs |= {m: peer(model, args.peers, m) for m in PEERS if args.peers}
            jobs |= {m: real(model, args.runner.split(), m) for m in REAL if args.runner}
        top = 100 * (reference.argmax(1) == model.labels).mean()
        lines = [f"{name}, n = {len(model.labels)}, float top-1 {top:.2f} %", ""]
        head = ["", "agreement %", "SQNR dB", "top-1 against float, points", *["bytes"] * args.bits]
        lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for label, job in jobs.items():
            if args.only and label not in args.only:
                continue
            scores = model.cell(label, job)
            if scores is not None:
                lines.append(row(label, scores, reference, model.labels))
                if args.bits:
                    lines[-1] += f" {os.path.getsize(work / f'{name}__{label}.ms'.replace(' ', '_')):,} |"
        print("\n".join(lines) + "\n", flush=True)
    return 0


def load_evalpack(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("evalpack", folder / "evalpack.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
