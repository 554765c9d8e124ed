"""Saved statistics: histograms by tensor, and the channel factors of equalization, as readable JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...converter.errors import DataError
from ...converter.formats.outputs import write_atomic
from .histogram import Histogram, load_dist, save_dist

_SUFFIX = ".channels"


@dataclass
class Statistics:
    """What calibration saw: histograms by tensor name, and the factors that channels had been scaled by."""

    histograms: dict[str, Histogram]
    factors: dict[str, np.ndarray]


def save_statistics(path: str | os.PathLike[str], statistics: Statistics) -> None:
    """Writes `path` (see `histogram.save_dist`); where channels were scaled, their factors in `path`.channels.

    Raises OutputError.
    """
    save_dist(path, statistics.histograms)
    beside = Path(os.fspath(path) + _SUFFIX)
    if not statistics.factors:
        beside.unlink(missing_ok=True)
        return
    text = ",\n".join(f"{json.dumps(k)}: {json.dumps(v.tolist())}" for k, v in statistics.factors.items())
    with write_atomic(beside) as file:
        file.write(("{\n" + text + "\n}\n").encode())


def load_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Reads what `save_statistics` wrote. Raises DataError."""
    return Statistics(load_dist(path), _factors(Path(os.fspath(path) + _SUFFIX)))


def check_statistics(statistics: Statistics, names: Mapping[str, int | None], path: str = "load_dist") -> None:
    """Raises DataError unless the statistics are of the tensors (name → channels) that the model needs."""
    missing = sorted(set(names) - set(statistics.histograms))
    extra = sorted(set(statistics.histograms) - set(names))
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r}, which this model has not"
        raise DataError(
            f"{path} is of another model: it {what} ({len(missing)} missing, {len(extra)} unknown)",
            hint="a new dump_dist of this model",
        )
    for name, factors in statistics.factors.items():
        if name in names and names[name] not in (None, len(factors)):
            raise DataError(
                f"{path}{_SUFFIX}: {name!r} has {len(factors)} factors and the tensor {names[name]} channels"
            )


def _factors(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text("utf-8"))
        if not isinstance(stored, dict):
            raise DataError(f"{path}: holds a {type(stored).__name__}, not factors by tensor")
        loaded = {str(k): np.asarray(v, np.float64) for k, v in stored.items()}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from error
    for name, factors in loaded.items():
        if factors.ndim != 1 or not (np.isfinite(factors) & (factors > 0)).all():
            raise DataError(f"{path}: {name}: factors must be positive numbers")
    return loaded
