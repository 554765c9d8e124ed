"""How well scores classify: top-k against labels, and two sets of scores on the same samples."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..converter.errors import DataError
from ..converter.formats.files import open_regular


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
