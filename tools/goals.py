"""What a user sees who asks for a goal from Python: `bitlite.search`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Any

from ..converter.errors import Setting, UsageError
from ..converter.text import html_table
from ..quant.search.trials import Found, Trial
from .convert import convert
from .convert_report import Report
from .options.convert import GOALS
from .tables import table_lines, width


@dataclass(frozen=True, repr=False)
class Searched:
    """What a search found.

    Attributes:
        quant_type: of the forms. found: the trials, each with bytes and loss. report: of the conversion to the best.
    """

    quant_type: str
    found: Found
    report: Report

    @property
    def trials(self) -> tuple[Trial, ...]:
        return self.found.trials

    @property
    def best(self) -> Trial:
        return self.found.best

    @property
    def front(self) -> tuple[Trial, ...]:
        """Those trials that no other beats in size, time or loss and equals in the rest, the smallest first; ()
        where no front was asked for."""
        return self.found.front

    @property
    def met(self) -> bool:
        """Whether the best form meets the goal."""
        return self.found.met

    def __repr__(self) -> str:
        columns, cells = self.found.table()
        return "\n".join(table_lines(self._title, columns, cells, ("bytes", "time"), width())).rstrip()

    def _repr_html_(self) -> str:
        return html_table(self._title, *self.found.table())

    @property
    def _title(self) -> str:
        if self.found.goal.nothing:
            return f"{self.quant_type}, {len(self.front)} of {len(self.trials)} forms on the front"
        return f"{self.quant_type}, {self.found.goal.text()}: {'met' if self.met else 'missed'}"


def search(
    model_file: str | os.PathLike[str],
    calibration_data: Any,
    output_file: str | os.PathLike[str] | None = None,
    *,
    quant_type: str = "PostTraining",
    **options: Any,
) -> Searched:
    """Searches for the quantized form of a model that goals ask for.

    Args:
        calibration_data: as `convert` takes it; layers are fitted to two thirds of it, and the rest judges.
        output_file: where the best form is written; None: nowhere. quant_type: PostTraining or WeightQuant.
        options: the goals, `max_drop` (0.5 points, "1%", "20dB", "0.99cos"), `target_size`, `target_time`; `pareto`, a
            folder for the front of size, time and loss, with or without a goal; and whatever else `convert` takes, such
            as `labels` and `metric`.
    Raises:
        bitlite.Error: as `convert`; also where there is no goal.
    """
    if not any(options.get(name) for name in GOALS):
        raise UsageError("a search needs a goal", hint=Setting("max_drop", "20dB"))
    with tempfile.TemporaryDirectory(prefix="bitlite-") as folder:
        target = os.path.join(folder, "m") if output_file is None else output_file
        report = convert(model_file, target, quant_type=quant_type, calibration_data=calibration_data, **options)
    if report.search is None:
        raise UsageError(f"quant_type={quant_type!r} is not searched", hint=Setting("quant_type", "PostTraining"))
    return Searched(quant_type, report.search, report)
