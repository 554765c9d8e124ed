"""Models that were made elsewhere, in every format, runtime and quantization, as a page.

    python benchmarks/real_models.py MODELS_PY PEERS WORK [--models …] [--threads 2] [--rounds 5] [--write PAGE]

MODELS_PY defines MODELS: name → (file, sizes of its inputs or None, sample(i, part) → {input: array}, task); a part is
"calib" or "eval"; the samples are in the layout of the source, and task is cls (same largest value), ctc (same decoded
string), seg (overlap at 0.3) or "". PEERS is as for
`latency_plan.py`. WORK
keeps each model's files and figures: a model that is there is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import speed_page
from bitlite import _native
from latency import measure
from latency_plan import runtimes
from real_model_runs import CALIBRATION, ENDINGS, FOREIGN, JUDGED, QUANTIZED, load_models

COLUMNS = (*QUANTIZED, FOREIGN, "onnxruntime")
_FOLDERS = re.compile(r"(?<!\S)/\S*/")
_PEERS = {"litert": "tflite", "onnxruntime": "onnx", "openvino": "onnx", "mslite": "ms"}


def measured(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """The model's figures, from a process of its own where WORK has none that are complete."""
    path = os.path.join(args.work, f"{name}.json")
    if not _complete(path):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "real_model_runs.py")
        done = subprocess.run(
            [sys.executable, script, args.models_py, name, args.runner, args.work, str(args.threads)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode and not _complete(path):
            return {"refused": f"the process ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _complete(path: str) -> bool:
    """Whether the figures of a model are there, and its process was not stopped before the last of them."""
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as file:
        figures = json.load(file)
    return "refused" in figures or "onnxruntime" in figures["loss"]


def timed(args: argparse.Namespace, name: str, figures: dict[str, Any]) -> None:
    """Adds "times": threads → (float / best peer, int8 / float), runtimes interleaved."""
    stem, commands = os.path.join(args.work, name), runtimes(args.peers)
    files = {"bitlite": f"{stem}_float.ms", "bitlite int8": f"{stem}_PostTraining.ms"}
    files |= {p: f"{stem}_float.{e}" for p, e in _PEERS.items() if isinstance(figures["files"].get(e), float)}
    for threads in (1, 2):
        key = str(threads)
        if key in figures.setdefault("times", {}):
            continue
        present = {r: p for r, p in files.items() if os.path.exists(p) and (r.startswith("bitlite") or r in commands)}
        rounds = measure({name: present}, commands, threads, args.rounds, np.min)[name]
        least = {runtime: 1e6 * float(times.min()) for runtime, times in rounds.items()}
        ours, int8, rivals = least.get("bitlite"), least.get("bitlite int8"), [least[p] for p in _PEERS if p in least]
        figures["times"][key] = {
            "us": least,
            "peer": ours / min(rivals) if ours and rivals else None,
            "int8": int8 / ours if ours and int8 else None,
        }
    with open(f"{stem}.json", "w", encoding="utf-8") as out:
        json.dump(figures, out, indent=1)


def file_cell(value: Any) -> str:
    return f"{value:.0e}" if isinstance(value, float) else reason_cell(value or "not run")


def reason_cell(reason: str) -> str:
    """Why there is no figure, without names of the model's own and folders."""
    if reason.startswith("not run"):
        return "states are inputs there" if "states" in reason else reason
    return f"refused: {_FOLDERS.sub('', reason)}"


def loss_cell(loss: Any, source: int) -> str:
    if not isinstance(loss, dict):
        return "" if loss is None else reason_cell(loss)
    parts = [f"{loss['sqnr']:.1f}"]
    if loss["agreement"] is not None:
        parts.append(f"{loss['agreement']:.3f}")
    return ", ".join([*parts, f"{loss['bytes'] / source:.0%}"])


def ratio_cell(times: Mapping[str, Any], key: str) -> str:
    known = [(times.get(n) or {}).get(key) for n in ("1", "2")]
    return ", ".join("" if v is None else f"{v:.2f}" for v in known) if any(known) else ""


def row(name: str, figures: Mapping[str, Any]) -> list[str]:
    """The cells of the three tables."""
    files = [file_cell(figures.get("own runtime")), *(file_cell(figures["files"].get(e)) for e in ENDINGS)]
    loss = [loss_cell(figures["loss"].get(c), figures["bytes"]) for c in COLUMNS]
    times = figures.get("times", {})
    speed = [
        ", ".join(f"{t['us']['bitlite']:.0f}" for t in times.values() if "bitlite" in t["us"]),
        *(ratio_cell(times, k) for k in ("peer", "int8")),
    ]
    return [" | ".join(cells) for cells in (files, loss, speed)]


def summary(all_found: Sequence[Mapping[str, Any]]) -> list[str]:
    right = sum(isinstance(f.get("own runtime"), float) and f["own runtime"] < 1e-4 for f in all_found)
    lines = [f"{right} of {len(all_found)} equal their own runtime within 1e-4 of the range."]
    for ending in ENDINGS:
        values = [f.get("files", {}).get(ending) for f in all_found]
        near, others = [v for v in values if isinstance(v, float)], [v for v in values if isinstance(v, str)]
        states = sum(v.startswith("not run") for v in others)
        lines.append(
            f".{ending}: {sum(v < 1e-4 for v in near)} within 1e-4 in the other runtime, "
            f"{sum(v >= 1e-4 for v in near)} further off, {len(others) - states} refused"
            + (f", {states} not run (states are inputs there)." if states else ".")
        )
    int8 = [f["loss"]["PostTraining"] for f in all_found if isinstance(f.get("loss", {}).get("PostTraining"), dict)]
    ahead = [
        ours["sqnr"] - theirs["sqnr"]
        for f in all_found
        if isinstance(ours := f.get("loss", {}).get("PostTraining"), dict)
        and isinstance(theirs := f["loss"].get("onnxruntime"), dict)
    ]
    lines.append(
        f"int8: {sum(v['sqnr'] >= 20 for v in int8)} of {len(int8)} at 20 dB or more; onnxruntime's static "
        f"quantization is {np.median(ahead) if ahead else float('nan'):.1f} dB behind in the median of {len(ahead)}, "
        f"{sum(a < 0 for a in ahead)} times ahead."
    )
    foreign = [f["loss"][FOREIGN] for f in all_found if f.get("loss", {}).get(FOREIGN) is not None]
    run = [v["sqnr"] for v in foreign if isinstance(v, dict)]
    if run:
        lines.append(
            f"int8 .ms in MindSpore Lite: {len(run)} of {len(foreign)} run, "
            f"{sum(v >= 20 for v in run)} at 20 dB or more."
        )
    for key, what in (("peer", "float time over the best peer"), ("int8", "int8 time over bitlite's float")):
        values = np.array([v for f in all_found for t in f.get("times", {}).values() if (v := t[key]) is not None])
        if len(values):
            mean = float(np.exp(np.log(values).mean()))
            lines.append(f"{what}: geometric mean {mean:.2f}, largest {values.max():.2f}, n={len(values)}.")
    return lines


def page(rows: Mapping[str, list[str]], closing: Sequence[str], timed: bool, note: str = "") -> str:
    """note: said of the times."""

    def table(k: int, *heads: str) -> list[str]:
        lines = [f"| model | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
        return [*lines, *(f"| {name} | {cells[k]} |" for name, cells in rows.items())]

    cpu = speed_page.heading(_native.isa(), _native.isas()[-1])
    return "\n".join([
        "# Models made elsewhere", "",
        f"Written by `benchmarks/real_models.py`. {cpu}", "", *(f"* {line}" for line in closing), "",
        "## Float files", "",
        "Largest difference to bitlite as a part of the output's range, the same inputs twice in a row: the source "
        "in its own runtime, and what bitlite writes in MindSpore Lite, LiteRT and onnxruntime.", "",
        *table(0, "own runtime", ".ms", ".tflite", ".onnx"), "",
        "## What quantization leaves", "",
        f"SQNR of the worst output in dB, agreement of the task where there is one, and bytes of the source's, on "
        f"{JUDGED} samples that calibration ({CALIBRATION}) did not see. onnxruntime: static quantization, MinMax, per "
        f"channel, its integers computed in float. {FOREIGN}: PostTraining's .ms in that runtime, which rounds "
        "otherwise; `--target=mslite` rounds alike.", "",
        *table(1, *COLUMNS), "",
        *(["## Time", "", f"The least of all runs, runtimes in turns, on 1 and 2 threads. {note}".rstrip(), "",
           *table(2, "float µs", "float / best peer", "int8 / float"), ""] if timed else []),
    ])  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_py")
    parser.add_argument("peers")
    parser.add_argument("work")
    parser.add_argument(
        "--runner", default="", help="command that runs `run MODEL.ms IN.npz OUT.npz` in MindSpore Lite"
    )
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="of timing; 0: no times")
    parser.add_argument("--write", default="")
    parser.add_argument("--note", default="", help="what the page says of the times, as of other work on the machine")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    names = args.models or list(load_models(args.models_py).MODELS)
    every, rows = [], {}
    for name in names:
        figures = measured(args, name)
        every.append(figures)
        if "refused" in figures:
            rows[name] = [f"refused: {figures['refused']} | | | ", " | " * (len(COLUMNS) - 1), " | | "]
        else:
            if args.rounds:
                timed(args, name, figures)
            rows[name] = row(name, figures)
        print(f"{name}: {' || '.join(rows[name])}", flush=True)
    closing = summary(every)
    print("\n".join(closing))
    if args.write:
        with open(args.write, "w", encoding="utf-8") as out:
            out.write(page(rows, closing, args.rounds > 0, args.note))
    return 0


if __name__ == "__main__":
    sys.exit(main())
