"""Images of noise, for models whose calibration data are not there: all sizes of structure alike, as in photographs.

Uniform noise of grids of 1, 2, 4 … pixels is added up, most of it in all channels alike, and each image has a contrast
and a brightness of its own within [-1, 1]. Additions and products of seeded numbers: the same images everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...converter.ir import Graph, Tensor

if TYPE_CHECKING:
    from .data import Shard

COUNT = 4
_SHARED = 0.9  # of a channel's structure, in all channels
_LEAST_SIDE = 16


def image_input(graph: Graph) -> Tensor | None:
    """The model's input where it is one image of known size; None otherwise."""
    t = graph.inputs[0] if len(graph.inputs) == 1 else None
    if t is None or t.dtype != np.float32 or not t.is_static or t.rank != 4 or graph.states:
        return None
    _, high, wide, _ = _sizes(t.static_shape)
    return t if min(high, wide) >= _LEAST_SIDE and {1, 3} & {t.static_shape[1], t.static_shape[3]} else None


@dataclass(frozen=True)
class NoiseImages:
    """Samples of noise, which may be chosen from."""

    rows: list[dict[str, np.ndarray]]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return iter(self.rows)

    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]:
        return (self.rows[k] for k in sorted(rows))

    def shards(self, parts: Iterable[Sequence[int]]) -> Iterator[Shard]:
        return ([self.rows[k] for k in part] for part in parts)


def noise_images(t: Tensor, count: int = COUNT) -> NoiseImages:
    """So many samples of an input that `image_input` gives, float32."""
    rng = np.random.default_rng(0)
    batch, high, wide, channels = _sizes(t.static_shape)
    samples = []
    for _ in range(count):
        x = np.zeros((batch, 1, 1, channels), np.float32)
        for level in reversed(range(max(high, wide).bit_length())):  # grids of 2**level pixels, each of the one before
            rows, columns = -(-high // 2**level), -(-wide // 2**level)
            noise = rng.random((batch, rows, columns, channels + 1), np.float32) - np.float32(0.5)
            x = x.repeat(2, axis=1).repeat(2, axis=2)[:, :rows, :columns]
            x = x + (np.float32(_SHARED) * noise[..., :1] + np.float32(1 - _SHARED) * noise[..., 1:])
        x = x * np.float32(0.3 + 0.5 * rng.random()) + np.float32(rng.random() - 0.5)
        image = np.clip(x, -1, 1)
        first = t.static_shape[1] in (1, 3)
        samples.append({t.name: np.ascontiguousarray(image.transpose(0, 3, 1, 2) if first else image)})
    return NoiseImages(samples)


def _sizes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Batch, height, width and channels, of either layout."""
    n, a, b, c = shape
    return (n, b, c, a) if a in (1, 3) else (n, a, b, c)
