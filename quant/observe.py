"""Runs the float graph over calibration samples and shows every wanted activation to an observer.

The float kernels are held to one instruction set, whatever the machine or BITLITE_ISA offer beyond it: their results,
and so every scale that is derived from them, are then the same bits everywhere, for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..converter.errors import DataError
from ..converter.ir import Graph, Tensor
from ..native.session import Session
from .histogram import DEFAULT_BINS, Histogram

FLOAT_ISA = "avx2"
Sample = Mapping[str, np.ndarray]


def float_isa() -> str:
    """The instruction set of calibration runs; "" where the processor is of another family."""
    from .. import _native

    return FLOAT_ISA if FLOAT_ISA in _native.isas() else ""


class Runner:
    """Runs a graph with chosen tensors as outputs, into buffers that are used again for the next sample."""

    def __init__(self, graph: Graph, tensors: Sequence[Tensor], threads: int) -> None:
        view = Graph(graph.name, list(graph.nodes), list(graph.inputs), [], dict(graph.meta))
        made = {t for n in graph.nodes for t in n.outputs}
        self.fed = [t for t in tensors if t not in made]
        self.session: Session | None = None
        view.outputs = [t for t in tensors if t in made]
        if view.outputs:
            view.prune()
            self.session = Session(view, threads, isa=float_isa())
        self._bound: dict[tuple[tuple[int, ...], ...], dict[str, np.ndarray]] = {}
        self._used = {t.name for n in view.nodes for t in n.inputs if t is not None}

    def __call__(self, sample: Sample) -> dict[str, np.ndarray]:
        """Tensor name → value; the arrays are overwritten by the next call."""
        found = {t.name: sample[t.name] for t in self.fed}
        if self.session is None:
            return found
        feeds = {k: np.ascontiguousarray(v) for k, v in sample.items()}
        key = tuple(feeds[p.name].shape for p in self.session.inputs)
        if key not in self._bound:
            self._bound = {key: self.session.run(feeds)}
        else:
            self.session.bind(feeds, self._bound[key]).run()
        return found | self._bound[key]


def observe(
    graph: Graph,
    samples: Iterable[Sample],
    tensors: Sequence[Tensor],
    see: Callable[[Tensor, np.ndarray], None],
    threads: int = 1,
) -> int:
    """Shows `see` each tensor's value of each sample, tensor by tensor in parallel. Returns the number of samples."""
    run = Runner(graph, tensors, threads)
    count = 0

    def one(t: Tensor) -> None:
        try:
            see(t, values[t.name])
        except (DataError, ValueError) as error:
            raise DataError(f"sample {count}: tensor {t.name!r}: {error}") from error

    with ThreadPoolExecutor(max_workers=threads) as pool:
        for sample in samples:
            values = run(sample)
            for done in pool.map(one, tensors):
                assert done is None
            count += 1
    return count


def histogram_of(x: np.ndarray, bins: int = DEFAULT_BINS) -> Histogram:
    """`Histogram.of` with the counting done by native code."""
    from .. import _native

    if x.dtype != np.float32 or not x.size or not x.flags.c_contiguous:
        return Histogram.of(x, bins)
    try:
        low, high, _ = _native.observe_channels(x, 1)
    except ValueError:
        return Histogram.of(x, bins)
    counted = Histogram.counted(float(low[0]), float(high[0]), bins, lambda *grid: _native.count_bins(x, *grid))
    return counted or Histogram.of(x, bins)


class ChannelExtremes:
    """Per tensor, the extremes and the mean square along its last axis, over all samples."""

    def __init__(self) -> None:
        self.low: dict[Tensor, np.ndarray] = {}
        self.high: dict[Tensor, np.ndarray] = {}

    def __call__(self, t: Tensor, x: np.ndarray) -> None:
        from .. import _native

        low, high, _ = _native.observe_channels(x, x.shape[-1] if x.ndim else 1)
        self.low[t] = np.minimum(self.low[t], low) if t in self.low else low
        self.high[t] = np.maximum(self.high[t], high) if t in self.high else high


class ChannelMeans:
    """Per tensor, the mean along its last axis over all samples, float64."""

    def __init__(self) -> None:
        self._sum: dict[Tensor, np.ndarray] = {}
        self._rows: dict[Tensor, int] = {}

    def __call__(self, t: Tensor, x: np.ndarray) -> None:
        from .. import _native

        channels = x.shape[-1] if x.ndim else 1
        total = _native.observe_channels(x, channels)[2]
        self._sum[t] = self._sum[t] + total if t in self._sum else total
        self._rows[t] = self._rows.get(t, 0) + x.size // channels

    def of(self, t: Tensor) -> np.ndarray:
        return self._sum[t] / self._rows[t]


class Histograms:
    """Per tensor, the histogram of all samples."""

    def __init__(self, bins: int = DEFAULT_BINS) -> None:
        self.bins = bins
        self.of: dict[Tensor, Histogram] = {}

    def __call__(self, t: Tensor, x: np.ndarray) -> None:
        new = histogram_of(x, self.bins)
        if t in self.of:
            self.of[t].merge(new)
        else:
            self.of[t] = new
