"""Statistics of the activations that are to be codes: saved ones, or those of a run on the samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...converter.errors import DataError
from ...converter.ir import Graph, Tensor
from ..calibrate.observe import Aside, ChannelReach, Histograms, Observer
from ..calibrate.spread import observe_all
from ..calibrate.statistics import Statistics, check_statistics
from ..progress import Progress
from .equalize import equalize, scalable, scale_channels
from .layer_ranges import fix_ranges
from .pair_channels import pair_channels
from .placement import Placement, tensors_in_codes
from .settings import Samples, Settings


def calibration_statistics(
    graph: Graph,
    plan: Placement,
    samples: Samples | None,
    settings: Settings,
    progress: Progress,
    asides: Sequence[Aside] = (),
) -> Statistics:
    """The statistics, once channels are made alike and paired, in place, where the settings ask. asides: of the runs
    that statistics are of.

    Raises:
        DataError: there are neither samples nor statistics, or these are of another model.
    """
    tensors = [t for t in tensors_in_codes(graph, plan) if not t.is_const]
    narrow = plan.int8_nodes - plan.wide  # codes of 16 bits have room for channels of all sizes
    if not settings.fold_concat_scale:
        narrow = {n for n in narrow if n.op != "Concat"}
    if settings.statistics is not None:
        sizes = {t.name: t.shape[-1] if t.shape else None for t in tensors}
        check_statistics(settings.statistics, sizes)
        scale_channels(graph, narrow, settings.statistics.factors)
        if settings.pairs:
            pair_channels(graph, plan.int8_nodes)
        fix_ranges(graph, settings.statistics.histograms, settings.layer_ranges, settings.methods)
        return settings.statistics
    if samples is None:
        raise DataError("there are neither samples nor saved statistics")

    def see(wanted: Sequence[Tensor], observer: Observer, label: str, asides: Sequence[Aside] = ()) -> None:
        observe_all(graph, samples, wanted, observer, settings.workforce, lambda items: progress(items, label), asides)

    factors: dict[str, np.ndarray] = {}
    if settings.equalize:
        reach, free = ChannelReach(), scalable(graph, narrow)
        asked = [t for t in tensors if t in free]
        if asked:
            see(asked, reach, "looking at channels")
        factors = equalize(graph, reach.of, narrow)
    if settings.pairs:  # before the run whose outputs are kept: another order of channels gives other sums
        pair_channels(graph, plan.int8_nodes)
    histograms = Histograms(settings.bins)
    see(tensors, histograms, "collecting statistics", asides)
    of = {t.name: histograms.of[t] for t in tensors}
    fix_ranges(graph, of, settings.layer_ranges, settings.methods)
    return Statistics(of, factors)
