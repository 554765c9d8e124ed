"""One model made elsewhere, measured: its files in every runtime, what quantization leaves of it, and what to time.

    python benchmarks/real_model_runs.py MODELS_PY NAME PEERS WORK THREADS      → WORK/NAME.json, WORK/NAME_*.ms …

Run by `real_models.py`, a process per model: what one of them does to memory or to a runtime stays its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bitlite
import numpy as np

CALIBRATION, JUDGED, RUNS = 100, 100, 3
ENDINGS = ("ms", "tflite", "onnx")
QUANTIZED: Mapping[str, dict[str, Any]] = {
    "WeightQuant 8": {"quant_type": "WeightQuant", "bit_num": 8},
    "WeightQuant 4": {"quant_type": "WeightQuant", "bit_num": 4},
    "DynamicQuant": {"quant_type": "DynamicQuant"},
    "PostTraining": {"quant_type": "PostTraining"},
}
FOREIGN = "MindSpore Lite"
"""The column of the int8 `.ms` in that runtime."""
Row = dict[str, np.ndarray]


def load_models(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("zoo", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_laid_out(array: np.ndarray, shape: Sequence[int | None]) -> np.ndarray:
    """An image or feature map in the other order of axes where only that order has the sizes of `shape`."""
    if array.ndim != 4 or len(shape) != 4:
        return array
    for perm in ((0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)):
        if all(d in (None, -1, n) for d, n in zip(shape[1:], (array.shape[p] for p in perm[1:]))):
            return array.transpose(perm)
    return array


def fed(session: bitlite.Session, row: Row) -> list[np.ndarray]:
    """The row's values in the order and layout of the session's inputs."""
    if states := [port.name for port in session.inputs if port.name not in row]:
        raise RuntimeError(f"not run: {states[0]!r} and other states are inputs there")
    return [np.array(as_laid_out(row[port.name], port.shape), order="C") for port in session.inputs]


def run_bitlite(path: str, rows: Sequence[Row], threads: int, sizes: Any = None) -> list[Row]:
    session = bitlite.load(path, threads, shapes=sizes)
    names = [port.name for port in session.inputs]
    return [{k: np.array(v) for k, v in session.run(dict(zip(names, fed(session, row)))).items()} for row in rows]


def run_litert(path: str, feeds: Sequence[Sequence[np.ndarray]], command: str) -> list[list[np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter

    other = Interpreter(model_path=path)
    for detail, value in zip(other.get_input_details(), feeds[0]):
        other.resize_tensor_input(detail["index"], value.shape)
    other.allocate_tensors()
    runs = []
    for feed in feeds:
        for detail, value in zip(other.get_input_details(), feed):
            other.set_tensor(detail["index"], value)
        other.invoke()
        runs.append([np.array(other.get_tensor(detail["index"])) for detail in other.get_output_details()])
    return runs


def run_onnxruntime(
    path: str, feeds: Sequence[Sequence[np.ndarray]], command: str, optimized: bool = True
) -> list[list[np.ndarray]]:
    """optimized: without, the integers of a QDQ file are computed in float, as they are meant on every CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    other = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in other.get_inputs()]
    return [other.run(None, dict(zip(names, feed))) for feed in feeds]


def run_mindspore(path: str, feeds: Sequence[Sequence[np.ndarray]], command: str) -> list[list[np.ndarray]]:
    if not command:
        raise RuntimeError("not run: no PEERS")
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.npz"), os.path.join(folder, "out.npz")
        np.savez(source, **{f"in{i}": np.stack(column) for i, column in enumerate(zip(*feeds))})
        done = subprocess.run([*command.split(), "run", path, source, target], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or f"ends with status {done.returncode}").splitlines()[-1])
        theirs = np.load(target)
        return [[theirs[f"out{i}"][k] for i in range(len(theirs.files))] for k in range(len(feeds))]


RUNTIMES: Mapping[str, Callable[..., list[list[np.ndarray]]]] = {
    "ms": run_mindspore, "tflite": run_litert, "onnx": run_onnxruntime,
}  # fmt: skip


def apart(want: Sequence[Row], got: Sequence[Sequence[np.ndarray]]) -> float:
    """The largest difference as a part of its output's range, outputs in their order."""
    most = 0.0
    for k, name in enumerate(want[0]):
        w = np.stack([row[name] for row in want]).astype(np.float64)
        g = np.stack([as_laid_out(row[k], want[0][name].shape).reshape(w.shape[1:]) for row in got]).astype(np.float64)
        spread = float(w.max() - w.min()) if w.size else 0.0
        most = max(most, float(np.abs(w - g).max(initial=0)) / (spread or 1.0))
    return most


def sqnr(want: Sequence[Row], got: Sequence[Mapping[str, np.ndarray]]) -> float:
    """dB of the output that lost most; outputs are matched by name."""
    decibels = []
    for name, first in want[0].items():
        if first.dtype.kind != "f" or name not in got[0]:
            continue
        others = [as_laid_out(g[name], first.shape).reshape(first.shape) for g in got]
        signal = sum(np.square(w[name], dtype=np.float64).sum() for w in want)
        noise = sum(np.square(w[name].astype(np.float64) - g).sum() for w, g in zip(want, others))
        decibels.append(10 * np.log10(signal / (noise + 1e-30)))
    return float(min(decibels))


def decoded(scores: np.ndarray) -> list[int]:
    best = scores.reshape(-1, scores.shape[-1]).argmax(axis=1)
    return [int(c) for k, c in enumerate(best) if c and (not k or c != best[k - 1])]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    either = ((a > 0.3) | (b > 0.3)).sum()
    return float(((a > 0.3) & (b > 0.3)).sum() / either) if either else 1.0


TASKS = {
    "cls": lambda a, b: float(a.argmax() == b.argmax()),
    "ctc": lambda a, b: float(decoded(a) == decoded(b)),
    "seg": overlap,
}


def agreement(want: Sequence[Row], got: Sequence[Mapping[str, np.ndarray]], task: str) -> float | None:
    if not task:
        return None
    name = next(iter(want[0]))
    pairs = [(w[name], as_laid_out(g[name], w[name].shape)) for w, g in zip(want, got)]
    return float(np.mean([TASKS[task](w, g) for w, g in pairs]))


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


class Measured:
    """What is found out about one model; `save` writes it as JSON."""

    def __init__(self, zoo: Any, name: str, command: str, work: str, threads: int) -> None:
        self.name, self.command, self.work, self.threads = name, command, work, threads
        self.source, self.sizes, self.sample, self.task = zoo.MODELS[name]
        self.figures: dict[str, Any] = {
            "task": self.task,
            "bytes": os.path.getsize(self.source),
            "files": {},
            "loss": {},
        }
        self.rows = [self.sample(i, "eval") for i in range(JUDGED)]
        self.given = {"input_shape": self.sizes} if self.sizes else {}

    def path(self, form: str, ending: str) -> str:
        return os.path.join(self.work, f"{self.name}_{form.replace(' ', '')}.{ending}")

    def source_runtime(self) -> None:
        """bitlite beside the runtime of the source."""
        self.want = run_bitlite(self.source, self.rows, self.threads, self.sizes)
        ending = self.source.rpartition(".")[2]
        session = bitlite.load(self.source, shapes=self.sizes)
        feeds = [fed(session, row) for row in self.rows[:RUNS]]
        try:
            self.figures["own runtime"] = apart(self.want[:RUNS], RUNTIMES[ending](self.source, feeds, self.command))
        except Exception as error:  # whatever a foreign runtime raises is its refusal
            self.figures["own runtime"] = one_line(error)

    def formats(self) -> None:
        """Each float file in its runtime, and the same inputs once more in the same interpreter."""
        for ending in ENDINGS:
            path = self.path("float", ending)
            try:
                bitlite.convert(self.source, path, output_format=ending.upper(), threads=self.threads, **self.given)
                session = bitlite.load(path)
                feeds = [fed(session, row) for row in self.rows[:RUNS]]
                got = RUNTIMES[ending](path, [*feeds, *feeds], self.command)
                self.figures["files"][ending] = apart(self.want[:RUNS] * 2, got)
            except Exception as error:
                self.figures["files"][ending] = one_line(error)

    def quantized(self) -> None:
        for form, options in QUANTIZED.items():
            given, path = {**options, **self.given}, self.path(form, "ms")
            if form == "PostTraining":
                given["calibration_data"] = [self.sample(i, "calib") for i in range(CALIBRATION)]
            start = time.perf_counter()
            try:
                report = bitlite.convert(self.source, path, threads=self.threads, **given)
                seconds = time.perf_counter() - start
                got = run_bitlite(path, self.rows, self.threads)
            except (bitlite.Error, RuntimeError) as error:
                self.figures["loss"][form] = one_line(error).replace(f"{self.source}: ", "")
                continue
            notes = [note for note in report.notes if "kept in float" in note or "dB" in note]
            self.figures["loss"][form] = self.judged(got, path) | {"seconds": seconds, "notes": notes}
            if form == "PostTraining" and self.command:
                self.figures["loss"][FOREIGN] = self.in_mindspore(path)

    def in_mindspore(self, path: str) -> dict[str, Any] | str:
        """What the int8 .ms gives in the runtime that it is made for."""
        session = bitlite.load(path)
        try:
            got = run_mindspore(path, [fed(session, row) for row in self.rows], self.command)
        except RuntimeError as error:
            return one_line(error)
        names = [port.name for port in session.outputs]
        return self.judged([dict(zip(names, values)) for values in got], path)

    def judged(self, got: Sequence[Mapping[str, np.ndarray]], path: str) -> dict[str, Any]:
        return {
            "sqnr": sqnr(self.want, got),
            "agreement": agreement(self.want, got, self.task),
            "bytes": os.path.getsize(path),
        }

    def peer(self) -> None:
        """onnxruntime's static quantization (QDQ, MinMax, per channel) of the same network on the same samples."""
        from onnxruntime.quantization import CalibrationDataReader, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        # Older opsets have no scales per channel, which bitlite's own file always can hold.
        source = self.path("float", "onnx")
        source = source if os.path.exists(source) else self.source
        prepared, target = self.path("prepared", "onnx"), self.path("onnxruntime", "onnx")
        try:
            session = bitlite.load(source, shapes=self.sizes if source == self.source else None)
            names = [port.name for port in session.inputs]
            calibration = (self.sample(i, "calib") for i in range(CALIBRATION))

            class Reader(CalibrationDataReader):
                def get_next(self) -> dict[str, np.ndarray] | None:
                    row = next(calibration, None)
                    return None if row is None else dict(zip(names, fed(session, row)))

            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(prepared, target, Reader(), per_channel=True)
            got = run_onnxruntime(target, [fed(session, row) for row in self.rows], "", optimized=False)
            outputs = [port.name for port in session.outputs]
            self.figures["loss"]["onnxruntime"] = self.judged([dict(zip(outputs, g)) for g in got], target)
        except Exception as error:
            self.figures["loss"]["onnxruntime"] = one_line(error)

    def save(self) -> None:
        text = json.dumps(self.figures, indent=1)
        Path(self.work, f"{self.name}.json").write_text(text, encoding="utf-8")


def main(models_py: str, name: str, peers: str, work: str, threads: str) -> None:
    measured = Measured(load_models(models_py), name, peers, work, int(threads))
    try:
        measured.source_runtime()
    except (bitlite.Error, OSError) as error:
        measured.figures["refused"] = one_line(error)
        measured.save()
        return
    for step in (measured.formats, measured.quantized, measured.peer):
        step()
        measured.save()


if __name__ == "__main__":
    main(*sys.argv[1:6])
