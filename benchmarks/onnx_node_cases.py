"""The node cases of onnx.backend.test through `bitlite.load`: passed, refused (with the reason), wrong.

    python benchmarks/onnx_node_cases.py [--list STATUS] [--only SUBSTRING] [--write FILE.md]

Cases are those that the installed onnx ships. A case passes when every output has the expected shape and dtype and is
within the case's own tolerance; it is refused when bitlite says so with a `bitlite.Error` before running; all else is
wrong, and the exit status says so.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import sys
import tempfile
import traceback
import warnings

import bitlite
import numpy as np


def cases() -> list:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    return [c for c in collected if c.kind == "node" and c.model is not None]


def as_array(value) -> np.ndarray | None:
    """A test value as an array; None for sequences, optionals and strings."""
    if isinstance(value, (list, tuple, dict)) or value is None:
        return None
    if type(value).__name__ == "TensorProto":
        from onnx import numpy_helper

        value = numpy_helper.to_array(value)
    array = np.asarray(value)
    return None if array.dtype.kind in "OUS" else array


def check(case, folder: str) -> tuple[str, str]:
    """(status, reason) of one case."""
    import onnx

    path = os.path.join(folder, "case.onnx")
    onnx.save(case.model, path)
    for inputs, outputs in case.data_sets:
        feeds = [as_array(v) for v in inputs]
        expected = [as_array(v) for v in outputs]
        try:
            session = bitlite.load(path)
            if any(a is None for a in feeds):
                return "wrong", "read a model with inputs that are no tensors"
            names = [i.name for i in case.model.graph.input]
            given = dict(zip(names, feeds))
            got = session.run({p.name: given[p.name] for p in session.inputs})
        except bitlite.Error as error:
            return "refused", re.sub(r"^.*case\.onnx: ", "", str(error))
        except Exception as error:  # whatever else escapes is the finding
            last = traceback.extract_tb(error.__traceback__)[-1]
            return "wrong", f"{type(error).__name__}: {error} ({os.path.basename(last.filename)}:{last.lineno})"
        for port, wanted in zip(case.model.graph.output, expected):
            if wanted is None:
                problem = "an output that is no tensor"
            else:
                problem = differs(got[port.name], wanted, case) if port.name in got else f"not among {list(got)}"
            if problem:
                return "wrong", f"{port.name}: {problem}"
    return "passed", ""


def differs(got: np.ndarray, wanted: np.ndarray, case) -> str:
    if got.shape != wanted.shape:
        return f"shape {got.shape}, expected {wanted.shape}"
    if got.dtype != wanted.dtype:
        return f"dtype {got.dtype}, expected {wanted.dtype}"
    if np.allclose(got, wanted, rtol=case.rtol or 1e-3, atol=case.atol or 1e-7, equal_nan=wanted.dtype.kind in "fc"):
        return ""
    error = np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max() if wanted.size else 0
    return f"differs by up to {error:.3g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", default="wrong", help="statuses to list, comma separated")
    parser.add_argument("--only", default="", help="run cases whose names hold this")
    parser.add_argument("--write", default="", help="write the page of operators with this table")
    args = parser.parse_args()
    results: dict[str, tuple[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            if args.only in case.name:
                results[case.name] = check(case, folder)
    counts = collections.Counter(status for status, _ in results.values())
    for name, (status, reason) in sorted(results.items()):
        if status in args.list.split(","):
            print(f"{status:8s} {name:60s} {reason}")
    print(", ".join(f"{counts[k]} {k}" for k in ("passed", "refused", "wrong")))
    if args.write:
        from bitlite.tools.operator_docs import cases_table, rewrite

        rewrite(args.write, node_cases=cases_table(results.values()))
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
