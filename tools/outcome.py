"""What a conversion did, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..converter.passes import Record
    from ..quant.calibrate.data_lint import LintReport
    from ..quant.ptq.fidelity import Fidelity
    from ..quant.search.trials import Found
    from ..quant.weights.weight_quant import WeightRow
    from .cost import RunTime

WARNING = "warning: "
"""How a note begins that a user must not miss."""


@dataclass
class Outcome:
    """Files, weights, passes and notes of one conversion.

    Attributes:
        source, source_bytes: the model that was read, with its external data. files: path → bytes of each file written.
        layers: one row per weight: layer, bits, why it stays float. stored: tensor → (form, bytes) in the file.
        quality: of an int8 graph, a row per layer (range, scale, SQNR …) where that was measured.
        passes: what the passes changed and refused. notes: what a user should know. seconds: the whole conversion.
        runs: what `infer` and `verify` found. data: the calibration data as they were fed, when there were any.
        fidelity: what the quantized graph's outputs have in common with the float ones, on data or on random inputs.
        run_time: of one run before and after. Both are None where they were not measured, which a note says.
        reasons: node → why it computes in float. diagnosis: what is known of the layers that lose most, one dict each
        with layer and, where they are known, cause, cure and gain (dB). search: the forms that were tried for a
        goal, where there was one. view: nodes, times and memory
        (`report.view.conversion_view`), where a report was asked for.
    """

    source: str
    source_bytes: int
    files: dict[str, int] = field(default_factory=dict)
    layers: list[WeightRow] = field(default_factory=list)
    stored: dict[str, tuple[str, int]] = field(default_factory=dict)
    passes: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    quality: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    runs: list[str] = field(default_factory=list)
    data: LintReport | None = None
    fidelity: Fidelity | None = None
    run_time: RunTime | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    diagnosis: list[dict[str, Any]] = field(default_factory=list)
    search: Found | None = None
    view: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """A word on the outputs: "exact", "faithful", "usable" or "poor", "" where they were not compared on data."""
        return self.fidelity.verdict if self.fidelity and not self.fidelity.random else ""

    @property
    def warnings(self) -> list[str]:
        """The notes that a user must not miss, without their first word."""
        return [note.removeprefix(WARNING) for note in self.notes if note.startswith(WARNING)]

    def cost(self) -> list[str]:
        """The lines that end a conversion: what the outputs have left of float's, and how long a run takes."""
        return [part.text() for part in (self.fidelity, self.run_time) if part is not None]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One dict per weight: layer, op, shape, bits, form, bytes_before, bytes_after, why."""
        for layer in self.layers:
            form, after = self.stored.get(layer.tensor, ("", layer.before))
            yield {
                "layer": layer.layer,
                "op": layer.op,
                "shape": list(layer.shape),
                "bits": layer.bits,
                "form": form,
                "bytes_before": layer.before,
                "bytes_after": after,
                "why": layer.reason,
            }

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": "conversion",
            "source": self.source,
            "source_bytes": self.source_bytes,
            "files": self.files,
            "seconds": round(self.seconds, 3),
            "layers": list(self.rows()),
            "quality": self.quality,
            "fidelity": self.fidelity.as_dict() if self.fidelity else None,
            "verdict": self.verdict,
            "diagnosis": self.diagnosis,
            "search": self.search.as_dict() if self.search else None,
            "data": self.data.as_dict() if self.data else None,
            "passes": [asdict(r) | {"kind": type(r).__name__.lower()} for r in self.passes],
            "notes": self.notes,
            "runs": self.runs,
            **(self.run_time.as_dict() if self.run_time else {}),
            **self.view,
        }

    def __str__(self) -> str:
        lines = [f"{path}: {size} bytes ({self.source_bytes} before)" for path, size in self.files.items()]
        quantized = sum(not layer.reason for layer in self.layers)
        if self.layers:
            lines.append(f"{quantized} of {len(self.layers)} weights quantized")
        lines += [*self.notes, *self.cost()]
        return "\n".join(lines)
