# ruff: noqa: RUF009  (flag() makes a dataclass field: its call is the declaration)
"""Every option of `benchmark`: one dataclass, read by the same machinery as the converter's (`flags.py`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...converter.errors import UsageError
from ...quant.calibrate.remote_files import is_folder
from .flags import Given, Row, flag, help_page, read_args, read_kwargs
from .port_types import Paired, Shape
from .types import Choice, Int, Listed, OptionType, Real, Switch, Text
from .workers import (
    check_workers,
    cluster_flag,
    cluster_memory_flag,
    cluster_timeout_flag,
    cluster_tls_flag,
    workers_flag,
)

MODEL, TIME, ACCURACY, RUN = "Model and data", "Time", "Accuracy", "Run"


class Shapes(Paired):
    """`1,32,32,1:1,1,32` by position (r1.x) or `name:1,32,32,1;other:1,10` by name."""

    def __init__(self) -> None:
        super().__init__(Shape(), "NAME:D,D;...", ";")

    def parse(self, text: str) -> dict[str | int, Any]:
        if all(char in "0123456789,:- " for char in text):
            parts = [part for part in text.split(":") if part.strip()]
            return {i: self._one(i, self.value.parse, part) for i, part in enumerate(parts)}
        return super().parse(text)


@dataclass
class BenchOptions:
    """What a benchmark shall do; built by `from_args` or `from_kwargs`, which check everything."""

    model_file: str = flag(
        "modelFile",
        Text("FILE"),
        "",
        "the model to run: .ms, .tflite, .onnx, .mindir or .prototxt",
        group=MODEL,
        aliases=("modelPath",),
        required=True,
    )
    weight_file: str = flag(
        "weightFile",
        Text("FILE"),
        "",
        "weights of a .prototxt, a .caffemodel; the one beside it when not given",
        group=MODEL,
    )
    in_data_file: tuple[str, ...] = flag(
        "inDataFile",
        Listed(Text("FILE"), "FILE,..."),
        (),
        "input of each model input (.bin, .npy), or a directory of samples; random when not given",
        group=MODEL,
        aliases=("inDataPath",),
    )
    input_shapes: dict[str | int, tuple[int, ...]] = flag(
        "inputShapes",
        Shapes(),
        {},
        "sizes of inputs: 1,32,32,1:1,10 by position, x:1,32,32,1;y:1,10 by name",
        group=MODEL,
        aliases=("inputShape", "resizeDims"),
    )
    model_type: str = flag(
        "modelType",
        Choice({"": "", "MindIR_Lite": "MindIR_Lite"}, {"MindIR": "MindIR"}),
        "",
        "accepted for scripts; the file says what it is",
        group=MODEL,
        advanced=True,
        refused={"MindIR": "MindIR models are not read; benchmark reads .ms, .tflite and .onnx"},
    )
    info: bool = flag("info", Switch(), False, "run nothing; show what the file holds and how it was made", group=MODEL)

    graph: str = flag("graph", Text("FILE"), "", "run nothing; draw the graph (.svg, or a page: .html)", group=MODEL)

    loop_count: int = flag("loopCount", Int(1, 10**9), 10, "runs to time", group=TIME)
    warm_up_loop_count: int = flag("warmUpLoopCount", Int(0, 10**9), 3, "runs before timing", group=TIME)
    num_threads: int = flag("numThreads", Int(1, 1024), 2, "threads", group=TIME, aliases=("threads",))
    time_profiling: bool = flag("timeProfiling", Switch(), False, "time per node and per operator type", group=TIME)
    cpu_bind_mode: int = flag(
        "cpuBindMode", Int(0, 2), 1, "bind threads to cores: 0 no, 1 large first, 2 medium first", group=TIME
    )
    keep_packed: bool = flag("keepPacked", Switch(), False, "keep low-bit weights packed in memory", group=TIME)

    benchmark_data_file: str = flag(
        "benchmarkDataFile", Text("FILE"), "", "expected outputs, as text", group=ACCURACY, aliases=("calibDataPath",)
    )
    benchmark_data_type: str = flag(
        "benchmarkDataType",
        Choice(("FLOAT", "INT32", "INT8", "UINT8")),
        "FLOAT",
        "type of the expected outputs",
        group=ACCURACY,
        aliases=("calibDataType",),
    )
    accuracy_threshold: float = flag(
        "accuracyThreshold", Real(0), 0.5, "largest mean bias allowed, in percent", group=ACCURACY
    )
    cosine_distance_threshold: float = flag(
        "cosineDistanceThreshold",
        Real(-2, 2),
        -1.1,
        "largest 1 - cosine allowed, instead of the bias; below 0 = off",
        group=ACCURACY,
    )
    compare_with: str = flag(
        "compareWith",
        Text("FILE"),
        "",
        "another model file, e.g. the source, whose outputs are expected",
        group=ACCURACY,
    )
    compare_report: tuple[str, ...] = flag(
        "compareReport",
        Listed(Text("FILE"), "A,B", length=(2,)),
        (),
        "run nothing; compare two saved reports (.json or .html), with --report=c.html on a page",
        group=ACCURACY,
    )
    labels_file: str = flag(
        "labelsFile",
        Text("FILE"),
        "",
        "class of each sample of the inDataFile directory: top-1 and top-5",
        group=ACCURACY,
    )
    save_output: str = flag("saveOutput", Text("FILE"), "", "write the outputs as a benchmarkDataFile", group=ACCURACY)

    workers: int = workers_flag()
    cluster: str = cluster_flag()
    cluster_tls: tuple[str, ...] = cluster_tls_flag()
    cluster_memory: str = cluster_memory_flag()
    cluster_timeout: float = cluster_timeout_flag()

    seed: int = flag("seed", Int(0), 0, "seed of random inputs", group=RUN)
    verify: bool = flag(
        "verify", Switch(), False, "check the kernels of this CPU against the reference, output by output", group=RUN
    )
    report: tuple[str, ...] = flag(
        "report", Listed(Text("FILE"), "FILE,..."), (), "write the figures: a page (.html) or JSON", group=RUN
    )
    cpu: tuple[float, ...] = flag(
        "cpu",
        Listed(Real(1e-6), "GMACS,GBS,...", length=(2, 3, 4)),
        (),
        "forecast times for a CPU of so many int8 GMAC/s, GB/s, float GMAC/s (a quarter of int8's) and microseconds per"
        " operator (0)",
        group=TIME,
    )
    quiet: bool = flag("quiet", Switch(), False, "print errors and the result only", group=RUN)

    origins: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_args(cls, argv: Sequence[str]) -> BenchOptions:
        """Reads a command line. Raises UsageError: flag, value and what is allowed."""
        return cls._build(read_args(cls, argv, REFUSED))

    @classmethod
    def from_kwargs(cls, model_file: Any, **options: Any) -> BenchOptions:
        """The same from Python, names in snake_case."""
        return cls._build(read_kwargs(cls, {"model_file": model_file, **options}))

    @classmethod
    def _build(cls, given: Given) -> BenchOptions:
        options = cls(**given.values, origins=given.origins)
        _validate(options)
        return options

    def where(self, name: str) -> str:
        """Returns the flag to name in an error line."""
        return self.origins.get(name, name)

    def echo(self) -> list[str]:
        """Returns the parameter lines that the real tool prints first."""
        bind = {0: "NO_BIND", 1: "HIGHER_CPU", 2: "MID_CPU"}[self.cpu_bind_mode]
        pairs = {
            "ModelPath": self.model_file,
            "InDataPath": ",".join(self.in_data_file),
            "InDataType": "bin",
            "LoopCount": self.loop_count,
            "DeviceType": "CPU",
            "AccuracyThreshold": f"{self.accuracy_threshold:g}",
            "CosineDistanceThreshold": f"{self.cosine_distance_threshold:g}",
            "WarmUpLoopCount": self.warm_up_loop_count,
            "NumThreads": self.num_threads,
            "Fp16Priority": 0,
            "calibDataPath": self.benchmark_data_file,
            "cpuBindMode": bind,
        }
        if self.benchmark_data_file:
            pairs["CalibDataType"] = self.benchmark_data_type
        return [f"{name} = {value}" for name, value in pairs.items()]


def _off(name: str, default: Any, reason: str, option_type: OptionType | None = None, **row: Any) -> Row:
    kind = option_type or Switch()
    return Row(name, kind, default, "", refused={...: reason}, bare="true" if isinstance(kind, Switch) else None, **row)


_ONE_MODEL = "several models at a time are not run here; start several processes, or share a Session between threads"
_NOT_CPU = "bitlite runs on CPUs"

REFUSED: tuple[Row, ...] = (
    _off("device", "CPU", f"{_NOT_CPU}, not on GPU, NPU or Ascend", Choice(("CPU", "GPU", "NPU", "Ascend", "Auto"))),
    _off("provider", "litert", "there is one runtime here", Text()),
    _off(
        "enableFp16",
        False,
        "kernels run in float32 and int8; float16 weights are widened when loaded",
        aliases=("fp16Priority",),
    ),
    _off("perfProfiling", False, "hardware counters are not read; --timeProfiling gives times per node"),
    _off(
        "perfEvent",
        "CYCLE",
        "hardware counters are not read; --timeProfiling gives times per node",
        Choice(("CYCLE", "CACHE", "STALL")),
    ),
    _off("enableParallel", False, "operators run one after the other, each on all threads"),
    _off("interOpParallelNum", 1, "operators run one after the other, each on all threads", Int(1)),
    _off("enableParallelPredict", False, _ONE_MODEL),
    _off("parallelNum", 2, _ONE_MODEL, Int()),
    _off("parallelTaskNum", 2, _ONE_MODEL, Int()),
    _off("workersNum", 2, _ONE_MODEL, Int()),
    _off("cpuCoreList", "", "cores are chosen by --cpuBindMode, or by taskset", Text()),
    _off("enableSharedThreadPool", False, _ONE_MODEL),
    _off("threadNumLimitPerWorker", "", _ONE_MODEL, Text()),
    _off("threadNumRemainingPerWorker", "", _ONE_MODEL, Text()),
    _off("enableGLTexture", False, _NOT_CPU),
    _off("delegateMode", "", _NOT_CPU, Text()),
    _off("configFile", "", "a run needs no config file; the model file holds everything", Text()),
    _off("GroupInfoFile", "", "distributed runs are not there", Text()),
    _off("deviceId", -1, "distributed runs are not there", Int()),
    _off("rankId", -1, "distributed runs are not there", Int()),
    _off("decryptKey", "", "encrypted models are not read; decrypt the file first", Text()),
    _off("cryptoLibPath", "", "encrypted models are not read; decrypt the file first", Text()),
)


def _validate(options: BenchOptions) -> None:
    """Refuses what is missing or contradicts."""
    if options.compare_report:
        given = [name for name in options.origins if name not in ("compare_report", "report", "quiet")]
        if given:
            raise UsageError(f"{options.where(given[0])}: --compareReport runs nothing", hint="one of them")
    elif not options.model_file:
        raise UsageError("--modelFile is missing: the model to run", hint="--modelFile=model.ms")
    if options.benchmark_data_file and options.compare_with:
        raise UsageError("--benchmarkDataFile and --compareWith both say what is expected", hint="one of them")
    if options.benchmark_data_file and not options.in_data_file:
        raise UsageError(
            "--benchmarkDataFile needs the input that gave those outputs, and the input would be random",
            hint="--inDataFile=input.bin",
        )
    for path in options.report:
        ending = os.path.splitext(path)[1].lower()
        if ending not in ("", ".json", ".html", ".htm"):
            raise UsageError(
                f"--report={path}: figures are written as a page or as JSON, not as {ending}",
                hint="a .html or .json file",
            )
    if options.graph and not options.graph.lower().endswith((".svg", ".html", ".htm")):
        raise UsageError(f"--graph={options.graph}: a graph is drawn as .svg or .html", hint="--graph=graph.svg")
    directory = len(options.in_data_file) > 0 and all(is_folder(path) for path in options.in_data_file)
    if options.labels_file and not directory:
        raise UsageError("--labelsFile needs a directory of samples", hint="--inDataFile=DIR")
    check_workers(options)
    if (options.workers or options.cluster) and not directory:
        raise UsageError("workers run a directory of samples", hint="--inDataFile=DIR")
    if options.labels_file and options.benchmark_data_file:
        raise UsageError("--labelsFile and --benchmarkDataFile: one run takes labels or expected outputs, not both")


USAGE = """\
benchmark --modelFile=m.ms [--inDataFile=in.bin --benchmarkDataFile=out.txt]
Times a model, profiles it, and compares its outputs with expected ones."""


def help_text(everything: bool = False) -> str:
    """Returns the page of `benchmark --help`."""
    return help_page(BenchOptions, USAGE, everything=everything, refused=REFUSED)
