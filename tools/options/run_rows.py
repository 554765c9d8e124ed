"""How a conversion runs and what it tells."""

from __future__ import annotations

from dataclasses import dataclass

from .flags import flag
from .sections import (
    RUN,
)
from .types import (
    Choice,
    Int,
    Listed,
    Switch,
    Text,
)
from .workers import cluster_flag, cluster_memory_flag, cluster_timeout_flag, cluster_tls_flag, workers_flag


@dataclass(init=False, repr=False, eq=False)  # ConvertOptions makes these of all its rows
class RunOptions:
    """How a conversion runs and what it tells. One row per option; see `ConvertOptions`."""

    check: str = flag(
        "check", Text("[=FILE]"), "", "convert nothing; list what is supported of the model", group=RUN, bare="true"
    )
    verify: bool = flag(
        "verify", Switch(), False, "run what was written in the runtime it is for, when installed", group=RUN
    )
    opset: int = flag(
        "opset", Int(0, 23), 0, "opset of a written .onnx, 18 to 23; 0 = the first that has it all", group=RUN
    )
    read_back: bool = flag(
        "readBack",
        Switch(),
        True,
        "read what was written and compare it with its source, on a calibration sample or random input",
        group=RUN,
    )
    cost: bool = flag(
        "cost",
        Switch(),
        True,
        "end a quantization with what it cost: outputs against float, on a random input without data; time of a run",
        group=RUN,
    )
    diagnose: str = flag(
        "diagnose",
        Choice(("auto", "full", "off")),
        "auto",
        "where a PostTraining loses too much, look for the causes and try the cure of each: as many as a few seconds"
        " allow, all (full), or none (off)",
        group=RUN,
    )
    infer: bool = flag("infer", Switch(), False, "run the written model once on random input", group=RUN)
    report: tuple[str, ...] = flag(
        "report",
        Listed(Text("FILE"), "FILE,..."),
        (),
        "write the report: a page (.html), .json, .csv or .txt by its ending",
        group=RUN,
    )
    threads: int = flag("threads", Int(0, 1024), 0, "threads of calibration runs; 0 = all cores", group=RUN)
    workers: int = workers_flag()
    cluster: str = cluster_flag()
    cluster_tls: tuple[str, ...] = cluster_tls_flag()
    cluster_memory: str = cluster_memory_flag()
    cluster_timeout: float = cluster_timeout_flag()
    seed: int = flag("seed", Int(0), 0, "seed of every random choice", group=RUN)
    strict: bool = flag(
        "strict",
        Switch(),
        False,
        "take a warning for an error: nothing is written, and the exit status is 3",
        group=RUN,
    )
    quiet: bool = flag("quiet", Switch(), False, "print errors and warnings only", group=RUN)
