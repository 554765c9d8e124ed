"""One run of a model as the example of the C code that is made of it."""

from __future__ import annotations

import numpy as np

from ..converter.ir import Graph
from ..native.session import Session
from .read_back import Original, feed_as


def example_of(graph: Graph, original: Original) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Inputs and outputs of the graph in its order: a calibration sample where `original` has one, else random values.

    None where the original cannot be run; `original.why` says why.
    """
    run = original.run()
    if run is None:
        return None
    session = Session(graph.copy(), original.threads)
    feed = feed_as(run.feed, run.inputs_as, session.inputs)
    outputs = session.run(feed)
    return [feed[p.name] for p in session.inputs], [outputs[p.name] for p in session.outputs]
