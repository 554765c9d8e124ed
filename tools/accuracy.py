"""How two sets of outputs compare: MindSpore Lite's own rule and text format, and the measures it should have had.

The mean-bias rule is that of the real benchmark tool, number for number, so that thresholds written for it keep their
meaning: an element is wrong when |out - ref| > 1e-8 + 1e-5·|ref|, and a node's bias is the mean relative error **of its
wrong elements only**.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..converter.errors import DataError, Error
from ..converter.formats.files import open_regular
from ..converter.formats.outputs import write_atomic

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8
SHOWN_VALUES = 50
_ZERO = np.finfo(np.float32).eps  # a smaller reference counts as zero
_TINY = np.finfo(np.float32).tiny
_LARGE = 0.01  # of an output's largest magnitude
MAX_ELEMENTS = 1 << 31


class AccuracyError(Error):
    """Outputs cannot be compared or are worse than the threshold allows."""

    exit_code = 1


@dataclass(frozen=True)
class NodeComparison:
    """One output against its reference: `bias` as a fraction, and `large_bias` that of the elements from 1 % of the
    largest on, `cosine` in [-1, 1], `sqnr` in dB (inf when equal)."""

    name: str
    bias: float
    large_bias: float
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
            large = float(np.mean([node.large_bias for node in self.nodes])) * 100
            small = f", {large:.3g}% without values below {_LARGE:.0%} of the largest" if large < self.bias / 2 else ""
            raise AccuracyError(
                f"Mean bias of all nodes/tensors is too big: {self.bias:g}%, and {accuracy_threshold:g}% is allowed"
                f"{small}; cosine {self.cosine:.6f}",
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
    large = np.abs(y) >= _LARGE * _largest(y)
    return NodeComparison(name, mean_bias(x, y), mean_bias(x[large], y[large]), cosine(x, y), sqnr(y, x), error, out)


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


def read_expected(path: str | os.PathLike[str], kind: str = "FLOAT") -> dict[str, np.ndarray]:
    """Reads a benchmarkDataFile: per tensor a line "name ndims d0 d1 ..." and a line with all values.

    kind is FLOAT, or INT32, INT8, UINT8 for values that must be whole and fit that type.

    Blank lines are skipped; of a name given twice the first counts, as in the real tool. Values are float64, so that
    integers keep their digits.

    Raises:
        DataError: file and line, and what is wrong.
    """
    shown = os.fspath(path)
    expected: dict[str, np.ndarray] = {}
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8") as stream:
            lines = enumerate(stream, 1)
            for number, line in lines:
                if not line.strip():
                    continue
                name, shape = _head(line, f"{shown}:{number}")
                number, values = next(lines, (number + 1, ""))
                array = _values(values, shape, f"{shown}:{number}", name)
                expected.setdefault(name, array)
    except UnicodeDecodeError:
        raise DataError(
            f"{shown}: is not text; a benchmarkDataFile is, e.g. 'out 2 1 10' and a line of values"
        ) from None
    except OSError as error:
        raise DataError(f"{shown}: {error.strerror or error}") from None
    if not expected:
        raise DataError(f"{shown}: holds no tensors")
    for name, array in expected.items():
        limits = None if kind == "FLOAT" else np.iinfo(kind.lower())
        if limits and array.size and ((array % 1).any() or array.min() < limits.min or array.max() > limits.max):
            raise DataError(f"{shown}: {name} holds values that are no {kind}", hint="--benchmarkDataType=FLOAT")
    return expected


def _head(line: str, here: str) -> tuple[str, tuple[int, ...]]:
    """Parses "name ndims d0 d1 ..."; the name may hold blanks as long as the numbers at the end add up."""
    words = line.split()
    for at in range(1, len(words)):
        if words[at].isascii() and words[at].isdigit() and len(words[at]) < 3 and int(words[at]) == len(words) - at - 1:
            sizes = words[at + 1 :]
            if all(size.isascii() and size.isdigit() and len(size) < 12 for size in sizes):
                return " ".join(words[:at]), tuple(int(size) for size in sizes)
    text = line.strip() if len(line) < 80 else line.strip()[:77] + "..."
    raise DataError(f"{here}: {text!r} is not 'name ndims d0 d1 ...' with as many sizes as ndims says")


def _values(line: str, shape: tuple[int, ...], here: str, name: str) -> np.ndarray:
    size = math.prod(shape)
    if size > MAX_ELEMENTS:
        raise DataError(f"{here}: {name} has {size} elements by its sizes")
    words = line.split()
    if len(words) != size:
        raise DataError(f"{here}: {name} has {len(words)} values, and its sizes {list(shape)} want {size}")
    try:
        return np.array(words, np.float64).reshape(shape)
    except ValueError as error:
        raise DataError(f"{here}: {name}: {error}") from None


def write_expected(path: str | os.PathLike[str], outputs: Mapping[str, np.ndarray]) -> None:
    """Writes outputs as a benchmarkDataFile; float32 values survive the round trip exactly.

    Raises:
        DataError: a name that the format cannot hold. OutputError: an unwritable path.
    """
    with write_atomic(path) as stream:
        for name, value in outputs.items():
            array = np.asarray(value)
            if not name.strip() or name != " ".join(name.split()):
                raise DataError(f"{name!r} cannot stand in a benchmarkDataFile: blanks at its ends or in a row")
            form = "{:.9g}" if array.dtype.kind == "f" else "{:d}"
            flat = array.ravel() if array.dtype.kind != "b" else array.ravel().astype(np.int8)
            head = " ".join([name, str(array.ndim), *map(str, array.shape)])
            stream.write(f"{head}\n{' '.join(map(form.format, flat.tolist()))}\n".encode())


@dataclass(frozen=True)
class TopK:
    """Classification over `count` samples: right answers by k, and samples whose best score is shared (ties)."""

    count: int
    right: dict[int, int]
    ties: int

    def rate(self, k: int) -> float:
        return self.right[k] / self.count if self.count else math.nan

    def standard_error(self, k: int) -> float:
        """Returns the standard error of the rate, sqrt(p(1-p)/n)."""
        rate = self.rate(k)
        return math.sqrt(rate * (1 - rate) / self.count) if self.count else math.nan

    def lines(self) -> list[str]:
        shown = [f"Top-{k}: {self.rate(k):.2%} ± {self.standard_error(k):.2%} (n={self.count})" for k in self.right]
        return shown + ([f"Ties for the best class: {self.ties}"] if self.ties else [])


def top_k(scores: np.ndarray, labels: Sequence[int] | np.ndarray, ks: Sequence[int] = (1, 5)) -> TopK:
    """Counts right answers. Of equal scores the lower class index wins, as argmax does.

    Args:
        scores: [N, ...], flattened to [N, classes].
        labels: N class numbers from 0.

    Raises:
        DataError: other number of labels than samples, a label beyond the classes.
    """
    table = np.asarray(scores).reshape(len(scores), -1)
    wanted = np.asarray(labels, np.int64).ravel()
    if len(wanted) != len(table):
        raise DataError(f"{len(wanted)} labels are given for {len(table)} samples")
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < table.shape[1]:
        raise DataError(f"labels {wanted.min()}..{wanted.max()} do not fit the {table.shape[1]} classes of the output")
    own = table[np.arange(len(table)), wanted][:, None]
    index = np.arange(table.shape[1])[None]
    rank = ((table > own) | ((table == own) & (index < wanted[:, None]))).sum(1)
    ties = int(((table == table.max(1, keepdims=True)).sum(1) > 1).sum()) if table.size else 0
    return TopK(len(table), {k: int((rank < k).sum()) for k in ks if k <= table.shape[1]}, ties)


def read_labels(path: str | os.PathLike[str], names: Sequence[str] = ()) -> np.ndarray:
    """Reads class numbers: one per line in the order of the samples, or "file-name label" lines matched to `names`.

    Raises:
        DataError: file and line, a sample without a label.
    """
    shown = os.fspath(path)
    plain: list[int] = []
    by_name: dict[str, int] = {}
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                text = line.strip()
                if not text or text.startswith("#"):
                    continue
                *head, last = text.replace(",", " ").split()
                if not (last.isascii() and last.isdigit() and len(last) < 10):
                    raise DataError(f"{shown}:{number}: {text[:60]!r} does not end in a class number")
                if head:
                    by_name[" ".join(head)] = int(last)
                else:
                    plain.append(int(last))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown}: {getattr(error, 'strerror', None) or 'is not text'}") from None
    if plain and by_name:
        raise DataError(f"{shown}: has lines with and without a file name")
    if plain or not by_name:
        return np.array(plain, np.int64)
    missing = [name for name in names if name not in by_name]
    if missing:
        raise DataError(f"{shown}: has no label for {missing[0]} ({len(missing)} of {len(names)} are missing)")
    return np.array([by_name[name] for name in names] or list(by_name.values()), np.int64)


def paired_difference(a: np.ndarray, b: np.ndarray, labels: Sequence[int] | np.ndarray) -> tuple[float, float]:
    """Returns top-1 of `a` less top-1 of `b` on the same samples, and the standard error of that difference.

    Args:
        a, b: [N, ...] scores. labels: N class numbers.
    """
    wanted = np.asarray(labels, np.int64).ravel()
    right = [np.asarray(x).reshape(len(x), -1).argmax(1) == wanted for x in (a, b)]
    difference = right[0].astype(np.float64) - right[1]
    spread = difference.std(ddof=1) if len(difference) > 1 else math.nan
    return float(difference.mean()), float(spread / math.sqrt(len(difference)))


def agreement(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Returns the share of samples for which both score the same class highest, and its standard error."""
    same = np.asarray(a).reshape(len(a), -1).argmax(1) == np.asarray(b).reshape(len(b), -1).argmax(1)
    rate = float(same.mean())
    return rate, math.sqrt(rate * (1 - rate) / len(same))
