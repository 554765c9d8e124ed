"""What calibration remembers of a tensor: a histogram that widens, extremes per sample, channel sums.

Bins are 2^e wide and begin at multiples of 2^e. When a sample does not fit into the given number of bins, e grows and
neighbours merge in pairs, which loses nothing that a histogram of the wider bins would have known. So the statistics
depend on the data alone, not on their order, the shards they came in or the threads that took them, and no second pass
over the data is needed. Memory per tensor: the bins, and four float32 a sample.
"""

from __future__ import annotations

import json
import math
import os
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...converter.errors import DataError
from ...converter.formats.outputs import write_atomic

MIN_BINS, MAX_BINS, DEFAULT_BINS = 512, 4096, 2048
_LOWEST = -1000  # the exponent of bins that hold only zeros
_FINEST = 24  # the largest value is at most 2^24 bins from zero: finer is below float32
_TAIL = 1e-4  # the quantiles kept per sample (MindSpore Lite's REMOVAL_OUTLIER)
_BLOCK = 1 << 18
_VERSION = 1


@dataclass
class Histogram:
    """The statistics of one tensor.

    counts int64[bins]: elements in [(base + i) * 2^exponent, (base + i + 1) * 2^exponent). zeros: how many of all are
    exactly 0. low, high: min and max. sample_*: per sample, in order, its min, max, 0.01 % and 99.99 % quantiles.
    channel_sum float64[channels] over channel_count elements each, or None. fixed: a range set by hand in a saved file.
    """

    bins: int = DEFAULT_BINS
    exponent: int = _LOWEST
    base: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    zeros: int = 0
    low: float = math.inf
    high: float = -math.inf
    sample_low: array[float] = field(default_factory=lambda: array("f"))
    sample_high: array[float] = field(default_factory=lambda: array("f"))
    sample_tail_low: array[float] = field(default_factory=lambda: array("f"))
    sample_tail_high: array[float] = field(default_factory=lambda: array("f"))
    channel_sum: NDArray[np.float64] | None = None
    channel_count: int = 0
    fixed: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not MIN_BINS <= self.bins <= MAX_BINS:
            raise ValueError(f"{self.bins} histogram bins; allowed: {MIN_BINS}..{MAX_BINS}")

    @property
    def width(self) -> float:
        """The width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def count(self) -> int:
        """Elements seen."""
        return int(self.counts.sum())

    @property
    def samples(self) -> int:
        return len(self.sample_low)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The bounds of the bins, float64[len(counts) + 1]."""
        return np.ldexp(np.arange(self.base, self.base + len(self.counts) + 1, dtype=np.float64), self.exponent)

    def add(self, x: NDArray, *, channels: bool = False) -> None:
        """Takes in one sample's values, of any shape and real dtype, as float32.

        channels: also sum up along the last axis (all samples with it, or none). Raises DataError on NaN and infinity.
        """
        self.merge(self.of(x, self.bins, channels=channels))

    @classmethod
    def of(cls, x: NDArray, bins: int = DEFAULT_BINS, *, channels: bool = False) -> Histogram:
        """The statistics of one sample."""
        new = cls(bins)
        if not x.size:
            return new
        with np.errstate(over="ignore"):
            flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        new.low, new.high = float(flat.min()), float(flat.max())
        if not (math.isfinite(new.low) and math.isfinite(new.high)):
            bad = int(np.count_nonzero(~np.isfinite(flat)))
            raise DataError(f"{bad} of {flat.size} values are NaN or infinite")
        new._lay()
        # A power of two, so the product is exact, but for negative numbers so small that it becomes a zero.
        kind = np.float32 if abs(new.exponent) < 126 else np.float64
        factor = kind(math.ldexp(1.0, -new.exponent))
        for begin in range(0, flat.size, _BLOCK):
            part = flat[begin : begin + _BLOCK]
            scaled = np.multiply(part, factor, dtype=kind)
            if new.low < 0:
                scaled[(scaled == 0) & (part < 0)] = -1
            index = np.floor(scaled, out=scaled).astype(np.int64)
            index -= new.base
            new.counts += np.bincount(index, minlength=len(new.counts))
            new.zeros += int(part.size - np.count_nonzero(part))
        new._close()
        if channels and x.ndim:
            rows = x.reshape(-1, x.shape[-1])
            new.channel_sum, new.channel_count = rows.sum(axis=0, dtype=np.float64), len(rows)
        return new

    @classmethod
    def counted(
        cls, low: float, high: float, bins: int, count: Callable[[float, int, int], tuple[NDArray[np.int64], int]]
    ) -> Histogram | None:
        """The statistics of one sample of finite float32 values from low to high, counted elsewhere.

        count: (1 / width, base, number of bins) → counts and zeros. None when the values are too small or large for it.
        """
        new = cls(bins)
        new.low, new.high = low, high
        new._lay()
        if abs(new.exponent) >= 126:
            return None
        new.counts, new.zeros = count(math.ldexp(1.0, -new.exponent), new.base, len(new.counts))
        new._close()
        return new

    def _lay(self) -> None:
        """Lays empty bins from low to high."""
        self.exponent = _exponent(self.low, self.high, self.bins)
        self.base = _bin(self.low, self.exponent)
        self.counts = np.zeros(_bin(self.high, self.exponent) - self.base + 1, np.int64)

    def _close(self) -> None:
        """Notes what is kept per sample."""
        self.sample_low.append(self.low)
        self.sample_high.append(self.high)
        below, above = self._quantiles((_TAIL, 1 - _TAIL))
        self.sample_tail_low.append(below)
        self.sample_tail_high.append(above)

    def merge(self, other: Histogram) -> None:
        """Takes in other's samples, as if they had been added after one's own.

        Raises ValueError when the two have different bins or channels.
        """
        if other.bins != self.bins:
            raise ValueError(f"histograms of {self.bins} and {other.bins} bins do not add up")
        if len(other.counts):
            low, high = min(self.low, other.low), max(self.high, other.high)
            if (low, high) == (self.low, self.high) and other.exponent <= self.exponent:  # as of most samples
                exponent, base, counts, parts = self.exponent, self.base, self.counts.copy(), (other,)
            else:
                exponent = max(_exponent(low, high, self.bins), self.exponent, other.exponent)
                base = _bin(low, exponent)
                counts, parts = np.zeros(_bin(high, exponent) - base + 1, np.int64), (self, other)
            for part in parts:
                if len(part.counts):
                    first, widened = _widened(part.counts, part.base, exponent - part.exponent)
                    counts[first - base : first - base + len(widened)] += widened
            self.exponent, self.base, self.counts, self.low, self.high = exponent, base, counts, low, high
        self.zeros += other.zeros
        self.sample_low.extend(other.sample_low)
        self.sample_high.extend(other.sample_high)
        self.sample_tail_low.extend(other.sample_tail_low)
        self.sample_tail_high.extend(other.sample_tail_high)
        if other.channel_sum is not None:
            if self.channel_sum is None:
                self.channel_sum = np.zeros_like(other.channel_sum)
            elif len(self.channel_sum) != len(other.channel_sum):
                raise ValueError(f"{len(self.channel_sum)} and {len(other.channel_sum)} channels do not add up")
            self.channel_sum = self.channel_sum + other.channel_sum
            self.channel_count += other.channel_count

    def quantile(self, p: float) -> float:
        """The value below which a share p of the elements lies, uniform within a bin, never outside min..max."""
        return self._quantiles((p,))[0]

    def _quantiles(self, shares: Iterable[float]) -> list[float]:
        total, values = np.cumsum(self.counts), list[float]()
        for p in shares:
            rank = p * float(total[-1])
            i = int(np.searchsorted(total, rank))
            i = min(i, len(total) - 1)
            before = float(total[i] - self.counts[i])
            inside = (rank - before) / float(self.counts[i]) if self.counts[i] else 0.0
            value = math.ldexp(self.base + i + inside, self.exponent)
            values.append(min(max(value, self.low), self.high))
        return values

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `from_json` reads back to the same statistics."""
        values: dict[str, Any] = {
            "min": self.low,
            "max": self.high,
            "range": list(self.fixed) if self.fixed else None,
            "bins": self.bins,
            "exponent": self.exponent,
            "base": self.base,
            "counts": self.counts.tolist(),
            "zeros": self.zeros,
            "channel_sum": None if self.channel_sum is None else self.channel_sum.tolist(),
            "channel_count": self.channel_count,
        }
        for name in _PER_SAMPLE:
            values[name] = list(getattr(self, name))
        return values

    @classmethod
    def from_json(cls, values: Any) -> Histogram:
        """Raises ValueError, KeyError or TypeError on anything that `to_json` does not write."""
        unknown = set(values) - {"min", "max", "range", *_JSON_FIELDS, *_PER_SAMPLE}
        if unknown:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
        new = cls(int(values["bins"]))
        new.low, new.high = float(values["min"]), float(values["max"])
        new.exponent, new.base = int(values["exponent"]), int(values["base"])
        counts = np.asarray(values["counts"], np.int64).reshape(-1)
        new.counts, new.zeros = counts, int(values["zeros"])
        if not new.low <= new.high or not math.isfinite(new.low) or not math.isfinite(new.high):
            raise ValueError(f"min {new.low} and max {new.high} are no range")
        if not 1 <= len(counts) <= new.bins or (counts < 0).any() or not 0 <= new.zeros <= counts.sum() > 0:
            raise ValueError(f"counts are not 1..{new.bins} numbers from 0, some above")
        if not _LOWEST <= new.exponent <= 200 or abs(new.base) > 1 << 40:
            raise ValueError(f"bins of 2^{new.exponent} from {new.base} hold no float32")
        lengths = {len(values[name]) for name in _PER_SAMPLE}
        if len(lengths) != 1:
            raise ValueError(f"lists per sample are of different lengths: {sorted(lengths)}")
        for name in _PER_SAMPLE:
            setattr(new, name, array("f", values[name]))
        if values.get("channel_sum") is not None:
            new.channel_sum = np.asarray(values["channel_sum"], np.float64).reshape(-1)
            new.channel_count = int(values["channel_count"])
        if values.get("range") is not None:
            try:
                low, high = (float(v) for v in values["range"])
            except (TypeError, ValueError) as error:
                raise ValueError(f"range {values['range']!r} is not [low, high]") from error
            if not low < high or not math.isfinite(low) or not math.isfinite(high):
                raise ValueError(f"range [{low}, {high}] is empty")
            new.fixed = low, high
        return new


_PER_SAMPLE = ("sample_low", "sample_high", "sample_tail_low", "sample_tail_high")
_JSON_FIELDS = ("bins", "exponent", "base", "counts", "zeros", "channel_sum", "channel_count")


def _bin(x: float, exponent: int) -> int:
    return math.floor(math.ldexp(x, -exponent)) if x else 0


def _exponent(low: float, high: float, bins: int) -> int:
    """The smallest e with bins 2^e wide that reach from low to high, none finer than float32 tells apart."""
    largest = max(abs(low), abs(high))
    if largest == 0:
        return _LOWEST
    e = math.frexp(largest)[1] - _FINEST
    if high > low:
        e = max(e, math.frexp((high - low) / bins)[1] - 2)
    while _bin(high, e) - _bin(low, e) >= bins:
        e += 1
    return e


def _widened(counts: NDArray[np.int64], base: int, doublings: int) -> tuple[int, NDArray[np.int64]]:
    """The first bin and the counts in bins that are so many times twice as wide."""
    if not doublings:
        return base, counts
    shift = min(doublings, 48)  # bins are at most 2^40 from zero, and arange counts its steps in float64
    first = base >> shift
    starts = np.arange(((first + 1) << shift) - base - (1 << shift), len(counts), 1 << shift)
    starts[0] = 0
    return first, np.add.reduceat(counts, starts)


def save_dist(path: str | os.PathLike[str], tensors: Mapping[str, Histogram]) -> None:
    """Writes the statistics of named tensors as JSON, one line a tensor's array, for reading and editing by hand.

    A "range" of [low, high] put in by hand overrules whatever the method would choose. Raises OutputError.
    """
    rows = ",\n".join(f"{json.dumps(name)}: {_indented(item.to_json())}" for name, item in tensors.items())
    text = f'{{"bitlite_statistics": {_VERSION}, "tensors": {{\n{rows}\n}}}}\n'
    with write_atomic(path) as file:
        file.write(text.encode())


def _indented(values: Mapping[str, Any]) -> str:
    return "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in values.items()) + "\n}"


def load_dist(path: str | os.PathLike[str], names: Iterable[str] | None = None) -> dict[str, Histogram]:
    """Reads what `save_dist` wrote, possibly edited.

    names: the tensors that the model needs. Raises DataError on an unreadable or inconsistent file, and on tensors that
    are missing or that the model does not have.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("bitlite_statistics") != _VERSION:
        raise DataError(f"{path} holds no calibration statistics of version {_VERSION}")
    tensors = content.get("tensors")
    if not isinstance(tensors, dict):
        raise DataError(f"{path}: tensors is not a table")
    histograms: dict[str, Histogram] = {}
    for name, values in tensors.items():
        try:
            histograms[name] = Histogram.from_json(values)
        except KeyError as error:
            raise DataError(f"{path}: tensor {name}: {error.args[0]} is missing") from error
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{path}: tensor {name}: {error}") from error
    if names is not None:
        wanted = set(names)
        missing, extra = sorted(wanted - set(histograms)), sorted(set(histograms) - wanted)
        if missing or extra:
            what = f"lacks {missing[0]}" if missing else f"has {extra[0]}, which the model has not"
            raise DataError(
                f"{path} is of another model: {what} ({len(missing)} missing, {len(extra)} unknown)",
                hint="a new dump_dist of this model",
            )
    return histograms
