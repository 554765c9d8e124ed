"""What PostTraining is asked for, and the samples that it takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from ...converter.ir import Node
from ..calibrate.data import Shard
from ..calibrate.histogram import DEFAULT_BINS
from ..calibrate.statistics import Statistics
from ..cluster.pool import WorkerPool, Workforce
from ..score import Scoring
from ..weights.weight_quant import WeightSettings
from .layer_ranges import LayerRange


class Samples(Protocol):
    """Calibration data, iterated as often as needed; `data.Dataset` is one."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]: ...
    def shards(self, parts: Iterable[Sequence[int]]) -> Iterator[Shard]: ...


@dataclass(frozen=True)
class Settings:
    """What `quantize_graph` is asked for; the fields are those of `ConvertOptions`.

    bits, layer_bits: of weights. activation_bits: selector → 8 or 16, a number for all nodes. kept: nodes that stay
    float. subset: the most samples that the corrections on the quantized prefix take, and where weights have fewer
    than 8 bits. statistics: saved ones,
    instead of running the model for them. measure: fill `Result.rows`. pairs: keep weights within what kernels
    without VNNI add in pairs, so that onnxruntime is exact ("onnx"), or where that costs little ("own").
    float_weights: how weights of layers left in float, but for those of `kept`, become
    codes; None leaves them. pool: workers that read samples and run layers on them, instead of threads.
    layer_ranges: layer → what it asks of its output's range. scoring: of all samples, where there are labels or a
    metric. wide_weights: weights of 8 bits that limit outputs whose activations have 16 get more (`wide_weights`).
    float16_weights: layers in float whose weights, of those that would be codes, have float16. shares: the numbers
    of the samples that layers are fitted to, and of those that judge; None: as `fidelity.hold_back` has them.
    fold_concat_scale: channels are made alike across a Concat, too. fine: layers that have at least 8 bits where bits
    are fewer, unless layer_bits has them; None: the smallest.
    """

    methods: tuple[str, ...] = ("AUTO",)
    bits: int = 8
    layer_bits: Mapping[Node, int] = field(default_factory=dict)
    activation_bits: Mapping[str | int, int] = field(default_factory=dict)
    kept: frozenset[Node] = frozenset()
    per_channel: bool = True
    bias_correction: str = "sequential"
    target: str = "bitlite"
    input_type: str = "DEFAULT"
    output_type: str = "DEFAULT"
    bins: int = DEFAULT_BINS
    threads: int = 1
    pool: WorkerPool | None = None
    subset: int = 64
    subset_of_few_bits: int = 128
    equalize: bool = True
    fold_concat_scale: bool = True
    round_by_output: bool = True
    statistics: Statistics | None = None
    measure: bool = False
    pairs: Literal["", "onnx", "own"] = ""
    float_weights: WeightSettings | None = None
    layer_ranges: Mapping[str, LayerRange] = field(default_factory=dict)
    scoring: Scoring | None = None
    wide_weights: bool = False
    float16_weights: frozenset[Node] = frozenset()
    shares: tuple[Sequence[int], Sequence[int]] | None = None
    fine: frozenset[Node] | None = None

    @property
    def workforce(self) -> Workforce:
        return Workforce(self.threads, self.pool)
