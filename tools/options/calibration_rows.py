# ruff: noqa: RUF009  (flag() makes a dataclass field: its call is the declaration)
"""The samples of a conversion and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .convert_types import (
    SIZE,
    Method,
)
from .flags import flag
from .port_types import Paired
from .sections import (
    CALIB,
    COMMON,
    DATA,
    FLAT,
    FULL,
)
from .types import Choice, Function, Int, Labels, Listed, PythonOnly, Text


@dataclass(init=False, repr=False, eq=False)  # ConvertOptions makes these of all its rows
class CalibrationOptions:
    """The samples of a conversion and what is made of them. One row per option; see `ConvertOptions`."""

    calibrate_path: dict[str | int, str] = flag(
        "calibratePath",
        Paired(Text("DIR"), "NAME:DIR,...", ","),
        {},
        "directory of calibration samples of each input",
        group=CALIB,
        aliases=("imagePath",),
        sections=(DATA,),
    )
    calibrate_size: int = flag(
        "calibrateSize",
        SIZE,
        100,
        "number of calibration samples",
        group=CALIB,
        aliases=("batchCount",),
        sections=(DATA,),
    )
    calibration_data: Any = flag(
        "", PythonOnly(), None, "iterable of arrays, lists or dicts, or a function that returns one", group=CALIB
    )
    labels: Any = flag(
        "labels",
        Labels(),
        None,
        "class numbers from 0 of the calibration samples, which then also give top-1 before and after: a file of one a"
        ' line in the order of the samples, or of "file-name label"; in Python a sequence',
        group=CALIB,
        sections=(FLAT, DATA),
    )
    metric: Any = flag(
        "",
        Function(),
        None,
        "instead of top-1, a function of (outputs, labels), lists of a {name: array} and a label for each sample, that"
        " returns a number, the larger the better, or one for each sample",
        group=CALIB,
    )
    activation_quant_method: tuple[str, ...] = flag(
        "activationQuantMethod",
        Listed(Method(), "METHOD,..."),
        ("AUTO",),
        "how ranges are chosen; of several, the best per tensor",
        group=CALIB,
        aliases=("method",),
    )
    bias_correction: str = flag(
        "biasCorrection",
        Choice(
            {"true": "sequential", "false": "off", "lockstep": "lockstep"},
            {"sequential": "sequential", "on": "sequential", "off": "off"},
        ),
        "sequential",
        "correct the mean of each layer's output; lockstep is MindSpore Lite's way",
        group=CALIB,
        sections=(FLAT, FULL),
    )
    th_binnum: int = flag(
        "thBinnum",
        Int(512, 4096),
        2048,
        "histogram bins of the threshold methods",
        group=CALIB,
        advanced=True,
        sections=(FLAT, FULL),
    )
    dump_dist: str = flag(
        "dumpDist",
        Text("FILE"),
        "",
        "write the collected statistics as JSON",
        group=CALIB,
        advanced=True,
        sections=(FLAT, FULL),
    )
    load_dist: str = flag(
        "loadDist",
        Text("FILE"),
        "",
        "read statistics written by dumpDist instead of running the model",
        group=CALIB,
        advanced=True,
        sections=(FLAT, FULL),
    )
    debug_info_save_path: str = flag(
        "debugInfoSavePath",
        Text("DIR"),
        "",
        "write per-layer tables (CSV and JSON) to this directory",
        group=CALIB,
        sections=(FLAT, COMMON),
    )
