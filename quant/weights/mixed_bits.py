"""Mixed bit widths: each layer's weight gets the fewest bits with which the model still gives what it gave in float.

As in MindSpore Lite r1.2 (`mixed=true`), from the last layer to the first 2 to 8 bits are tried on calibration data, by
the error of the model's outputs. It is the mean relative one: Σ|y - y_float| / Σ|y_float| over all elements of all
samples, and the mean of that where there are several outputs.

Layers that are decided keep their bits, those still to be decided have 8. So an error seen is a whole file's, the last
one accepted is that of the file written, and what 8 bits everywhere cost is spent beforehand: where that is beyond
the threshold T already, every layer keeps 8. Of the rest no layer may take more than its share: with a part f of all
elements decided, the error must be within √(e² + f (T² - e²)), where e is the error of 8 bits everywhere. Errors of
layers add up like noise, in squares, and noise in proportion to the elements is what takes the fewest bits. (With T
as the bound of every layer, the last one spends it all: on ResNet-8 at T = 0.1, codes of 60,544 bytes, not 40,112.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...converter.ir import Graph
from ..calibrate.observe import Sample
from ..parallel import Workers
from .weight_quant import WIDTHS, WeightSettings, named_widths
from .weight_trials import WeightTrials, codes_by_layer

BITS = range(2, 9)
SAMPLES = 16  # that a width is judged by


@dataclass(frozen=True)
class Mixed:
    """What the search found.

    bits: node name → bits, of the layers that the gates let through at some width. error: of the model's outputs with
    these bits; start: with 8 bits everywhere.
    """

    bits: dict[str, int]
    error: float
    start: float


def choose_bits(
    graph: Graph,
    samples: Sequence[Sample],
    settings: WeightSettings,
    threshold: float,
    threads: int = 1,
    track: Callable[[Iterable[tuple[int, str]], str], Iterable[tuple[int, str]]] = lambda items, label: items,
) -> Mixed:
    """Chooses the bits of each layer that settings.layer_bits does not name; the graph stays as it is.

    What is found does not depend on `threads`.

    Raises:
        UsageError: no output is float. DataError: the float model gives NaN or infinity on the samples.
    """
    allowed = WIDTHS.get(settings.container, BITS)
    forms = {b: codes_by_layer(graph, replace(settings, bits=b, alone=True)) for b in BITS if b in allowed}
    fixed = {node.name for node in named_widths(graph, settings)}
    search = WeightTrials(graph, samples, threads)
    for tensors in forms[8].values():
        search.put(tensors)
    layers = [
        (at, node.name) for at, node in enumerate(graph.nodes) if any(node.name in form for form in forms.values())
    ]
    layers = [(at, name) for at, name in layers[::-1] if name not in fixed]
    bits = dict.fromkeys((name for _, name in layers), 8)
    elements = {
        name: sum(t.data.size for t in tensors if t.data is not None)
        for form in forms.values()
        for name, tensors in form.items()
    }
    total, done = sum(elements[name] for name in bits), 0
    with Workers(threads) as workers:
        start = error = search.error(workers, np.inf)
        for at, name in track(layers if start <= threshold else [], "choosing bits"):
            done += elements[name]
            limit = _share(start, threshold, done / total)
            search.begin(workers, at)
            for b, form in forms.items():
                if b == 8 or name not in form:
                    continue
                before = search.put(form[name])
                reached = search.error(workers, limit)
                if reached <= limit:
                    bits[name], error = b, reached
                    break
                search.put(before)
    return Mixed(bits, error, start)


def _share(start: float, threshold: float, part: float) -> float:
    """The error allowed once this part of all elements is decided: all of the threshold, no more, at the end."""
    return min(threshold, float(np.sqrt(start**2 + part * (threshold**2 - start**2))))
