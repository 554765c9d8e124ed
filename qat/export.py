"""What was trained as a model file, and whether a Session computes the codes that the module does."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..converter.errors import OutputError
from ..converter.formats import read_model
from ..converter.formats.outputs import Staging
from ..converter.ir import Graph, Node, Tensor
from ..converter.passes import for_target, run_passes
from ..native.session import Session
from ..tools.convert import check_targets, write_targets
from ..tools.convert_report import Report
from ..tools.options.convert_types import ENDINGS
from ..tools.options.read import options_of_kwargs
from ..tools.read_back import Original
from .module import QatModule
from .ties import Beside


@dataclass
class Verification:
    """How the codes of the module compare with those that a Session computes.

    inputs: how many were run. tensors: names that were compared. codes: of all. other: tensor → codes that differ, in
    the order of the graph. ties: tensor → codes that rest on a value which float32 rounds either way, in tensors that
    are computed in float; they count as equal.
    """

    inputs: int = 0
    tensors: list[str] = field(default_factory=list)
    codes: int = 0
    other: dict[str, int] = field(default_factory=dict)
    ties: dict[str, int] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The first tensor whose codes part, "" where all are equal."""
        return next(iter(self.other), "")

    def __str__(self) -> str:
        head = f"{self.codes} codes of {len(self.tensors)} tensors on {self.inputs} inputs"
        tied = f" but for {sum(self.ties.values())} that float32 rounds either way ({_listed(self.ties)})"
        tied = tied if self.ties else ""
        if not self.other:
            return f"{head}: all equal{tied}"
        return f"{head}: {sum(self.other.values())} differ{tied}, first in {self.first!r} ({_listed(self.other)})"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name!r} {count}" for name, count in counts.items())


def export(module: QatModule, output_file: str | os.PathLike[str], *, verify: Any = None, **options: Any) -> Report:
    """Writes what `module` computes, with the scales and codes that it has.

    Args:
        verify: inputs (a tensor, or an iterable of tensors or tuples): before anything is written a Session runs the
            integer graph on them, and every code must be the module's.
        options: of `bitlite.convert` that concern what is written: output_format, opset, input_data_format, report …
    Raises:
        OutputError: with `verify`, the tensor whose codes part first; or the file cannot be written.
    """
    start = time.perf_counter()
    ending = os.path.splitext(os.fspath(output_file))[1].lower()
    formats = [name for name, known in ENDINGS.items() if known == ending]
    if formats:
        options.setdefault("output_format", formats)
    checked = options_of_kwargs(module.skeleton.graph.name, output_file, **options)
    check_targets(checked)
    graph = module.graph()
    graph.meta["options"] = checked.as_dict()
    report = Report(checked.model_file, sum(p.nbytes for p in module.parameters()), notes=list(checked.notes))
    if verify is not None:
        found = compare(module, graph, verify)
        if found.other:
            raise OutputError(f"{output_file}: the module and the graph to be written part: {found}")
        report.notes.append(f"trained and written: {found}")
    targets = dict.fromkeys((name.lower() for name in checked.output_format), graph)
    with Staging() as staging:
        write_targets(targets, {id(graph): Original(graph, checked.threads or 1)}, staging, checked, report)
        report.seconds = time.perf_counter() - start
        for path in checked.report:
            report.save(staging.place(path))
    return report


def verify(module: QatModule, inputs: Any, model_file: str | os.PathLike[str] | None = None) -> Verification:
    """Runs the module and a Session on the inputs and compares the codes of every tensor that both have.

    Args:
        model_file: a file that `export` has written; the graph that it would write where none is given.
    """
    if model_file is None:
        return compare(module, module.graph(), inputs)
    graph = read_model(os.fspath(model_file))
    run_passes(graph, for_target("general"))
    return compare(module, graph, inputs)


def compare(module: QatModule, graph: Graph, inputs: Any) -> Verification:
    """As `verify`, for a graph; it is left as it is."""
    view = graph.copy()
    pairs = _pairs(module.skeleton.graph, view)
    view.outputs = list(dict.fromkeys((*view.outputs, *pairs.values())))
    session, found = Session(view), Verification(tensors=list(pairs))
    layouts = [t.layout for t in module.skeleton.graph.inputs]
    counts, device = dict.fromkeys(pairs, 0), module.bitlite.steps.device
    rows = session.inputs[0].shape[0] if session.inputs[0].shape else None
    for sample in each(inputs, rows):
        arrays = [value.detach().cpu().numpy() for value in sample]
        feeds = {p.name: _turned(a, had, p.layout) for p, a, had in zip(session.inputs, arrays, layouts)}
        other = session.run(feeds)
        beside = Beside({name: other[t.name] for name, t in pairs.items()}, found.ties)
        mine = module.codes(*(value.to(device) for value in sample), beside=beside)
        found.inputs += len(arrays[0])
        for name, t in pairs.items():
            counts[name] += _differing(mine[name], other[t.name])
            found.codes += mine[name].size
    found.other = {name: count for name, count in counts.items() if count}
    return found


def _pairs(own: Graph, other: Graph) -> dict[str, Tensor]:
    """Tensor in codes of the module's graph → the one of the other graph that holds the same, by name; where the format
    has lost the names, by the order of the operators that compute them."""
    mine, theirs = _computed(own), _computed(other)
    named = {t.name: t for _, t in theirs}
    common = {t.name: named[t.name] for _, t in mine if t.name in named}
    if common:
        return common
    ops = [[node.op for node, _ in side] for side in (mine, theirs)]
    blocks = difflib.SequenceMatcher(None, *ops, autojunk=False).get_matching_blocks()
    return {mine[b.a + k][1].name: theirs[b.b + k][1] for b in blocks for k in range(b.size)}


def _computed(graph: Graph) -> list[tuple[Node, Tensor]]:
    """Tensors in codes but for those of transpositions, which a format's own layout adds and takes away."""
    return [(node, t) for node in graph.nodes for t in node.outputs
            if t.dtype in (np.int8, np.int16) and t.quant is not None and node.op != "Transpose"]  # fmt: skip


def _differing(mine: np.ndarray, other: np.ndarray) -> int:
    """How many codes differ; channels may lie first in one of the arrays and last in the other."""
    orders = [other]
    if mine.ndim == 4 and other.ndim == 4:
        orders += [other.transpose(0, 2, 3, 1), other.transpose(0, 3, 1, 2)]
    alike = [a.reshape(mine.shape) for a in orders if _sizes(a) == _sizes(mine)]
    return min((int(np.count_nonzero(mine != a)) for a in alike), default=mine.size)


def _sizes(a: np.ndarray) -> list[int]:
    """The shape but for axes of one element, which formats add and take away."""
    return [n for n in a.shape if n != 1]


def _turned(array: np.ndarray, had: str, wanted: str) -> np.ndarray:
    """The array in the layout of the file's input."""
    if array.ndim != 4 or not had or not wanted or had == wanted:
        return array
    return np.ascontiguousarray(array.transpose((0, 2, 3, 1) if wanted == "NHWC" else (0, 3, 1, 2)))


def each(inputs: Any, rows: int | None = None) -> Iterable[tuple[torch.Tensor, ...]]:
    """The positional inputs of each run, of `rows` samples where the graph takes so many; labels that a loader gives
    along are not among them."""
    for sample in [inputs] if isinstance(inputs, torch.Tensor) else inputs:
        whole = tuple(t for t in sample if t.is_floating_point()) if isinstance(sample, (tuple, list)) else (sample,)
        if rows is None or len(whole[0]) % rows:
            yield whole
        else:
            yield from zip(*(t.split(rows) for t in whole))
