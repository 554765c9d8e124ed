"""How far the last bits of a network's numbers carry: what a rewritten network may differ by.

A file computes its layers in another order of additions, with scales rounded to float32. That moves a value by a few
units in its last place, and where it tips a rounding to codes, by a whole step of them. What comes of it at an output
depends on the network: nothing is seen behind a saturated Softmax, much behind a chain of layers that quantize their
inputs. So it is measured, by running the network with inputs and weights perturbed by that much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..converter.ir import Graph, Tensor, is_quantized
from ..native.session import Session
from .bench_inputs import Feed

_RELATIVE = 2.0**-16  # of a value: sums of some thousand float32 products differ by as much
_RUNS = 2
_MARGIN = 8.0  # a difference may be this many times what was measured: there are two runs and many bits
_FEWEST_ELEMENTS = 16  # constants of fewer elements are sizes, axes and steps as often as values


def rounding_bounds(graph: Graph, feed: Feed, expected: Feed, threads: int) -> Feed:
    """The largest difference [0-d float64] of each output that the last bits account for, by output name."""
    most = dict.fromkeys(expected, 0.0)
    for k in range(_RUNS):
        rng = np.random.default_rng(k)
        perturbed = {name: _perturbed(value, rng) if value.dtype.kind == "f" else value for name, value in feed.items()}
        outputs = Session(_perturbed_weights(graph, rng), threads).run(perturbed)
        for name, value in expected.items():
            if value.dtype.kind in "fiu" and outputs[name].shape == value.shape:
                most[name] = max(most[name], _distance(value, outputs[name]))
    return {name: np.array(_MARGIN * value) for name, value in most.items()}


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.subtract(a, b, dtype=np.float64))
    return float(difference[np.isfinite(difference)].max(initial=0.0))


def _perturbed_weights(graph: Graph, rng: np.random.Generator) -> Graph:
    """A copy whose weights are perturbed: floats themselves, codes by their scales."""
    graph = graph.copy()
    for t in _weights(graph):
        if t.quant is not None and is_quantized(t):
            t.quant = dataclasses.replace(t.quant, scale=_perturbed(t.quant.scale, rng))
        else:
            t.data = _perturbed(t.value, rng)
    return graph


def _weights(graph: Graph) -> Iterator[Tensor]:
    for t in graph.constants():
        values = t.dtype.kind == "f" or (is_quantized(t) and (t.rank or 0) > 1)
        if values and t.data is not None and t.data.size >= _FEWEST_ELEMENTS:
            yield t


def _perturbed(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.random(value.shape, np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(2 * _RELATIVE)
    noise += np.float32(1)
    return value * noise.astype(value.dtype, copy=False)
