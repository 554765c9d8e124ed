"""Searches for what may be lost, and what is lost on samples that no search has seen, as a markdown table.

    python benchmarks/search_goals.py EVAL [MODELS_PY] [--only resnet8 …] [--threads 2] [--nncf PYTHON]

EVAL holds `models/` and `evalpack.py` (labelled images); MODELS_PY has MODELS[name] = (file, sizes, sample, task).
Classifiers of EVAL: points of top-1, on 100 calibration images and as many of the evaluation images as `--more` says;
judged on those that are left. Of MODELS_PY: lines of text (equal strings), sentence vectors (mean cosine), kinds of
files (same class), WeightQuant on 200 samples, judged on 300 others. PYTHON is an interpreter with nncf and openvino:
NNCF's accuracy control has the goal of the int8 classifiers and the same images, calibrates on all and judges on those
beyond the 100.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bitlite
import numpy as np
from float_equality import pack
from real_model_runs import TASKS, Row, decoded, load_models, run_bitlite

CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet8": ("resnet8_cifar10.tflite", {"quant_type": "WeightQuant", "max_drop": 0.5, "fp16": True}),
    "mobilenet": (
        "mobilenet_v2_1.0_224_tf.tflite",
        {"quant_type": "WeightQuant", "max_drop": 1.0, "target_size": "2.4MB", "fp16": True},
    ),
    "resnet8-int8": ("resnet8_cifar10.tflite", {"quant_type": "PostTraining", "max_drop": 0.5}),
}
SEARCHED, UNSEEN = 200, 300
_NNCF = """
import sys, time
import nncf, numpy as np, openvino as ov
source, data, target, drop, threads = sys.argv[1:]
z, core = np.load(data), ov.Core()
core.set_property("CPU", {"INFERENCE_NUM_THREADS": int(threads)})
feed = lambda pair: pair[0]
def top1(compiled, pairs):
    right = [float(np.argmax(compiled(x)[0]) == y) for x, y in pairs]
    return float(np.mean(right)), right
known, labels, judges = z["known"], z["labels"], int(z["judges"])
pairs = list(zip(known, labels))
start = time.perf_counter()
form = nncf.quantize_with_accuracy_control(
    core.read_model(source), nncf.Dataset(pairs, feed), nncf.Dataset(pairs[-judges:], None),
    lambda compiled, pairs: top1(compiled, pairs), max_drop=float(drop) / 100, subset_size=len(pairs))
seconds = time.perf_counter() - start
ov.save_model(form, target)
names = [core.compile_model(m, "CPU") for m in (core.read_model(source), core.read_model(target))]
best = [[int(np.argmax(compiled(x)[0])) for x in z["fresh"]] for compiled in names]
np.savez(data, best=best, seconds=seconds)
"""


def text_of(scores: np.ndarray) -> str:
    return " ".join(map(str, decoded(scores)))


def equal_strings(outputs: Sequence[Row], labels: Sequence[str]) -> list[float]:
    """Percent: 100 where the string is that of float."""
    return [100.0 * (text_of(next(iter(o.values()))) == text) for o, text in zip(outputs, labels)]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


JUDGES: dict[str, tuple[dict[str, Any], str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "ocr_rec": ({"max_drop": 0.5}, "equal strings %", lambda a, b: 100 * TASKS["ctc"](a, b)),
    "minilm": ({"max_drop": "0.99cos"}, "mean cosine", cosine),
    "magika": ({"max_drop": "1%"}, "same class %", lambda a, b: 100 * TASKS["cls"](a, b)),
}


def show(name: str, goal: str, report: Any, before: int, unseen: str, seconds: float) -> None:
    found = report.search
    size = found.best.bytes
    print(
        f"| {name} | {goal} | {'met' if found.met else 'missed'}: {found.best.loss.text()} | {size:,} of {before:,} |"
        f" {unseen} | {len(found.trials)} | {seconds:.0f} |",
        flush=True,
    )


def points(best: Sequence[np.ndarray], labels: np.ndarray) -> str:
    """What top-1 changes by, with the paired standard error. best: classes before and after."""
    before, after = (np.asarray(b) == labels for b in best)
    apart = after.astype(float) - before
    error = 100 * apart.std(ddof=1) / np.sqrt(len(apart))
    return f"{100 * apart.mean():+.2f} ± {error:.2f} points (n={len(apart)})"


def classifier(name: str, args: argparse.Namespace) -> None:
    file, options = CLASSIFIERS[name]
    images = pack(str(args.eval))
    model, source = Path(file).stem, str(args.eval / "models" / file)
    data, _, how, first = images.MODELS[model]
    (x, y), (more, labels) = images.images(data, "calib"), images.images(data, "eval")
    count = args.more
    known = [a[None] for a in images.preprocess(np.concatenate([x, more[:count]]), how)]
    classes = [int(c) + first for c in np.concatenate([y, labels[:count]])]
    fresh, unseen = [a[None] for a in images.preprocess(more[count:], how)], labels[count:] + first
    with tempfile.TemporaryDirectory() as folder:
        path, start = os.path.join(folder, "m.ms"), time.perf_counter()
        report = bitlite.convert(
            source, path, calibration_data=known, labels=classes, threads=args.threads, calibrate_size=len(known),
            quiet=True, **options,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        best = []
        for form in (source, path):
            session = bitlite.load(form, args.threads)
            port, output = session.inputs[0].name, session.outputs[0].name
            best.append(np.array([session.run({port: a})[output].argmax() for a in fresh]))
        goal = ", ".join(f"{k}={v}" for k, v in options.items() if k not in ("fp16", "quant_type"))
        show(f"{name}, {options['quant_type']}", goal, report, os.path.getsize(source), points(best, unseen), seconds)
        if args.nncf and options["quant_type"] == "PostTraining":
            arrays, target = os.path.join(folder, "data.npz"), os.path.join(folder, "m.xml")
            np.savez(arrays, known=known, labels=classes, judges=count, fresh=fresh)
            command = [args.nncf, "-c", _NNCF, source, arrays, target, str(options["max_drop"]), str(args.threads)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            theirs, size = np.load(arrays), os.path.getsize(target.replace(".xml", ".bin"))
            print(
                f"| {name}, NNCF's accuracy control | {goal} | | {size:,} (.bin) of {os.path.getsize(source):,} |"
                f" {points(theirs['best'], unseen)} | | {theirs['seconds']:.0f} |",
                flush=True,
            )


def stranger(name: str, args: argparse.Namespace, models: Any) -> None:
    file, sizes, sample, _ = models[name]
    options, what, alike = JUDGES[name]
    known = [sample(k, "calib") for k in range(SEARCHED)]
    fresh = [sample(k, "eval") for k in range(UNSEEN)]
    shapes = {k: tuple(v) for k, v in sizes.items()} if sizes else None
    given: dict[str, Any] = dict(options)
    if name == "ocr_rec":
        labels = [text_of(next(iter(y.values()))) for y in run_bitlite(file, known, args.threads, shapes)]
        given |= {"labels": labels, "metric": equal_strings}
    with tempfile.TemporaryDirectory() as folder:
        path, start = os.path.join(folder, "m.ms"), time.perf_counter()
        report = bitlite.convert(
            file, path, quant_type="WeightQuant", input_shape=shapes, calibration_data=known, threads=args.threads,
            calibrate_size=len(known), quiet=True, **given,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        pairs = zip(run_bitlite(file, fresh, args.threads, shapes), run_bitlite(path, fresh, args.threads))
        values = np.array([alike(*(next(iter(row.values())) for row in pair)) for pair in pairs])
    unseen = f"{what} {values.mean():.4g} ± {values.std(ddof=1) / np.sqrt(len(values)):.2g} (n={len(values)})"
    show(f"{name}, WeightQuant", str(options["max_drop"]), report, os.path.getsize(file), unseen, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval", type=Path)
    parser.add_argument("models", metavar="MODELS_PY", nargs="?")
    parser.add_argument("--only", nargs="+", default=[*CLASSIFIERS, *JUDGES])
    parser.add_argument("--more", type=int, default=200, help="evaluation images that the search may see")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nncf", metavar="PYTHON")
    args = parser.parse_args()
    print("| model | goal | found | bytes | on samples never seen | forms tried | s |\n|---|---|---|---|---|---|---|")
    models = load_models(args.models).MODELS if args.models else {}
    for name in args.only:
        if name in CLASSIFIERS:
            classifier(name, args)
        elif name in models:
            stranger(name, args, models)
    return 0


if __name__ == "__main__":
    sys.exit(main())
