"""What a conversion did, shown as a table or a page, saved as JSON or CSV."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..converter.errors import Setting
from ..converter.formats.outputs import write_atomic
from ..converter.text import csv_text, html_table, printable
from .outcome import Outcome

if TYPE_CHECKING:
    from ..converter.ir import Graph
    from ..quant.calibrate.data import Dataset
    from ..quant.ptq.result import Result
    from .cost import RunTime
    from .options.convert import ConvertOptions
    from .read_back import Original

_INTEGER = ("PostTraining", "DynamicQuant")  # what computes on integers


class Report(Outcome):
    """The result of `bitlite.convert`; see `Outcome` for what it holds.

    original: the float graph to compare with, while a report is wanted. calibrated: how PostTraining came
    about, as long as something asks for it.
    """

    original: Graph | None = None
    calibrated: Result | None = None

    def weigh(self, before: Graph, original: Original, options: ConvertOptions) -> None:
        """Measures what the quantization cost; a note says why where it cannot be."""
        from .cost import BRIEFLY, THOROUGHLY, measure

        measured = measure(before, original, THOROUGHLY if options.report else BRIEFLY)
        if isinstance(measured, str):
            self.notes.append(f"cost: not measured: {measured}")
            return
        self.run_time, outputs = measured
        self.fidelity = self.fidelity or outputs
        if self.run_time.is_slower and options.quant_type in _INTEGER and self.search is None:
            self.notes.append(_slower(self.run_time, options))

    def explain(self, before: Graph, samples: Dataset | None, options: ConvertOptions) -> None:
        """Fills `diagnosis` with the causes of what a PostTraining lost, each with a cure that was tried.

        Of what a search has found there is none: it has tried cures itself, and options say nothing of its form.
        """
        asked = options.diagnose != "off" and self.search is None
        if not asked or self.calibrated is None or samples is None or self.run_time is None:
            return
        from .diagnose import diagnose

        rescale = self.data.rescale if self.data is not None else {}
        self.diagnosis, notes = diagnose(
            before, samples, options, self.calibrated, rescale, self.run_time.before.low / 1e3
        )
        self.notes += notes

    def calibrated_stage(self) -> dict[str, Graph]:
        """The stage of a PostTraining between float and integers, by its name; of others none."""
        from .stages import calibrated

        return {"calibrated": calibrated(self.calibrated)} if self.calibrated is not None else {}

    def look(self, quantized: Graph, samples: Dataset | None, options: ConvertOptions) -> None:
        """Fills `view` with what `quantized` does beside the original, and lets go of both."""
        from ..quant.ptq.fidelity import spread
        from .report.histograms import add_histograms
        from .report.view import SAMPLES, conversion_view

        few = list(samples.only(spread(len(samples), SAMPLES))) if samples is not None else []
        threads = options.threads or os.cpu_count() or 1
        self.view = conversion_view(self.original, quantized, few, threads, options.seed, self.run_time)
        if self.calibrated is not None:
            add_histograms(self.view["nodes"], self.calibrated)
        for row in self.view["nodes"]:
            row["why"] = self.reasons.get(row["name"], "")
        self.original = self.calibrated = None

    def text(self) -> str:
        """The whole report as plain text: files, weights, what the passes did and refused, notes."""
        from ..converter.passes import Change
        from .tables import data_table, table_lines, weight_table

        lines = [str(self), ""]
        if self.data:
            lines += table_lines(*data_table(self.data), (), 10**6)
        rows = list(self.rows())
        if rows:
            columns, cells = weight_table(rows, narrow=False)
            lines += table_lines("", columns, cells, ("bits", "before", "after"), 10**6)
        for r in self.passes:
            lines.append(f"{r.pass_name}: {r.node}: {r.what if isinstance(r, Change) else f'left alone: {r.reason}'}")
        lines += self.runs
        return "\n".join(lines) + "\n"

    def _repr_html_(self) -> str:
        """What a notebook shows: files, outputs against float, notes, and the layers as the command prints them."""
        from html import escape

        from .tables import quality_table, weight_table

        rows = list(self.rows())
        tables = [quality_table(self.quality)] if self.quality else [weight_table(rows, narrow=True)] if rows else []
        lines = "".join(f"<p>{escape(printable(line))}</p>" for line in str(self).splitlines())
        return lines + "".join(html_table(self.verdict, columns, cells) for columns, cells in tables)

    def save(self, path: str) -> None:
        """Writes the report: .json, .csv or .html by its ending, text otherwise. Raises OutputError."""
        if path.endswith((".json", ".html", ".htm")):
            from .report.save import save_document

            return save_document(path, self.as_dict(), sources=(self.source,))
        text = csv_text(list(self.rows())) if path.endswith(".csv") else printable(self.text())
        with write_atomic(path, sources=(self.source,)) as file:
            file.write(text.encode())


def _slower(run_time: RunTime, options: ConvertOptions) -> str:
    """What is said of integers that take longer than float does, with what to try."""
    light = f"{options.spell(Setting('quant_type', 'WeightQuant'))} is as small and computes in float"
    if options.quant_type == "PostTraining":
        from ..quant.search.goal import MaxTime

        search = options.spell(Setting("target_time", MaxTime(1.0)))
        light = f"{search} looks for the best form that is no slower, {light}"
    return f"slower than float on this CPU: {run_time.share:.2f} of its time; {light}"
