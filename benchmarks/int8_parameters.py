"""Operators on int8 codes of random scales and zero points, in the runtimes that files are written for.

    python benchmarks/int8_parameters.py ms RUNNER [--only REGEX] [--draws N]
    python benchmarks/int8_parameters.py tflite [--only REGEX] [--draws N]

RUNNER is a command that runs `RUNNER run MODEL.ms IN.npz OUT.npz` in MindSpore Lite. Each case of each operator with an
int8 form is a file of its own, its inputs and outputs codes; what keeps its input's parameters has them in two draws of
three. Printed are the operators that the runtime refuses or gives other codes for than the Session, by more than one,
and how many were right.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping

import bitlite
import numpy as np
from bitlite.converter.formats import ms, tflite
from bitlite.converter.ir import Graph, Tensor
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.ops import OPS
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.op import Case, Quant
from real_model_runs import run_litert, run_mindspore

Codes = dict[str, np.ndarray]


def drawn(rng: np.random.Generator) -> QuantParam:
    """Parameters of a range around zero."""
    low, high = -rng.uniform(0.1, 3) * (rng.random() < 0.7), rng.uniform(0.3, 4)
    scale = (high - low) / 255
    return QuantParam(np.array([scale]), np.array([round(-128 - low / scale)], np.int32))


def graph_of(name: str, case: Case, rng: np.random.Generator, keeps: bool) -> tuple[Graph, Codes] | None:
    """The case on codes, and random ones; None where it has no input of floats."""
    graph, spec = Graph(name), OPS[name].quant or Quant()
    build, codes, inputs = Builder(graph, fold_limit=0), {}, []
    for i, given in enumerate(case.inputs):
        if given is None:
            inputs.append(None)
        elif isinstance(given, tuple) and i not in case.const:
            x = build.input(f"x{i}", np.int8, given, layout="NHWC" if len(given) == 4 else "")
            x.quant = inputs[0].quant if keeps and inputs and spec.output == "same" else drawn(rng)
            codes[x.name] = rng.integers(-128, 128, given).astype(np.int8)
            inputs.append(x)
        else:
            value = rng.normal(size=given).astype(np.float32) if isinstance(given, tuple) else np.asarray(given)
            inputs.append(build.constant(value, f"c{i}"))
    if not codes:
        return None
    graph.outputs = build.emit(name, inputs, dict(case.attrs), name="node")
    for y in graph.outputs:
        if y.dtype.kind == "f" or y.dtype == np.int8:
            y.dtype, y.quant = np.dtype(np.int8), _given(spec, inputs[0], rng, keeps)
    return graph, codes


def _given(spec: Quant, x: Tensor | None, rng: np.random.Generator, keeps: bool) -> QuantParam:
    if keeps and spec.output in ("same", "within") and x is not None and x.quant is not None:
        return x.quant
    if keeps and spec.fixed is not None:
        return QuantParam(np.array([spec.fixed[0]]), np.array([spec.fixed[1]], np.int32))
    return drawn(rng)


def verdict(
    graph: Graph, codes: Codes, container: str, run: Callable[[str, list[np.ndarray]], list[np.ndarray]]
) -> str:
    """ "" where the runtime's codes are within one of the Session's."""
    want = list(bitlite.Session(graph).run(codes).values())
    target = graph.copy()
    run_passes(target, for_target(container))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"m.{container}")
        try:
            {"ms": ms, "tflite": tflite}[container].write(target, path)
        except bitlite.Error:
            return ""  # refused before any work
        try:
            got = run(path, [codes[t.name] for t in target.inputs])
        except (RuntimeError, ValueError) as error:
            return f"refused: {' '.join(str(error).split())[-90:]}"
    apart = [np.abs(g.astype(np.int64).reshape(w.shape) - w).max(initial=0) for g, w in zip(got, want)]
    return f"{max(apart)} codes apart" if max(apart, default=0) > 1 else ""


def cases(only: str) -> Iterator[tuple[str, Case]]:
    for name, row in sorted(OPS.items()):
        if row.quant is not None and row.quant.int8 and not row.quant.weights and re.search(only, name):
            yield from ((name, case) for case in row.cases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("container", choices=("ms", "tflite"))
    parser.add_argument("runner", nargs="?", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    runs: Mapping[str, Callable[[str, list[np.ndarray]], list[np.ndarray]]] = {
        "ms": lambda path, feed: run_mindspore(path, [feed], args.runner)[0],
        "tflite": lambda path, feed: run_litert(path, [feed], "")[0],
    }
    rng, right, wrong = np.random.default_rng(0), 0, 0
    warnings.simplefilter("ignore")
    for name, case in cases(args.only):
        for draw in range(args.draws):
            made = graph_of(name, case, rng, draw < 2)
            if made is None:
                continue
            said = verdict(*made, args.container, runs[args.container])
            right, wrong = right + (not said), wrong + bool(said)
            if said:
                print(f"{name} {case.attrs}: {said}", flush=True)
    print(f"{right} right, or refused before any work; {wrong} not")


if __name__ == "__main__":
    main()
