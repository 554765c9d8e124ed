"""The model after each stage of a conversion, as files that run: `dumpStages`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..converter.errors import DataError, OutputError
from ..converter.formats.outputs import Staging
from ..converter.ir import Graph, Node, Tensor, is_quantized
from ..converter.passes.edit import Edit
from ..native.load import load
from ..native.session import Port, Session
from .accuracy import compare
from .bench_inputs import Feed, feed_for, outputs_like
from .report.view import seeded_sample

if TYPE_CHECKING:
    from ..quant.ptq.result import Result

ORDER = ("original", "optimized", "calibrated", "quantized")
SAMPLES = "samples"
Write = Callable[[Graph, str, str], Any]


def calibrated(result: Result) -> Graph:
    """The float graph of a PostTraining with each activation cast to its codes and back: weights stay as they are, so
    what it loses against the float graph is what ranges and codes of activations cost."""
    from ..quant.ptq.simulated import with_codes

    source = result.source.copy()
    params = {
        t.name: c.quant for t, c in result.quantized.quantized_of.items() if not t.is_const and c.quant is not None
    }
    graph = with_codes(source, {t: params[t.name] for t in source.tensors() if t.name in params})
    for t, real in zip(source.outputs, graph.outputs):
        t.name, real.name = real.name, t.name
    return graph


def with_layers(real: Graph, quantized: Graph) -> tuple[Graph, Graph]:
    """Both graphs with the values of every layer that they share as outputs, too, by its name and as reals.

    What is of rank 4 is given as [batch, positions, channels], which has the same order in every container.
    """
    made = [{(t.name, t.shape) for n in _layers(g) for t in n.outputs if _tells(t)} for g in (real, quantized)]
    return _giving(real, made[0] & made[1]), _giving(quantized, made[0] & made[1])


def _layers(graph: Graph) -> list[Node]:
    """The nodes without those that only turn values into a container's layout."""
    return [node for node in graph.nodes if node.op != "Transpose"]


def _tells(t: Tensor) -> bool:
    known = t.shape is not None and (len(t.shape) != 4 or None not in t.shape[1:])
    return known and (t.quant is not None if t.dtype.kind in "iu" else t.dtype == np.float32)


def _giving(graph: Graph, common: Collection[tuple[str, tuple[int | None, ...] | None]]) -> Graph:
    graph = graph.copy()
    edit = Edit(graph)
    for node in _layers(graph):
        for t in node.outputs:
            if (t.name, t.shape) not in common or t in graph.outputs:
                continue
            name, value, last = t.name, t, node
            if is_quantized(t):
                last = edit.emit("Dequantize", [t], after=node, name=edit.name(f"{name}/reals"))
                value = last.outputs[0]
            if len(t.known_shape) == 4:
                rows, columns, channels = t.known_shape[1:]
                sizes = np.asarray([-1, (rows or 1) * (columns or 1), channels], np.int64)
                shape = edit.constant(sizes, f"{name}/sizes")
                value = edit.emit("Reshape", [value, shape], after=last, name=edit.name(f"{name}/rows")).outputs[0]
            if value is not t:
                t.name, value.name = edit.name(f"{name}/inside"), name
            graph.outputs = [*graph.outputs, value]
    edit.finish()
    return graph


def write_stages(
    folder: str,
    stages: Mapping[str, Graph],
    container: str,
    samples: Sequence[Mapping[str, np.ndarray]],
    staging: Staging,
    write: Write,
) -> list[str]:
    """Writes each stage into `folder`, float ones as .onnx and the quantized one in `container`, and the samples that
    they were run on as `samples/*.npz`, one each in the form that the original takes.

    Args:
        stages: name → graph; "source", the float graph that was quantized, asks for networks that give every layer,
            too. samples: as the graphs take them; none: a seeded one. write: graph, format and path → a file.
    Returns:
        A line per stage: its file, and how far its outputs are from the original's.
    Raises:
        OutputError, or UnsupportedError where a stage has an operator that its format lacks.
    """
    try:
        os.makedirs(os.path.join(folder, SAMPLES), exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror}", file=folder) from error
    there, paths = [name for name in ORDER if name in stages], dict[str, str]()
    for k, name in enumerate(there, 1):
        kind = container if name == "quantized" else "onnx"
        paths[name] = staging.place(os.path.join(folder, f"{k}_{name}.{kind}"))
        write(stages[name], kind, paths[name])
    layers = with_layers(stages["source"], stages["quantized"]) if "source" in stages else ()
    for name, graph in zip(("float", "quantized"), layers):
        kind = container if name == "quantized" else "onnx"
        write(graph, kind, staging.place(os.path.join(folder, f"layers_{name}.{kind}")))
    sessions = {name: load(path) for name, path in paths.items()}
    first, real = sessions["original"], stages["original"]
    try:
        fed = list(samples) or [seeded_sample(real, 0)]
        feeds = [feed_for(dict(sample), list(map(Port.of, real.inputs)), first.inputs) for sample in fed]
        for k, feed in enumerate(feeds):
            with open(staging.place(os.path.join(folder, SAMPLES, f"{k}.npz")), "wb") as file:
                np.savez(file, **feed)  # pyright: ignore[reportArgumentType]
        wanted = _outputs(first, first, feeds)
        return [_line(paths[name], _outputs(sessions[name], first, feeds), wanted) for name in there]
    except DataError as error:
        return [f"{path}: not run: {error.message}" for path in paths.values()]


def _outputs(session: Session, first: Session, feeds: Sequence[Feed]) -> Feed:
    """What a stage gives on all feeds of the original, one behind the other, as the original gives it."""
    rows = []
    for feed in feeds:
        session.reset()
        run = session.run(feed_for(feed, first.inputs, session.inputs))
        rows.append(outputs_like(run, session.outputs, first.outputs))
    return {p.name: np.concatenate([row[p.name].ravel() for row in rows]) for p in first.outputs}


def _line(path: str, outputs: Feed, wanted: Feed) -> str:
    worst = min(compare(outputs, wanted).nodes, key=lambda node: node.sqnr)
    if not np.isfinite(worst.sqnr):
        return f"{path}: as the original"
    return f"{path}: {worst.sqnr:.1f} dB against the original, at {worst.name!r}"
