"""How two sets of outputs compare: MindSpore Lite's own rule, and the measures it should have had.

The mean-bias rule is that of the real benchmark tool, number for number, so that thresholds written for it keep their
meaning: an element is wrong when |out - ref| > 1e-8 + 1e-5·|ref|, and a node's bias is the mean relative error **of its
wrong elements only**.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..converter.errors import Error

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8
SHOWN_VALUES = 50
_ZERO = np.finfo(np.float32).eps  # a smaller reference counts as zero
_TINY = np.finfo(np.float32).tiny


class AccuracyError(Error):
    """Outputs cannot be compared or are worse than the threshold allows."""

    exit_code = 1


@dataclass(frozen=True)
class NodeComparison:
    """One output against its reference: `bias` as a fraction; `share`, what all errors together are of all magnitudes
    together, in which small values count for little; `cosine` in [-1, 1], `sqnr` in dB (inf when equal)."""

    name: str
    bias: float
    share: float
    cosine: float
    sqnr: float
    max_abs_error: float
    data: np.ndarray = field(repr=False)

    def lines(self, cosine: bool = False) -> list[str]:
        """Returns the lines that the real tool prints for an output."""
        flat = self.data.ravel()[:SHOWN_VALUES]
        shown = " ".join(f"{value:g}" for value in flat.tolist())
        if cosine:
            last = f"Mean cosine distance of node/tensor {self.name} : {self.cosine * 100:g}%"
        else:
            last = f"Mean bias of node/tensor {self.name} : {_percent(self.bias)}"
        return [f"Data of node {self.name} : {shown}", last]


@dataclass(frozen=True)
class Comparison:
    """All outputs: their comparisons in the order of the reference, and the means over them."""

    nodes: list[NodeComparison]

    @property
    def bias(self) -> float:
        """Mean bias over the outputs, in percent, as accuracyThreshold is."""
        return float(np.mean([node.bias for node in self.nodes])) * 100

    @property
    def cosine(self) -> float:
        return float(np.mean([node.cosine for node in self.nodes]))

    def lines(self, cosine: bool = False) -> list[str]:
        """Returns the block that the real tool prints."""
        head = "================ Comparing Output data ================"
        body = [line for node in self.nodes for line in node.lines(cosine)]
        if cosine:
            return [head, *body, f"Cosine distance of all nodes/tensors: {1 - self.cosine:.15g}"]
        return [head, *body, f"Mean bias of all nodes/tensors: {_percent(self.bias / 100)}"]

    def check(self, accuracy_threshold: float = 0.5, cosine_distance_threshold: float = -1.1) -> None:
        """Raises AccuracyError when the outputs are worse than allowed.

        accuracy_threshold is in percent. A cosine_distance_threshold of 0 or more replaces it: the largest distance
        (1 - mean cosine, 0 for equal directions) allowed. The real tool fails when the distance is *smaller*; that
        is taken for a slip.
        """
        if cosine_distance_threshold >= 0:
            distance = 1 - self.cosine
            if distance > cosine_distance_threshold:
                raise AccuracyError(f"Cosine distance of all nodes/tensors is too big: {distance:g}")
        elif self.bias > accuracy_threshold:
            share = float(np.mean([node.share for node in self.nodes])) * 100
            small = share < self.bias / 2
            why = f", though all errors together are {share:.3g}% of the values: small values decide" if small else ""
            raise AccuracyError(
                f"Mean bias of all nodes/tensors is too big: {self.bias:g}%, and {accuracy_threshold:g}% is allowed"
                f"{why}; cosine {self.cosine:.6f}",
                hint="--cosineDistanceThreshold=0.001, which small values do not decide" if small else "",
            )


def _percent(bias: float) -> str:
    return "0%" if bias <= 1e-7 else f"{bias * 100:g}%"


def compare(outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> Comparison:
    """Compares outputs with reference values of the same names.

    Shapes may differ in trailing ones, (1, 225) against (1, 225, 1, 1), as in the real tool. When a single output has
    another name than the single reference, the two are taken for each other.

    Raises:
        AccuracyError: a name or shape without partner, NaN or infinity in an output.
    """
    if len(outputs) == len(reference) == 1 and set(outputs) != set(reference):
        outputs = {next(iter(reference)): next(iter(outputs.values()))}
    nodes = []
    for name, wanted in reference.items():
        if name not in outputs:
            raise AccuracyError(
                f"{name!r} is not an output of the model; its outputs are {', '.join(map(repr, outputs))}"
            )
        nodes.append(_compare_one(name, np.asarray(outputs[name]), np.asarray(wanted)))
    if not nodes:
        raise AccuracyError("the reference holds no outputs to compare with")
    return Comparison(nodes)


def _compare_one(name: str, out: np.ndarray, ref: np.ndarray) -> NodeComparison:
    if not _same_shape(out.shape, ref.shape):
        raise AccuracyError(
            f"{name}: shape {list(out.shape)} of the output and {list(ref.shape)} of the reference differ"
        )
    if out.dtype.kind == "f" and not np.isfinite(out).all():
        raise AccuracyError(f"{name}: the output has {int((~np.isfinite(out)).sum())} NaN or infinite values")
    if ref.dtype.kind == "f" and not np.isfinite(ref).all():
        raise AccuracyError(f"{name}: the reference has NaN or infinite values")
    x, y = out.astype(np.float64).ravel(), ref.astype(np.float64).ravel()
    error = float(np.abs(x - y).max()) if x.size else 0.0
    magnitude = float(np.abs(y).sum())
    share = float(np.abs(x - y).sum()) / magnitude if magnitude else float(error > 0)
    return NodeComparison(name, mean_bias(x, y), share, cosine(x, y), sqnr(y, x), error, out)


def _same_shape(a: Sequence[int], b: Sequence[int]) -> bool:
    short, long = sorted((tuple(a), tuple(b)), key=len)
    return long[: len(short)] == short and all(size == 1 for size in long[len(short) :])


def mean_bias(out: np.ndarray, ref: np.ndarray) -> float:
    """Returns the mean relative error of the wrong elements, 0 when none is wrong (see the module's docstring).

    Where the reference is zero the absolute error counts, and only above 1e-5.
    """
    x, y = np.asarray(out, np.float64).ravel(), np.asarray(ref, np.float64).ravel()
    error, size = np.abs(x - y), np.abs(y)
    wrong = error > ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * size
    zero = size < _ZERO
    wrong &= ~zero | (error > 1e-5)
    if not wrong.any():
        return 0.0
    relative = np.where(zero, error, error / (size + _TINY))
    return float(relative[wrong].mean())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the cosine of the angle between two arrays as vectors; 1 for two zero vectors, 0 for one."""
    x, y = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    top_x, top_y = _largest(x), _largest(y)
    if not top_x or not top_y:
        return float(top_x == top_y)
    x, y = x / top_x, y / top_y  # squares of large or tiny values stay finite
    return float(np.clip(np.dot(x, y) / math.sqrt(np.dot(x, x) * np.dot(y, y)), -1, 1))


def _largest(x: np.ndarray) -> float:
    return float(np.abs(x).max()) if x.size else 0.0


def sqnr(signal: np.ndarray, noisy: np.ndarray) -> float:
    """Returns 10·log10(Σ signal² / Σ (signal - noisy)²) in dB, inf when equal."""
    x, y = np.asarray(signal, np.float64).ravel(), np.asarray(noisy, np.float64).ravel()
    noise, power = float(np.sum((x - y) ** 2)), float(np.sum(x**2))
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power else -math.inf
