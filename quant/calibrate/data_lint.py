"""A look at the calibration data before hours are spent on them: what is fed, and does it look wrong for the model?

One streaming pass gives a table (shape, dtype, range, mean per channel) and plain warnings. A warning is a judgement:
it stops nothing. What is certainly wrong (NaN, a shape that does not fit) is an error of the data set itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..parallel import Workers
from .data import Dataset
from .fit import InputSpec, show_shape

# Standard deviation of the first layer's output over the rms of its bias, measured on trained networks: 0.2 to 1.4 when
# the input is scaled as in training, above 25 when it is 255 times too large, below 0.02 when 255 times too small.
GAIN_TOO_LARGE, GAIN_TOO_SMALL = 8.0, 0.03
COLUMNS = ("input", "shape", "dtype", "range", "mean per channel", "std per channel")
_LOOKED_AT = 16  # samples that the costly checks look at
_FEW = 8
_Sums = tuple[float, float, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class FirstLayer:
    """Facts about what the model does first with an input, as far as the caller knows them.

    low, high: the range that the input was quantized or clipped to. mean, std: of a normalization that comes first, per
    channel. weight [O, *K, C] (channels last) and bias [O] of the first convolution or fully connected layer.
    """

    low: float | None = None
    high: float | None = None
    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None


@dataclass(frozen=True)
class Rescale:
    """What samples of an input lack: (x - mean) / std is on the scale that the model was made for, as it seems."""

    mean: float
    std: float


@dataclass
class InputSummary:
    """What was seen of one input; `mean` and `std` per channel where the input has channels, else one value."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float = np.inf
    high: float = -np.inf
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    std: np.ndarray = field(default_factory=lambda: np.zeros(1))


@dataclass
class LintReport:
    """Number of samples, one summary per input, warnings and notes (plain sentences), and the inputs that look as if
    they were on another scale than the model's."""

    samples: int
    inputs: list[InputSummary]
    warnings: list[str]
    notes: list[str]
    rescale: dict[str, Rescale] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Returns everything JSON-ready, for the report file."""
        inputs = [
            {**vars(item), "shape": list(item.shape), "low": float(item.low), "high": float(item.high)}
            | {"mean": item.mean.tolist(), "std": item.std.tolist()}
            for item in self.inputs
        ]
        return {"samples": self.samples, "inputs": inputs, "warnings": self.warnings, "notes": self.notes}

    def cells(self) -> list[tuple[str, ...]]:
        """A row of text per input under COLUMNS."""
        return [
            (item.name, show_shape(item.shape), item.dtype, f"{item.low:.4g} .. {item.high:.4g}",
             _some(item.mean), _some(item.std))
            for item in self.inputs
        ]  # fmt: skip


def lint(
    dataset: Dataset,
    facts: Mapping[str, FirstLayer] | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    threads: int = 1,
) -> LintReport:
    """Reads the data once and reports; nothing depends on `threads`.

    Args:
        dataset: the samples.
        facts: input name → what is known of the model's first layer there.
        progress: wraps the iteration, e.g. in a progress bar.

    Raises:
        DataError: from the data set.
    """
    watchers = {item.name: _Watcher(item) for item in dataset.inputs}
    twins: dict[bytes, int] = {}
    repeated: list[tuple[int, int]] = []
    samples = 0

    def look(sample: Mapping[str, np.ndarray]) -> tuple[bytes, dict[str, tuple[np.ndarray, _Sums]]]:
        digest, found = hashlib.blake2b(digest_size=16), dict[str, tuple[np.ndarray, _Sums]]()
        for name, array in sample.items():
            digest.update(np.ascontiguousarray(array).tobytes() if not array.ndim else array.data)
            array = watchers[name].as_given(array)
            if array.size:
                found[name] = array, _sums(array, watchers[name].axis)
        return digest.digest(), found

    with Workers(threads) as workers:
        for digest, found in workers.each(look, progress(dataset)):
            for name, (array, sums) in found.items():
                watchers[name].take(samples, array, sums)
            first = twins.setdefault(digest, samples)
            if first != samples:
                repeated.append((first, samples))
            samples += 1
    warnings, notes, rescale = [], list(dataset.notes), dict[str, Rescale]()
    if repeated:
        first, second = repeated[0]
        warnings.append(f"{len(repeated)} of {samples} samples repeat another one (first: {first} and {second})")
    if samples < _FEW:
        notes.append(f"{samples} sample(s) are few: ranges of activations vary from sample to sample; 100 are usual")
    for name, watcher in watchers.items():
        warnings += watcher.warnings()
        if (fault := _scale_fault(watcher, (facts or {}).get(name), notes)) is not None:
            warnings.append(f"{name}: {fault[0]}")
            rescale[name] = fault[1]
        warnings += _channel_warnings(watcher, dataset)
    return LintReport(samples, [watcher.summary() for watcher in watchers.values()], warnings, notes, rescale)


def looks_turned(item: InputSpec, array: np.ndarray) -> str:
    """What is said of a sample whose values lie as the other layout has them; "" where they do not."""
    watcher = _Watcher(item)
    array = watcher.as_given(array)
    if array.size:
        watcher.take(0, array, _sums(array, watcher.axis))
    return watcher.layout_warning()


class _Watcher:
    """Sums over the samples of one input, float64."""

    def __init__(self, item: InputSpec) -> None:
        self.item, self.axis = item, _channel_axis(item)
        self.count = 0
        self.low, self.high = np.inf, -np.inf
        self.sum = self.squares = np.zeros(1)
        self.constant: list[int] = []
        self.whole = True
        self.shape: tuple[int, ...] = ()
        self.kept: list[np.ndarray] = []

    def as_given(self, array: np.ndarray) -> np.ndarray:
        """A sample in the layout in which it came, in which it is judged."""
        return array if self.item.turn is None else array.transpose(np.argsort(self.item.turn))

    def take(self, number: int, array: np.ndarray, sums: _Sums) -> None:
        self.shape = self.shape or array.shape
        low, high, total, squares = sums
        self.low, self.high = min(self.low, low), max(self.high, high)
        if low == high and array.size > 1:
            self.constant.append(number)
        self.sum, self.squares = self.sum + total, self.squares + squares
        self.count += array.size // (array.shape[self.axis] if self.axis is not None else 1)
        if len(self.kept) < _LOOKED_AT:
            self.kept.append(array)
            self.whole = self.whole and bool((array == np.rint(array)).all())

    @property
    def mean(self) -> np.ndarray:
        return self.sum / max(self.count, 1)

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(np.maximum(self.squares / max(self.count, 1) - self.mean**2, 0))

    def summary(self) -> InputSummary:
        return InputSummary(self.item.name, self.shape, str(self.item.dtype), self.low, self.high, self.mean, self.std)

    def warnings(self) -> list[str]:
        lines = []
        if self.constant:
            lines.append(f"{self.item.name}: {len(self.constant)} sample(s) have one value everywhere "
                         f"(first: sample {self.constant[0]})")  # fmt: skip
        return lines + list(filter(None, [self.layout_warning()]))

    def layout_warning(self) -> str:
        if not (other := self._other_layout()):
            return ""
        declared = f"{show_shape(self.item.shape)} {self.item.layout}".rstrip()
        return f"{self.item.name}: the samples look like {other} data, and the input is {declared}"

    def _other_layout(self) -> str:
        """Compares vertical neighbours as either layout places them: the smoother one is the true one."""
        if len(self.shape) != 4 or self.axis is None or not self.kept:
            return ""
        planar = self.axis == 1
        channels, (height, width) = self.shape[self.axis], self.shape[2:] if planar else self.shape[1:3]
        if channels not in (3, 4) or min(height, width) < 16:
            return ""
        steps = {"NCHW": width, "NHWC": width * channels}
        rough = dict.fromkeys(steps, 0.0)
        for array in self.kept:
            flat = array.astype(np.float64).ravel()
            for name, step in steps.items():
                rough[name] += float(np.abs(flat[step:] - flat[:-step]).mean())
        declared, other = ("NCHW", "NHWC") if planar else ("NHWC", "NCHW")
        return other if rough[declared] > 1.5 * rough[other] else ""

    def first_outputs(self, weight: np.ndarray) -> np.ndarray | None:
        """A sample of the first layer's outputs [N, O] by its weight, without the bias; None when it does not fit."""
        channels, window = weight.shape[-1], weight.shape[1:-1]
        rows = []
        for array in self.kept:
            x = np.moveaxis(array[0].astype(np.float64), self.axis - 1, -1) if self.axis is not None else array[0]
            if x.shape[-1:] != (channels,) or x.ndim - 1 != len(window) or any(np.less(x.shape[:-1], window)):
                return None
            if window:
                x = np.lib.stride_tricks.sliding_window_view(x, window, tuple(range(len(window))))
                x = np.moveaxis(x, len(window), -1)[tuple(slice(None, None, 3) for _ in window)]
            rows.append(x.reshape(-1, weight[0].size))
        return np.concatenate(rows) @ weight.reshape(len(weight), -1).astype(np.float64).T if rows else None


def _sums(array: np.ndarray, axis: int | None) -> _Sums:
    """Least and greatest value; sums and sums of squares per channel, float64."""
    from ... import _native

    if array.dtype == np.float32 and array.flags.c_contiguous and axis is not None and axis == array.ndim - 1:
        try:
            low, high, total = _native.observe_channels(array, array.shape[axis])
            with np.errstate(over="ignore"):
                squares = _native.observe_channels(np.square(array), array.shape[axis])[2]
            return float(low.min()), float(high.max()), total, squares
        except ValueError:  # not finite, or squares that are not
            pass
    exact = array.astype(np.float64)
    axes = tuple(i for i in range(array.ndim) if i != axis)
    total, squares = np.atleast_1d(exact.sum(axes)), np.atleast_1d(np.square(exact).sum(axes))
    return float(array.min()), float(array.max()), total, squares


def _channel_axis(item: InputSpec) -> int | None:
    rank = len(item.shape)
    if item.layout == "NCHW" and rank >= 3:
        return 1
    if item.layout == "NHWC" and rank >= 3:
        return rank - 1
    if rank == 4:
        return 1 if item.shape[1] in (1, 3, 4) and item.shape[3] not in (1, 3, 4) else 3
    return None


def _scale_fault(watcher: _Watcher, layer: FirstLayer | None, notes: list[str]) -> tuple[str, Rescale] | None:
    """What is wrong with the scale of the input by what is known of the model, and what would mend it; where nothing is
    known, raw pixels are noted."""
    item, fed = watcher.item, f"{watcher.low:.4g} .. {watcher.high:.4g}"
    pixels = watcher.low >= 0 and 64 < watcher.high <= 255
    cure = "; raw pixels? try normalize_mean and normalize_std" if pixels else ""
    if not watcher.kept:
        return None
    if layer is not None and layer.low is not None and layer.high is not None and layer.high > layer.low:
        span, wanted = max(abs(watcher.low), abs(watcher.high)), max(abs(layer.low), abs(layer.high))
        if wanted / 20 <= span <= 4 * wanted:
            return None
        std = 255 / (layer.high - layer.low) if pixels else span / wanted
        made_for = f"{layer.low:.4g} .. {layer.high:.4g}"
        text = f"is fed {fed}, and the model was made for {made_for}{cure}"
        return text, Rescale(-layer.low * std if pixels else 0.0, std)
    if layer is not None and layer.mean is not None and layer.std is not None:
        away = np.abs(watcher.mean - layer.mean) / np.maximum(layer.std, 1e-12)
        ratio = float(np.median(watcher.std / np.maximum(layer.std, 1e-12)))
        if away.max() <= 4 and 0.1 < ratio < 10:
            return None
        seen = f"has mean {_some(watcher.mean)} and std {_some(watcher.std)}"
        wanted_by = f"the model normalizes by mean {_some(layer.mean)} and std {_some(layer.std)}"
        return f"{seen}, and {wanted_by}{cure}", Rescale(0.0, 255.0 if pixels else max(ratio, 1e-12))
    gain = _gain(watcher, layer)
    if gain is not None and gain > GAIN_TOO_LARGE:
        why = f"its outputs vary {gain:.3g} times more than its bias; usual is about 1"
        return f"{fed} looks too large for the first layer: {why}{cure}", Rescale(0.0, 255.0 if pixels else gain)
    if gain is not None and gain < GAIN_TOO_SMALL:
        why = f"its outputs vary only {gain:.2g} times as much as its bias; usual is about 1"
        text = f"{fed} looks too small for the first layer: {why}; does the model want 0..255?"
        return text, Rescale(0.0, max(gain, 1e-12))
    if gain is None and item.dtype.kind == "f" and watcher.whole and pixels:
        notes.append(
            f"{item.name}: looks like raw pixels ({fed}); a model trained on 0..1 or -1..1 needs normalize_mean/std"
        )
    return None


def _gain(watcher: _Watcher, layer: FirstLayer | None) -> float | None:
    """Returns std of the first layer's outputs over the rms of its bias; None when that says nothing."""
    if layer is None or layer.weight is None or layer.bias is None or layer.weight.ndim < 2:
        return None
    reference = float(np.sqrt(np.mean(np.square(layer.bias.astype(np.float64)))))
    outputs = watcher.first_outputs(layer.weight)
    if outputs is None or reference < 1e-6:
        return None
    return float(np.median(outputs.std(0))) / reference


def _channel_warnings(watcher: _Watcher, dataset: Dataset) -> list[str]:
    """Compares the order of a per-channel mean with the order of the channels fed to it.

    Photographs are a little brighter in red than in blue, so a mean that falls is written for RGB and one that rises
    for BGR (ImageNet: 123.7, 116.3, 103.5).
    """
    image = dataset.spec.image
    if dataset.spec.source is not None or len(image.mean) != 3 or image.to_format == "GRAY":
        return []
    falls = image.mean[0] > image.mean[1] > image.mean[2]
    rises = image.mean[0] < image.mean[1] < image.mean[2]
    order = "RGB" if falls else "BGR" if rises else image.to_format
    if order == image.to_format or not watcher.kept:
        return []
    mean = _some(np.array(image.mean))
    return [f"{watcher.item.name}: normalize_mean {mean} reads like {order}, and image_to_format is {image.to_format}"]


def _some(values: np.ndarray) -> str:
    flat = np.atleast_1d(values)
    shown = ", ".join(f"{value:.4g}" for value in flat[:4])
    return shown + (f", ... ({len(flat)})" if len(flat) > 4 else "")
