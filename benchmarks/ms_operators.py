"""Every example of every operator as a `.ms` file in the real MindSpore Lite runtime, against the numpy reference.

    python benchmarks/ms_operators.py RUNNER [--only REGEX] [--list STATUS,…] [--types T,…] [--write PAGE.md]

RUNNER is a command that runs `RUNNER run MODEL.ms IN.npz OUT.npz` (in0, in1, … with a leading sample axis → out0, …)
in the real runtime. An example is "equal" when every output has the reference's shape, dtype and values; "refused"
when our writer names what MindSpore Lite lacks before any work; all else (the runtime refuses, crashes, hangs, answers
differently) is "wrong", and the exit status says so.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from bitlite.converter.errors import Error, GraphError
from bitlite.converter.examples import example
from bitlite.converter.execute import execute
from bitlite.converter.formats.ms import write
from bitlite.converter.ops import OPS
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.op import Case

STATUSES = ("equal", "refused", "wrong")
_SECONDS = 60
_INT32 = np.iinfo(np.int32)
# Fed at run time, these hold what the page names as limits: an int64 beyond int32, an empty result, an index from the
# end.
_BEYOND = {("Slice", 1), ("Slice", 3), ("GatherND", 1)}


def examples(only: str, dtypes: list[str]) -> list[tuple[str, str, Case, str, tuple[int, ...]]]:
    """(id, operator, case, dtype of its random inputs, which constants are fed) of every row that can be written."""
    cases = []
    for name, row in sorted(OPS.items()):
        for k, case in enumerate(row.cases):
            random = [i for i, given in enumerate(case.inputs) if isinstance(given, tuple) and i not in case.const]
            fixed = [i for i, given in enumerate(case.inputs) if given is not None and i not in random]
            # As it stands (where nothing is random, its first input is fed), then with all its constants as inputs.
            ways = {(): ""} if random else {(fixed[0],): "-first"}
            if fixed and (name, k) not in _BEYOND:
                ways.setdefault(tuple(fixed), "-fed")
            for feed, suffix in ways.items():
                for dtype in dtypes if any(isinstance(i, tuple) for i in case.inputs) else dtypes[:1]:
                    label = f"{name}-{k}{suffix}" + ("" if dtype == "float32" else f"-{dtype}")
                    if "ms" in row.writers and re.search(only, label):
                        cases.append((label, name, case, dtype, feed))
    return cases


def references(graph: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    values = {t: feeds[t.name] for t in graph.inputs}
    for node in graph.nodes:
        results = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        values.update(zip(node.outputs, results, strict=True))
    return [t.data if t.is_const else values[t] for t in graph.outputs]


def check(
    runner: str, label: str, name: str, case: Case, dtype: str, feed: tuple[int, ...], folder: str
) -> tuple[str, str] | None:
    """(status, reason); None where the row does not take the type, or nothing is left to run."""
    try:
        graph, feeds = example(name, case, np.dtype(dtype), feed)
        if not graph.nodes or not feeds:
            return None
        # An integer divided by 0 is nothing to compare, nor is what does not fit int32.
        with np.errstate(all="ignore", divide="ignore" if dtype.startswith("float") else "raise"):
            wanted = references(graph, feeds)
        if any(a.dtype == np.int64 and a.size and (a.max() > _INT32.max or a.min() < _INT32.min) for a in wanted):
            return None
    except (GraphError, TypeError, ValueError, ArithmeticError):
        return None
    names = [t.name for t in graph.inputs]
    path = os.path.join(folder, f"{label}.ms")
    source, target = os.path.join(folder, f"{label}.in.npz"), os.path.join(folder, f"{label}.out.npz")
    try:
        run_passes(graph, for_target("ms"))
        write(graph, path)
    except Error as error:
        return "refused", str(error)
    # Inputs and outputs in float16 are float32 in the file, which the page says.
    wanted = [a.astype(t.dtype) if a.dtype == np.float16 else a for a, t in zip(wanted, graph.outputs)]
    values = [feeds[n].astype(t.dtype) for n, t in zip(names, graph.inputs)]
    np.savez(source, **{f"in{i}": a[None] for i, a in enumerate(values)})
    try:
        done = subprocess.run(
            [*runner.split(), "run", path, source, target], capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "wrong", "hangs"
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [""]
        return "wrong", f"exit {done.returncode}: {said[-1][-160:]}"
    with np.load(target) as theirs:
        got = [theirs[f"out{i}"][0] for i in range(len(theirs.files))]
    for i, (a, b) in enumerate(zip(got, wanted)):
        if problem := differs(a, b):
            return "wrong", f"output {i}: {problem}"
    return "equal", ""


def differs(got: np.ndarray, wanted: np.ndarray) -> str:
    """What is not the reference's; floats may differ by the approximations of the runtime's kernels."""
    if got.shape != wanted.shape and not got.size == wanted.size == 1:  # the runtime has no scalars
        return f"shape {got.shape}, expected {wanted.shape}"
    if got.dtype != wanted.dtype:
        return f"dtype {got.dtype}, expected {wanted.dtype}"
    got = got.reshape(wanted.shape)
    if wanted.dtype.kind != "f":
        return "" if np.array_equal(got, wanted) else f"{np.mean(got != wanted):.0%} of the values differ"
    size = float(np.abs(wanted[np.isfinite(wanted)].astype(np.float64)).max(initial=0))
    step = 4e-3 if wanted.dtype == np.float16 else 2e-3
    if np.allclose(got, wanted, rtol=step, atol=step / 10 * size + 1e-9, equal_nan=True):
        return ""
    return f"values differ by up to {np.nanmax(np.abs(got.astype(np.float64) - wanted)):.3g} of {size:.3g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runner")
    parser.add_argument("--only", default="", help="examples whose id (Operator-number-type) this finds")
    parser.add_argument("--list", default="wrong", help="statuses to list one by one, comma separated")
    parser.add_argument(
        "--types", default="float32,int32,int64,bool", help="types that random inputs take, comma separated"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", default="", help="the page of operators to put the table into")
    parser.add_argument("--keep", default="", help="a folder to leave the files in")
    args = parser.parse_args()
    counts: dict[str, collections.Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        where = args.keep or folder
        os.makedirs(where, exist_ok=True)
        todo = examples(args.only, args.types.split(","))
        results = pool.map(lambda e: check(args.runner, *e, where), todo)
        for (label, name, *_), result in zip(todo, results):
            if result is None:
                continue
            counts.setdefault(name, collections.Counter())[result[0]] += 1
            if result[0] in args.list.split(","):
                print(f"{result[0]:8s} {label:34s} {result[1]}", flush=True)
    print(f"\n{'operator':24s} {'equal':>7s} {'refused by us':>14s} {'wrong':>6s}")
    for name, verdicts in counts.items():
        print(f"{name:24s} {verdicts['equal']:7d} {verdicts['refused']:14d} {verdicts['wrong']:6d}")
    totals = {s: sum(c[s] for c in counts.values()) for s in STATUSES}
    print(f"{len(counts)} operators: " + ", ".join(f"{totals[s]} {s}" for s in STATUSES))
    if args.write:
        from bitlite.tools.operator_docs import rewrite, runtime_table

        rewrite(args.write, runtime_cases=runtime_table(counts))
    return int(totals["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
