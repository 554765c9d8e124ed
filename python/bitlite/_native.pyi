from collections.abc import Sequence
from typing import Any

import numpy as np

class Program:
    """Steps over tensors, planned once; `run` may be called from several threads at once."""

    def __init__(
        self,
        tensors: list[dict[str, Any]],
        steps: list[dict[str, Any]],
        inputs: Sequence[int],
        outputs: Sequence[int],
        threads: int = 1,
        isa: str = "",
    ) -> None:
        """ValueError names the step and the reason when a step or tensor cannot be taken.

        A tensor: name, dtype, shape, data (constants), scale, zero_point, axis. A step: op, name, inputs (tensor
        indices, -1 = absent), outputs, attrs. `isa` limits the instruction set as BITLITE_ISA does.
        """

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Inputs must be C-contiguous, of the declared shape and dtype. Releases the GIL."""

    def run_exact(
        self, feeds: object, input_names: tuple[str, ...], output_names: tuple[str, ...]
    ) -> dict[str, np.ndarray] | None:
        """As `run`, of a dict by these names; None where the inputs are not to the byte what the program takes."""

    def run_into(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """As `run`, writing into the given arrays, which must not overlap the inputs or each other."""

    def profile(self, inputs: Sequence[np.ndarray]) -> list[int]:
        """Runs once; nanoseconds per step of `step_names`."""

    @property
    def step_names(self) -> list[str]:
        """Names of the planned steps; the names of steps that were fused into one are joined by "+"."""
    @property
    def arena_bytes(self) -> int: ...
    @property
    def arena_lower_bound(self) -> int: ...
    @property
    def constant_bytes(self) -> int: ...
    @property
    def isa(self) -> str: ...

def check_step(tensors: list[dict[str, Any]], step: dict[str, Any], isa: str = "") -> str | None:
    """Why the step cannot run natively, or None when it can. Looks only at the step's own tensors, never at data."""

def observe_channels(x: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Extremes (float32) and sums (float64) per channel of float32 [rows, channels]. ValueError for NaN or infinity."""

def extremes(x: np.ndarray) -> tuple[float, float]:
    """The least and the greatest of float32 values, of any shape. ValueError for NaN or infinity, and for none."""

def observe_codes(x: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 per channel of int8 [rows, channels]: the sum, and how many are the least of their channel (0 where all
    are equal)."""

def count_bins(x: np.ndarray, factor: float, base: int, bins: int) -> tuple[np.ndarray, int]:
    """int64[bins]: elements with floor(x * factor) - base = i, clamped to the bins; and how many are exactly 0."""

def fit_grids(
    w: np.ndarray, factors: np.ndarray, levels: int, zero: int, flat: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For float32 w [c, n] the grids scale * u + low + middle, u = 0..levels, that fit its rows best, from their ranges
    times each of float32 factors: codes u - zero int8 [c, n], and scale, low, middle float32 [c]. Rows of a range below
    flat have codes 0."""

def row_moments(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 [c] of float32 [c, n]: the mean, and the sum of squares about it."""

def nearest_codes(w: np.ndarray, scale: np.ndarray, zero: np.ndarray, low: int, high: int, q: np.ndarray) -> None:
    """Fills int8 or int16 q [c, n] with the whole numbers low..high nearest to w / scale + zero, halves away from zero,
    of float32 w [c, n]; scale and zero float64 [c]."""

def code_sums(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [c] of int8 or int16 [c, n]: the sum, and the sum of squares."""

def largest_pairs(w: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """float32 [c]: the largest magnitude that neighbours 2i and 2i + 1 of the whole numbers nearest to w / scale add up
    to, of float32 w [c, n] and scale [c]."""

def held_errors(w: np.ndarray, scales: np.ndarray, most: int, limit: int) -> np.ndarray:
    """float64 [c, k]: the squared error of the codes that `held_codes` has for each of float32 scales [c, k]."""

def held_codes(w: np.ndarray, scale: np.ndarray, most: int, limit: int) -> np.ndarray:
    """int8 [c, n]: `converter.numeric.pairs.rounded` of float32 w [c, n] over float64 scale [c]."""

def code_error(
    w: np.ndarray, q: np.ndarray, scale: np.ndarray, zero: np.ndarray, mean: np.ndarray
) -> tuple[float, float]:
    """Sums of (scale * (q - zero) + mean - w)² and of w² over float32 w and int8 or int16 q [c, n]; the others float64
    [c]."""

def gram(x: np.ndarray, gram: np.ndarray, part: int, parts: int) -> None:
    """Fills a part of float64 gram [k, k] with X'X - s s' / n of int16 rows x [n, k], s their sum; |x| <= 255."""

def gram_by_channel(x: np.ndarray, products: np.ndarray, sums: np.ndarray) -> None:
    """Adds to int32 products [c, t, t] the X'X of each channel of int16 x [n, t, c], and to sums [c, t] the sums."""

def descend(
    gram: np.ndarray,
    real: np.ndarray,
    q: np.ndarray,
    begin: int,
    end: int,
    low: float,
    high: float,
    pair: float,
    sweeps: int,
) -> None:
    """Coordinate descent over weight codes q, in place, for output channels begin..end; see native/rounding.h."""

def add_excess(w: np.ndarray, most: int, costs: np.ndarray) -> None:
    """Adds to float64 costs [n, n] the squares by which each two columns of uint8 w [rows, n] exceed `most`, which is
    127 to 254, together."""

def match_pairs(costs: np.ndarray, sweeps: int) -> np.ndarray:
    """An order, int64 [n], whose neighbours 2i and 2i + 1 cost little by float64 costs [n, n]; native/rounding.h."""

def factor(matrix: np.ndarray) -> None:
    """Factors float64 matrices [batch, K, K], in place, in one order of operations; see native/rounding.h."""

def cross(x: np.ndarray, y: np.ndarray, cross: np.ndarray, part: int, parts: int) -> None:
    """Fills a part of float64 cross [k, k] with x'y of int16 [n, k], both centred; |x|, |y| <= 255."""

def multiply(matrix: np.ndarray, real: np.ndarray, q: np.ndarray, begin: int, end: int) -> None:
    """q = matrix · real of float64, for columns begin..end; see native/rounding.h."""

def solve(factor: np.ndarray, real: np.ndarray, q: np.ndarray, begin: int, end: int) -> None:
    """q = M⁻¹ · real of float64, for columns begin..end, of what `factor` made of M; see native/rounding.h."""

def eliminate(
    factor: np.ndarray, real: np.ndarray, q: np.ndarray, begin: int, end: int, low: float, high: float
) -> None:
    """Rounds weights to codes q, in place, each leaving its error to those that follow; see native/rounding.h."""

def isa() -> str:
    """The instruction set that a new program uses (after BITLITE_ISA)."""

def isas() -> list[str]:
    """The instruction sets that this build and this CPU have, from low to high."""

def ops() -> list[str]:
    """Names of the operators that have a native row."""
