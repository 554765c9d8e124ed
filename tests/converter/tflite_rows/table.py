"""What a row of the audit is: one TFLite operator, the choices its models combine, and how a model is made of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bitlite.converter.formats.tflite_schema import options_table
from bitlite.converter.numeric.qparams import QuantParam, choose_asymmetric
from tflite_models import tflite_model

CODES = ("int8", "uint8", "int16")
PLAIN = ("float32", "int32", "int64")
ACTS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
"""What LiteRT's kernels fuse. A TANH or SIGN_BIT beside them is ignored there, and refused here."""

# How far a code of ours may lie from LiteRT's.
COPY = 0
"""The operator moves or chooses codes, or computes on plain integers: equal."""
ROUNDING = 1
"""Both compute the same real number and round it: LiteRT multiplies by a 31-bit integer and rounds halves away from
zero, sometimes twice (gemmlowp); we multiply by a float32 and round halves to even. So one code, not more."""


@dataclass
class Case:
    """A model of one operator with what to feed it. The fields are those of `tflite_model`.

    Args:
        steps: codes that may lie between the two results. tolerance: of the range of a float result, and
            `absolute` on top.
        truth: the reals that output 0 approximates, in float64, where LiteRT's integers are known to be coarser than
            `steps` (tables with interpolation, products of products): a code of ours that differs is then judged by it.
    """

    op: str
    inputs: list[Any]
    options: dict[str, Any] | None = None
    const: tuple[int, ...] = ()
    outputs: tuple[Any, ...] = (None,)
    quant: dict[int, QuantParam | None] = field(default_factory=dict)
    output_quant: tuple[QuantParam | None, ...] = (None,)
    version: int = 1
    variable: tuple[int, ...] = ()
    types: dict[int, str] = field(default_factory=dict)
    intermediates: tuple[QuantParam, ...] = ()
    custom_options: bytes | None = None
    steps: int = COPY
    tolerance: float = 1e-5
    absolute: float = 0.0
    truth: np.ndarray | None = None
    label: str = ""

    def model(self) -> bytes:
        table = options_table(self.op)
        options = None if table is None or self.options is None else (table, self.options)
        how: dict[str, Any] = {}
        if self.custom_options is not None:
            how = {"custom": self.op, "custom_options": self.custom_options}
        return tflite_model(
            self.op,
            self.inputs,
            options,
            const=self.const,
            variable=self.variable,
            outputs=self.outputs,
            quant={k: q for k, q in self.quant.items() if q is not None},
            output_quant=self.output_quant,
            version=self.version,
            types=self.types,
            intermediates=self.intermediates,
            **how,
        )

    def feeds(self) -> dict[str, np.ndarray]:
        held = {*self.const, *self.variable}
        return {f"x{i}": np.asarray(a) for i, a in enumerate(self.inputs) if a is not None and i not in held}


class Draw:
    """Random values and parameters of one case."""

    def __init__(self, seed: Sequence[int]) -> None:
        self.rng = np.random.default_rng(seed)

    def values(self, dtype: str, shape: Sequence[int], low: float = -3, high: float = 3) -> np.ndarray:
        """Codes over their whole range; plain integers and floats between low and high."""
        if dtype == "bool":
            return np.asarray(self.rng.random(shape) < 0.5)
        if dtype in CODES:
            info = np.iinfo(dtype)
            return np.asarray(self.rng.integers(info.min, info.max + 1, shape), dtype)
        if dtype.startswith("float"):
            return np.asarray(self.rng.uniform(low, high, shape), dtype)
        return np.asarray(self.rng.integers(int(np.ceil(low)), int(high) + 1, shape), dtype)

    def params(self, dtype: str, low: float = -3, high: float = 3) -> QuantParam | None:
        """Parameters for reals in [low, high], a little off; None for a type that holds plain numbers."""
        if dtype not in CODES:
            return None
        stretch = self.rng.uniform(0.8, 1.2)
        if dtype == "int16":
            return rounded(QuantParam(max(abs(low), abs(high), 1e-6) * stretch / 32767, 0, None, 16))
        return rounded(
            choose_asymmetric(low * stretch, high * self.rng.uniform(0.8, 1.2), 8, unsigned=dtype == "uint8")
        )

    def fitting(self, dtype: str, reals: np.ndarray) -> QuantParam | None:
        """Parameters of an output that holds `reals`, mostly."""
        finite = np.asarray(reals, np.float64)[np.isfinite(reals)]
        low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
        return self.params(dtype, low, high if high > low else low + 1)

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]


def rounded(q: QuantParam) -> QuantParam:
    """With scales as a file holds them, in float32."""
    return QuantParam(q.scale.astype(np.float32), q.zero_point, q.axis, q.bits)


def real(x: np.ndarray, q: QuantParam | None) -> np.ndarray:
    """What stored values stand for, in float64."""
    if q is None:
        return np.asarray(x, np.float64)
    shape = [-1 if i == q.axis else 1 for i in range(x.ndim)] if q.axis is not None else ()
    return (x.astype(np.float64) - q.zero_point.reshape(shape)) * q.scale.reshape(shape)


Make = Callable[..., "Case | None"]


@dataclass(frozen=True)
class Row:
    """One operator.

    Args:
        make: (draw, dtype, **one value per axis) → a case, None where the choices do not go together.
        dtypes: what LiteRT's kernel takes. axes: name → values to combine.
        refuses: parts of the reasons for which bitlite refuses what LiteRT runs.
    """

    op: str
    make: Make
    dtypes: tuple[str, ...]
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    refuses: tuple[str, ...] = ()

    def combinations(self, limit: int | None, seed: int = 0) -> Iterator[dict[str, Any]]:
        """All combinations of the axes, or about `limit` of them in which every value occurs."""
        names, values = list(self.axes), [self.axes[n] for n in self.axes]
        total = int(np.prod([len(v) for v in values], dtype=np.int64))
        if limit is None or total <= limit:
            for chosen in itertools.product(*values):
                yield dict(zip(names, chosen))
            return
        rng = np.random.default_rng([seed, len(self.op)])
        rows = max(limit, max(len(v) for v in values))
        columns = []
        for v in values:
            index = np.arange(rows) % len(v)
            rng.shuffle(index)
            columns.append(index)
        for k in range(rows):
            yield {n: v[c[k]] for n, v, c in zip(names, values, columns)}

    def cases(self, dtype: str, limit: int | None, seed: int = 0, few: bool = False) -> Iterator[Case]:
        """The dtype's cases. few: `limit` of them and no more, others than those of other dtypes."""
        numbered = list(enumerate(self.combinations(limit, seed)))
        if few and limit is not None:
            first = limit * self.dtypes.index(dtype)
            numbered = [numbered[(first + k) % len(numbered)] for k in range(min(limit, len(numbered)))]
        for k, choices in numbered:
            case = self.make(Draw([seed, k, *self.op.encode(), *dtype.encode()]), dtype, **choices)
            if case is not None:
                case.label = f"{self.op} {dtype} {choices}"
                yield case
