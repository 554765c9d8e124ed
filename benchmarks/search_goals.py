"""Searches for what may be lost, and what is lost on samples that no search has seen, as a markdown table.

    python benchmarks/search_goals.py EVAL [ZOO] [--only resnet8 …] [--threads 2]

EVAL holds `models/` and `evalpack.py` (labelled images); ZOO a models.py: MODELS[name] = (file, sizes, sample, task).
Classifiers of EVAL: points of top-1, WeightQuant, on 100 calibration images and as many of the evaluation images as
`--more` says; judged on those that are left. Of ZOO: lines of text (equal strings), sentence vectors (mean cosine),
kinds of files (same class), 200 samples, judged on 300 others.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bitlite
import numpy as np
from float_equality import pack

CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet8": ("resnet8_cifar10.tflite", {"max_drop": 0.5, "fp16": True}),
    "mobilenet": ("mobilenet_v2_1.0_224_tf.tflite", {"max_drop": 1.0, "target_size": "2.4MB", "fp16": True}),
}
SEARCHED, UNSEEN = 200, 300


def text_of(scores: np.ndarray) -> str:
    """The best path of a CTC output [1, steps, classes], blanks first."""
    best = scores.reshape(-1, scores.shape[-1]).argmax(1)
    return " ".join(str(c) for k, c in enumerate(best) if c and (not k or c != best[k - 1]))


def equal_strings(outputs: Sequence[dict[str, np.ndarray]], labels: Sequence[str]) -> list[float]:
    """Percent: 100 where the string is that of float."""
    return [100.0 * (text_of(next(iter(o.values()))) == text) for o, text in zip(outputs, labels)]


def rows_of(path: str, shapes: Any, samples: Sequence[dict[str, np.ndarray]], threads: int) -> list[np.ndarray]:
    session = bitlite.load(path, threads, shapes=shapes)
    name = session.outputs[0].name
    turned = [{p.name: _as(sample[p.name], p) for p in session.inputs} for sample in samples]
    return [session.run(sample)[name].copy() for sample in turned]


def _as(array: np.ndarray, port: Any) -> np.ndarray:
    """In the layout that the file has."""
    turn = array.ndim == 4 and port.shape is not None and tuple(port.shape[1:]) != array.shape[1:]
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if turn else array


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


JUDGES: dict[str, tuple[dict[str, Any], str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "ocr_rec": ({"max_drop": 0.5}, "equal strings %", lambda a, b: 100.0 * (text_of(a) == text_of(b))),
    "minilm": ({"max_drop": "0.99cos"}, "mean cosine", cosine),
    "magika": ({"max_drop": "1%"}, "same class %", lambda a, b: 100.0 * (a.argmax() == b.argmax())),
}


def show(name: str, goal: str, report: Any, before: int, unseen: str, seconds: float) -> None:
    found = report.search
    size = found.best.bytes
    print(
        f"| {name} | {goal} | {'met' if found.met else 'missed'}: {found.best.loss.text()} | {size:,} of {before:,} |"
        f" {unseen} | {len(found.trials)} | {seconds:.0f} |",
        flush=True,
    )


def classifier(name: str, args: argparse.Namespace) -> None:
    file, options = CLASSIFIERS[name]
    images = pack(str(args.eval))
    model, source = Path(file).stem, str(args.eval / "models" / file)
    data, _, how, first = images.MODELS[model]
    (x, y), (more, labels) = images.images(data, "calib"), images.images(data, "eval")
    count = args.more
    known = [a[None] for a in images.preprocess(np.concatenate([x, more[:count]]), how)]
    classes = [int(c) + first for c in np.concatenate([y, labels[:count]])]
    with tempfile.TemporaryDirectory() as folder:
        path, start = os.path.join(folder, "m.ms"), time.perf_counter()
        report = bitlite.convert(
            source, path, quant_type="WeightQuant", calibration_data=known, labels=classes, threads=args.threads,
            calibrate_size=len(known), quiet=True, **options,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        right = []
        for file in (source, path):
            session = bitlite.load(file, args.threads)
            port, output = session.inputs[0].name, session.outputs[0].name
            best = [session.run({port: a[None]})[output].argmax() for a in images.preprocess(more[count:], how)]
            right.append(np.array(best) == labels[count:] + first)
    apart = right[1].astype(float) - right[0]
    error = 100 * apart.std(ddof=1) / np.sqrt(len(apart))
    unseen = f"{100 * apart.mean():+.2f} ± {error:.2f} points (n={len(apart)})"
    goal = ", ".join(f"{k}={v}" for k, v in options.items() if k != "fp16")
    show(name, goal, report, os.path.getsize(source), unseen, seconds)


def stranger(name: str, args: argparse.Namespace, models: Any) -> None:
    file, sizes, sample, _ = models[name]
    options, what, alike = JUDGES[name]
    known = [sample(k, "calib") for k in range(SEARCHED)]
    fresh = [sample(k, "eval") for k in range(UNSEEN)]
    shapes = {k: tuple(v) for k, v in sizes.items()} if sizes else None
    given: dict[str, Any] = dict(options)
    if name == "ocr_rec":
        labels = [text_of(y) for y in rows_of(file, shapes, known, args.threads)]
        given |= {"labels": labels, "metric": equal_strings}
    with tempfile.TemporaryDirectory() as folder:
        path, start = os.path.join(folder, "m.ms"), time.perf_counter()
        report = bitlite.convert(
            file, path, quant_type="WeightQuant", input_shape=shapes, calibration_data=known, threads=args.threads,
            calibrate_size=len(known), quiet=True, **given,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        pairs = zip(rows_of(file, shapes, fresh, args.threads), rows_of(path, None, fresh, args.threads))
        values = np.array([alike(a, b) for a, b in pairs])
    unseen = f"{what} {values.mean():.4g} ± {values.std(ddof=1) / np.sqrt(len(values)):.2g} (n={len(values)})"
    show(name, str(options["max_drop"]), report, os.path.getsize(file), unseen, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval", type=Path)
    parser.add_argument("zoo", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", default=[*CLASSIFIERS, *JUDGES])
    parser.add_argument("--more", type=int, default=200, help="evaluation images that the search may see")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print("| model | goal | found | bytes | on samples never seen | trials | s |\n|---|---|---|---|---|---|---|")
    models: Any = None
    if args.zoo:
        spec = importlib.util.spec_from_file_location("zoo_models", args.zoo / "models.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        models = module.MODELS
    for name in args.only:
        if name in CLASSIFIERS:
            classifier(name, args)
        elif models is not None:
            stranger(name, args, models)
    return 0


if __name__ == "__main__":
    sys.exit(main())
