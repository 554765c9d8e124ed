"""What a layer's weights had better be behind quantized layers, and what others of them give on samples held back.

Behind the quantized prefix a layer reads X̂ and not X. The weights whose outputs are nearest to the float ones are
w + Δ with X̂'X̂ Δ = X̂'(X - X̂) w (as GPTAQ, Li et al. 2025, and Qronos, Zhang et al. 2025). Fitted to few samples Δ
follows their noise, too: of it as much is taken, α in 0 to 1, as brings outputs nearest on samples that it is not
fitted to, which is a quotient of two sums (CoreQ, arXiv 2602.05902, warns of α = 1). α comes in steps, and sums of
products in a fixed order: the same target on every instruction set, for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .products import by_columns, cross, damp, factored, gram

_HELD = 4  # one of so many samples judges
_STEPS = 16  # of α


@dataclass(frozen=True)
class Target:
    """Weights to round to, float64 [1, K, O], for those of the float layer.

    judges: X̂'X̂ and (X - X̂)'X̂ w of the samples that nothing is fitted to; None without such.
    """

    weights: np.ndarray
    of_float: np.ndarray
    judges: tuple[np.ndarray, np.ndarray] | None
    threads: int

    def error(self, weights: np.ndarray) -> float:
        """‖X̂ŵ - Xw‖² on the judges, but for what does not depend on ŵ, the means of outputs left out."""
        from ... import _native

        if self.judges is None:
            return 0.0
        products, missing = self.judges
        apart = weights - self.of_float
        return _sum(apart * (by_columns(_native.multiply, products, apart, self.threads) - 2 * missing))


def toward_float(
    seen: list[np.ndarray], real: list[np.ndarray], weights: np.ndarray, ridge: float, threads: int
) -> Target:
    """The weights to round to in place of `weights`, float64 [1, K, O].

    seen, real: by sample, the layer's inputs behind the prefix and in float, in codes of one grid, int16 [rows, K].
    ridge: of the mean of X̂'X̂'s diagonal, added to it.
    """
    from ... import _native

    judges = range(_HELD - 1, len(seen), _HELD)
    fitted = [k for k in range(len(seen)) if k not in judges]
    if not judges or not fitted:
        return Target(weights, weights, None, threads)
    products, missing = _products(seen, real, fitted, threads)
    damp(products, ridge)
    wish = by_columns(_native.multiply, missing, weights, threads)
    step = by_columns(_native.solve, factored(products), wish, threads)
    products, missing = _products(seen, real, judges, threads)
    missing = by_columns(_native.multiply, missing, weights, threads)
    wanted = _sum(step * missing)
    size = _sum(step * by_columns(_native.multiply, products, step, threads))
    alpha = wanted / size if size > 0 else 0.0
    alpha = min(max(round(alpha * _STEPS), 0), _STEPS) / _STEPS
    return Target(weights + alpha * step, weights, (products, missing), threads)


def _products(
    seen: list[np.ndarray], real: list[np.ndarray], samples: Iterable[int], threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """X̂'X̂ and (X - X̂)'X̂ of some samples, float64 [1, K, K]."""
    x = np.concatenate([seen[k] for k in samples])
    apart = np.concatenate([real[k] for k in samples]) - x
    return gram(x, threads), cross(apart, x, threads)


def _sum(values: np.ndarray) -> float:
    """Exact but for the sums of columns, whose order is that of rows."""
    return math.fsum(values.sum(axis=1).reshape(-1).tolist())
