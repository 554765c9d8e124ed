"""Every option of a conversion: one dataclass behind `converter_lite` and `bitlite.convert`, one row per option.

A row gives flag, Python keyword, type and range, default, help, docs, and the sections of a config file where its
keyword is a key; `config.py` has the keys of other names. Spellings: r1.x flags of MindSpore Lite first, 2.x and r0.x
ones beside them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ...converter.errors import DataError, OutputError, Setting, UsageError
from .calibration_rows import CalibrationOptions
from .convert_types import (
    ENDINGS,
)
from .flags import Row, as_flag, help_page
from .graph_rows import GraphOptions
from .images_rows import ImageOptions
from .model_rows import ModelOptions
from .quantization_rows import QuantizationOptions
from .run_rows import RunOptions
from .sections import (
    RUN,
)
from .types import (
    OptionType,
    Switch,
    Text,
)
from .workers import WORKERS

if TYPE_CHECKING:
    from ...quant.search.goal import MaxDrop

GOALS = ("max_drop", "mixed", "auto_tune", "target_size", "target_time", "pareto")
_TUNED_COSINE = 0.995  # with float, that MindSpore Lite's auto_tune looks for
_UNRECORDED = (
    "model_file", "output_file", "config_file", "calibrate_path", "dump_dist", "load_dist", "debug_info_save_path",
    "dump_ir", "dump_stages", "weight_file", "labels", "sample_stage",
    "working_dir", "resume", "cascade", "pareto",
)  # fmt: skip


@dataclass(repr=False, eq=False)  # of so many rows either takes as long as importing half of them
class ConvertOptions(RunOptions, GraphOptions, ImageOptions, CalibrationOptions, QuantizationOptions, ModelOptions):
    """What a conversion shall do. `read.py` builds it and checks everything.

    `origins` says where a value was given ("--bitNum", "config.cfg:3 bit_num"), `notes` what a user should know.
    `spell` writes a setting as the face has it that the options came through, a flag or a keyword.
    """

    origins: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    notes: list[str] = field(default_factory=list, repr=False, compare=False)
    spell: Callable[[Setting], str] = field(default=str, repr=False, compare=False)

    def output_path(self, fmt: str = "MS") -> str:
        """Returns the file to write for one format: the ending is appended unless it is there; C is a folder."""
        stem = os.path.join(self.working_dir, self.output_file)
        if fmt == "C":
            folder, name = os.path.split(stem)
            return os.path.join(self.save_path or folder, self.project_name or name)
        for ending in ENDINGS.values():
            if stem.lower().endswith(ending) and (len(self.output_format) > 1 or ending == ENDINGS[fmt]):
                stem = stem[: -len(ending)]
                break
        return stem + ENDINGS[fmt]

    @property
    def data_layout(self) -> str:
        """Layout of 4-D calibration samples: that of the inputs of the file written first, "" for the model's own."""
        return self.input_data_format or ("NHWC" if self.output_format[:1] == ("MS",) else "")

    def given(self, name: str) -> bool:
        """True when somebody set this option on purpose."""
        return name in self.origins

    def where(self, name: str) -> str:
        """Returns the place to name in an error line about this option."""
        return self.origins.get(name) or self.spell(Setting(name))

    @property
    def goals(self) -> list[str]:
        """The options that ask for forms to be tried on calibration data."""
        asked = [name for name in GOALS if getattr(self, name) not in (None, False, "")]
        return [name for name in asked if name != "auto_tune" or self.bit_num == 0]

    @property
    def searches(self) -> bool:
        """Whether forms are tried, until a goal is met or for a front."""
        return bool(self.goals)

    @property
    def allowed_loss(self) -> MaxDrop | None:
        """What may be lost, whichever option says so; None where none does."""
        from ...quant.search.goal import COSINE, ERROR, MaxDrop

        if self.mixed:
            return MaxDrop(self.mean_error_threshold, ERROR)
        return MaxDrop(_TUNED_COSINE, COSINE) if "auto_tune" in self.goals else self.max_drop

    @property
    def weight_error(self) -> float | None:
        """The relative error that each weight may have, where its bits follow from that."""
        return self.init_scale if self.bit_num == 0 and not self.auto_tune else None

    @property
    def scores(self) -> bool:
        """Whether outputs are scored, by labels or a metric."""
        return self.labels is not None or self.metric is not None

    @contextlib.contextmanager
    def blame(self, *names: str) -> Iterator[None]:
        """Puts the place where an option was given in front of an error that it causes: of several, the one that the
        error speaks of, else the first."""
        try:
            yield
        except (UsageError, DataError, OutputError) as error:
            line = error.line(self.spell)
            said = [name for name in names if self.where(name).split()[-1] in line] or list(names)
            given = [name for name in said if self.given(name)]
            if not given or any(self.where(name) in line for name in names):
                raise
            raise error.reworded(f"{self.where(given[0])}: {error.message}") from None

    def as_dict(self) -> dict[str, Any]:
        """Returns the options that differ from their defaults, JSON-ready, as the written file records them.

        What cannot change the model stays out, and so do the paths of this machine.
        """
        shown = {}
        for f in fields(self):
            row = f.metadata.get("row")
            if (
                row is None
                or not row.name
                or (row.group in (RUN, WORKERS) and f.name != "seed")
                or f.name in _UNRECORDED
            ):
                continue
            value = getattr(self, f.name)
            if value != row.default:
                shown[f.name] = row.type.show(value)
        return shown


def flag_of(setting: Setting) -> str:
    """Spells a setting of a conversion as `converter_lite` takes it."""
    return as_flag(ConvertOptions, setting)


def _off(name: str, default: Any, reason: str, option_type: OptionType | None = None, **row: Any) -> Row:
    """A flag of MindSpore Lite that bitlite knows and refuses unless it has its default."""
    return Row(name, option_type or Text(), default, "", refused={...: reason}, **row)


REFUSED: tuple[Row, ...] = (
    _off("trainModel", False, "bitlite does not train models on the device", Switch(), bare="true"),
    _off("encryption", False, "bitlite does not write encrypted models", Switch(), bare="true"),
    _off("encryptKey", "", "bitlite does not write encrypted models"),
    _off("decryptKey", "", "bitlite does not read encrypted models; decrypt the file first"),
    _off("decryptMode", "", "bitlite does not read encrypted models; decrypt the file first"),
    _off("device", "CPU", "bitlite makes models for CPUs; other devices need their own compilers"),
    _off("optimizeTransformer", False, "these fusions are made for GPUs and Ascend", Switch(), bare="true"),
    _off("obfuscation", False, "bitlite does not obfuscate models", Switch(), bare="true"),
    _off("inferenceType", "FLOAT", "it had no effect in the other tool; --quantType says what is stored"),
    _off("stdDev", "128", "input scales come from calibration; give --inputDataType=UINT8 for an integer input"),
    _off("mean", "-0.5", "input scales come from calibration; give --inputDataType=UINT8 for an integer input"),
)


USAGE = """\
converter_lite --modelFile=m.tflite --outputFile=m [--quantType=WeightQuant --bitNum=8]
Converts a model, quantizes it on request, and writes a MindSpore Lite .ms (or TFLite, ONNX)."""


def help_text(everything: bool = False) -> str:
    """Returns the page of `converter_lite --help`."""
    return help_page(ConvertOptions, USAGE, everything=everything, refused=REFUSED)
