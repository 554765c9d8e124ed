"""Causes in what calibration is fed: too few samples, samples on another scale, saved statistics of other data.

Such a cure changes what is fed, so its trial calibrates anew; those of other causes take the statistics as they are.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..converter.errors import Hint, Setting
from ..converter.ir import Graph
from ..quant.calibrate.data import Dataset
from ..quant.calibrate.data_lint import Rescale
from ..quant.calibrate.spread import Chosen
from ..quant.calibrate.statistics import Statistics, load_statistics
from ..quant.ptq.fidelity import Reference, hold_back, judge_of, spread
from ..quant.ptq.post_training import quantized_once
from .cure_trials import Trial
from .options.convert import ConvertOptions
from .options.settings import post_training_settings

ENOUGH = 20  # samples: of fewer none is held back
_USUAL = 100
_GROWS = 1.25  # times the second largest value of all samples is the largest: the next sample may go as far again


def data_trials(
    graph: Graph,
    samples: Dataset,
    rescale: Mapping[str, Rescale],
    options: ConvertOptions,
    statistics: Statistics,
    lacks: bool,
    most: int,
) -> Iterator[Trial]:
    """What is to be tried of the data.

    Args:
        rescale: inputs that are on another scale than the model's, as it seems. statistics: what calibration saw.
        lacks: the outputs are not what they should be. most: samples to fit layers to, and to judge by.
    """
    if rescale:
        yield _rescaled(graph, samples, rescale, options, most)
    if options.load_dist and lacks:
        yield _own_statistics(graph, samples, options, most)
    if not options.load_dist and len(samples) < ENOUGH and (lacks or _grows(statistics)):
        yield from _more_samples(graph, samples, options, most)


def _rescaled(
    graph: Graph, samples: Dataset, rescale: Mapping[str, Rescale], options: ConvertOptions, most: int
) -> Trial:
    """Codes made for the samples as they are, and for rescaled ones, both judged on rescaled ones."""
    fitted, held = hold_back(len(samples), most)
    fit, judges = (Chosen(samples, [rows[k] for k in spread(len(rows), most)]) for rows in (fitted, held))
    scaled = [_Rescaled(chosen, rescale) for chosen in (fit, judges)]

    def measure() -> tuple[float, float]:
        judge = Reference(graph, list(scaled[1]), _threads(options))
        return _worst(graph, fit, options, judge), _worst(graph, scaled[0], options, judge)

    return Trial("samples on another scale than the model's", (), _scaling(rescale, options), measure)


def _scaling(rescale: Mapping[str, Rescale], options: ConvertOptions) -> Hint:
    """How a user mends the scale: options where bitlite reads images, else words."""
    (name, first), *_ = rescale.items()
    if options.input_type != "IMAGE":
        return f"samples of {name!r} as (x - {first.mean:g}) / {first.std:g}"
    mean, std = options.normalize_mean or (0.0,), options.normalize_std or (1.0,)
    means = tuple(m + first.mean * s for m, s in zip(*np.broadcast_arrays(mean, std)))
    return (
        Setting("normalize_mean", tuple(float(f"{m:.6g}") for m in means)),
        " ",
        Setting("normalize_std", tuple(float(f"{first.std * s:.6g}") for s in np.broadcast_to(std, len(means)))),
    )


def _own_statistics(graph: Graph, samples: Dataset, options: ConvertOptions, most: int) -> Trial:
    fitted, held = hold_back(len(samples), most)
    fit = Chosen(samples, [fitted[k] for k in spread(len(fitted), most)])

    def measure() -> tuple[float, float]:
        judge = judge_of(graph, samples, held[:most], None, _threads(options))
        return _worst(graph, fit, options, judge), _worst(graph, fit, replace(options, load_dist=""), judge)

    return Trial("saved statistics of other data", (), ("no ", Setting("load_dist")), measure)


def _more_samples(graph: Graph, samples: Dataset, options: ConvertOptions, most: int) -> Iterator[Trial]:
    """With samples that are there and were not asked for; else, of those there are, without and with a quarter."""
    count, every = len(samples), range(min(samples.available or 0, _USUAL))
    cure: Hint = Setting("calibrate_size", len(every))
    if len(every) > count:
        samples = Dataset(replace(samples.spec, count=len(every), strict=False), samples.inputs)
        unseen = range(count, len(every))
    elif count > 1:
        every, unseen, cure = range(count), range(count), "more calibration samples, 100 are usual"
    else:
        return
    held = [unseen[k] for k in spread(len(unseen), min(most, max(1, len(unseen) // 4)))]
    apart = len(every) > count
    before = [k for k in range(count) if k not in held]
    after = [k for k in every if not apart or k not in held]

    def measure() -> tuple[float, float]:
        judge = judge_of(graph, samples, held, None, _threads(options))
        few, more = (_worst(graph, Chosen(samples, rows), options, judge) for rows in (before, after))
        return few, more

    yield Trial("too few samples", (), cure, measure)


def _grows(statistics: Statistics) -> bool:
    """Whether the extremes of a tensor are those of one sample, far beyond the others."""
    for histogram in statistics.histograms.values():
        for ends in (np.sort(np.negative(histogram.sample_low)), np.sort(histogram.sample_high)):
            if len(ends) < 2 or ends[-1] > _GROWS * max(ends[-2], 0.0) > 0:
                return True
    return False


def _threads(options: ConvertOptions) -> int:
    return options.threads or os.cpu_count() or 1


def _worst(graph: Graph, fit: Chosen | _Rescaled, options: ConvertOptions, judge: Reference) -> float:
    """SQNR in dB of the worst output of the graph calibrated on `fit`."""
    twin = graph.copy()
    statistics = load_statistics(options.load_dist) if options.load_dist else None
    settings = replace(post_training_settings(twin, options, statistics), measure=False)
    return min(o.sqnr for o in judge.outputs_of(quantized_once(twin, fit, settings).graph))


class _Rescaled:
    """Samples as the model seems to want them."""

    def __init__(self, samples: Chosen, rescale: Mapping[str, Rescale]) -> None:
        self._samples, self._rescale = samples, rescale

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return map(self._scaled, self._samples)

    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]:
        return map(self._scaled, self._samples.only(rows))

    def shards(self, parts: Iterable[Sequence[int]]) -> Iterator[list[dict[str, np.ndarray]]]:
        return (list(self.only(part)) for part in parts)

    def _scaled(self, sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        lacks = self._rescale
        return {k: ((v - lacks[k].mean) / lacks[k].std).astype(v.dtype) if k in lacks else v for k, v in sample.items()}
