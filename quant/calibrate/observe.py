"""Runs the float graph over calibration samples and shows every wanted activation to an observer.

The float kernels are held to one instruction set, whatever the machine or BITLITE_ISA offer beyond it: their results,
and so every scale that is derived from them, are then the same bits everywhere, for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from ...converter.errors import DataError, UsageError
from ...converter.ir import Graph, Tensor
from ...native.session import Session
from ..parallel import Workers
from .histogram import DEFAULT_BINS, Histogram

FLOAT_ISA = "avx2"
_HELD = 64 << 20  # bytes of activations of samples that run at once
T = TypeVar("T")
Sample = Mapping[str, np.ndarray]


def float_isa() -> str:
    """The instruction set of calibration runs; "" where the processor is of another family."""
    from ... import _native

    try:
        _native.isa()  # what counts and rounds follows BITLITE_ISA: its results are the same bits everywhere
    except ValueError as error:
        raise UsageError(str(error)) from error
    return FLOAT_ISA if FLOAT_ISA in _native.isas() else ""


class Runner:
    """Runs a graph with chosen tensors as outputs, into buffers that are used again; several threads may call it."""

    def __init__(self, graph: Graph, tensors: Sequence[Tensor], threads: int = 1) -> None:
        view = Graph(graph.name, list(graph.nodes), list(graph.inputs), [], dict(graph.meta))
        produced = {t for n in graph.nodes for t in n.outputs}
        self.fed = [t for t in tensors if t not in produced]
        self.session: Session | None = None
        view.outputs = [t for t in tensors if t in produced]
        if view.outputs:
            view.prune()
            self.session = Session(view, threads, isa=float_isa())
        self._spare: list[tuple[tuple[tuple[int, ...], ...], dict[str, np.ndarray]]] = []

    def __call__(self, sample: Sample, see: Callable[[Mapping[str, np.ndarray]], T]) -> T:
        """see(tensor name → value); the arrays are overwritten later."""
        fed = {t.name: sample[t.name] for t in self.fed}
        if self.session is None:
            return see(fed)
        feeds = {k: np.asarray(v, order="C") for k, v in sample.items()}
        key = tuple(feeds[p.name].shape for p in self.session.inputs)
        try:
            shapes, values = self._spare.pop()
        except IndexError:
            shapes, values = (), {}
        if shapes != key:
            values = self.session.run(feeds)
        else:
            self.session.bind(feeds, values).run()
        seen = see(fed | values)
        self._spare.append((key, values))
        return seen


class Observer(Protocol):
    """What is to be known of tensors: `look`, at one sample's value, may run in any thread or process; `fold` appends
    what was found to that of samples before, as one where nothing, not a bit, depends on the order of sums; `take` adds
    it up, in the order of samples. `blank`: one that has seen nothing."""

    def look(self, x: np.ndarray) -> Any: ...
    def fold(self, before: list[Any], measured: Any) -> None: ...
    def take(self, t: Tensor, measured: Any) -> None: ...
    def blank(self) -> Observer: ...


class Aside(Protocol):
    """What else is wanted of the same runs: `look`, in any thread, at the value of one of the `tensors` in the sample
    of a number; `take`, in the order of samples, what was found of all of them."""

    @property
    def tensors(self) -> Sequence[Tensor]: ...
    def look(self, number: int, x: np.ndarray) -> Any: ...
    def take(self, number: int, found: list[Any]) -> None: ...


class Kept:
    """Values of a few tensors, by the number of the sample, for as long as all of them fit into a room in bytes."""

    def __init__(self, tensors: Sequence[Tensor], room: int) -> None:
        self.tensors, self._room = list(tensors), room
        self.values: dict[int, list[np.ndarray]] = {}

    def look(self, number: int, x: np.ndarray) -> np.ndarray:
        return x.copy()

    def take(self, number: int, found: list[np.ndarray]) -> None:
        self._room -= sum(a.nbytes for a in found)
        if self._room >= 0:
            self.values[number] = found


class MeansAside:
    """The means of tensors over some of the samples, those of the numbers `rows`: `ChannelMeans` of these alone."""

    def __init__(self, tensors: Sequence[Tensor], rows: Sequence[int]) -> None:
        self.tensors, self.rows = list(tensors), list(rows)
        self.means, self._rows = ChannelMeans(), frozenset(rows)
        self.taken = 0

    def look(self, number: int, x: np.ndarray) -> Any:
        return self.means.look(x) if number in self._rows else None

    def take(self, number: int, found: list[Any]) -> None:
        if number in self._rows:
            self.taken += 1
            for t, measured in zip(self.tensors, found):
                self.means.take(t, measured)


def observe(
    graph: Graph,
    samples: Iterable[Sample],
    tensors: Sequence[Tensor],
    see: Observer,
    threads: int = 1,
    asides: Sequence[Aside] = (),
) -> int:
    """Shows `see` each tensor's value of each sample, several samples at a time. Returns the number of samples. asides:
    of the same runs.

    What is found does not depend on `threads`. So many samples run at once as have their activations in 64 MB.
    """
    held = sum(t.nbytes for t in tensors)
    abreast = max(1, min(threads, _HELD // max(held, 1)))
    also = [t for aside in asides for t in aside.tensors]
    run = Runner(graph, list(dict.fromkeys([*tensors, *also])), max(1, threads // abreast))
    count = 0
    with Workers(abreast) as workers:
        for parts, others in workers.each(
            lambda item: look(graph, run, tensors, see, *item, asides=asides), enumerate(samples)
        ):
            for t, part in zip(tensors, parts):
                see.take(t, part)
            for aside, found in zip(asides, others):
                aside.take(count, found)
            count += 1
    return count


def look(
    graph: Graph,
    run: Runner,
    tensors: Sequence[Tensor],
    see: Observer,
    number: int,
    sample: Sample,
    asides: Sequence[Aside] = (),
) -> tuple[list[Any], list[list[Any]]]:
    """What `see` finds in each of the tensors on one sample, and the asides in theirs. Raises DataError: the sample,
    the tensor, the value."""

    def one(t: Tensor, found: Callable[[np.ndarray], Any], values: Mapping[str, np.ndarray]) -> Any:
        try:
            return found(values[t.name])
        except (DataError, ValueError) as error:
            raise DataError(f"sample {number}: tensor {t.name!r}: {error}{_origin(graph)}") from error

    return run(
        sample,
        lambda values: (
            [one(t, see.look, values) for t in tensors],
            [[one(t, partial(aside.look, number), values) for t in aside.tensors] for aside in asides],
        ),
    )


def _origin(graph: Graph) -> str:
    """Where NaN and infinity may come from in the model itself."""
    for node in graph.nodes:
        for t in node.inputs:
            if t is not None and t.data is not None and t.data.dtype.kind == "f" and not np.isfinite(t.data).all():
                return f"; constant {t.name!r} of {node.name} ({node.op}) holds NaN or infinity"
    return ""


def histogram_of(x: np.ndarray, bins: int = DEFAULT_BINS) -> Histogram:
    """`Histogram.of` with the counting done by native code."""
    from ... import _native

    if x.dtype != np.float32 or not x.size or not x.flags.c_contiguous:
        return Histogram.of(x, bins)
    try:
        low, high = _native.extremes(x)
    except ValueError:
        return Histogram.of(x, bins)
    counted = Histogram.counted(low, high, bins, lambda *grid: _native.count_bins(x, *grid))
    return counted or Histogram.of(x, bins)


def _by_channel(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from ... import _native

    channels = x.shape[-1] if x.ndim else 1
    if not channels:
        return np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0)
    return _native.observe_channels(x, channels)


class ChannelReach:
    """Per tensor, how far from zero each channel of its last axis goes in the samples where it goes furthest.

    of: float32[samples, channels], each channel's magnitudes from the largest down, of `KEPT` samples at most.
    """

    KEPT = 4

    def __init__(self) -> None:
        self.of: dict[Tensor, np.ndarray] = {}

    def look(self, x: np.ndarray) -> np.ndarray:
        low, high, _ = _by_channel(x)
        return np.maximum(np.abs(low), np.abs(high))[None]

    def blank(self) -> ChannelReach:
        return ChannelReach()

    def fold(self, before: list[np.ndarray], measured: np.ndarray) -> None:
        if before:
            measured = self._largest(before.pop(), measured)
        before.append(measured)

    def take(self, t: Tensor, measured: np.ndarray) -> None:
        self.of[t] = self._largest(self.of[t], measured) if t in self.of else measured

    def _largest(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return -np.sort(-np.concatenate([a, b]), axis=0)[: self.KEPT]


class ChannelMeans:
    """Per tensor, the mean along its last axis over all samples, float64."""

    def __init__(self) -> None:
        self._sum: dict[Tensor, np.ndarray] = {}
        self._rows: dict[Tensor, int] = {}

    def look(self, x: np.ndarray) -> tuple[np.ndarray, int]:
        total = _by_channel(x)[2]
        return total, x.size // len(total)

    def blank(self) -> ChannelMeans:
        return ChannelMeans()

    def fold(self, before: list[tuple[np.ndarray, int]], measured: tuple[np.ndarray, int]) -> None:
        before.append(measured)

    def take(self, t: Tensor, measured: tuple[np.ndarray, int]) -> None:
        total, rows = measured
        self._sum[t] = self._sum[t] + total if t in self._sum else total
        self._rows[t] = self._rows.get(t, 0) + rows

    def of(self, t: Tensor) -> np.ndarray:
        return self._sum[t] / self._rows[t]

    def rename(self, names: Mapping[Tensor, Tensor]) -> None:
        """Keeps what was seen of some tensors as that of others."""
        for old, new in names.items():
            self._sum[new], self._rows[new] = self._sum.pop(old), self._rows.pop(old)


class Histograms:
    """Per tensor, the histogram of all samples."""

    def __init__(self, bins: int = DEFAULT_BINS) -> None:
        self.bins = bins
        self.of: dict[Tensor, Histogram] = {}

    def look(self, x: np.ndarray) -> Histogram:
        return histogram_of(x, self.bins)

    def blank(self) -> Histograms:
        return Histograms(self.bins)

    def fold(self, before: list[Histogram], measured: Histogram) -> None:
        if before:
            before[0].merge(measured)
        else:
            before.append(measured)

    def take(self, t: Tensor, measured: Histogram) -> None:
        if t in self.of:
            self.of[t].merge(measured)
        else:
            self.of[t] = measured
