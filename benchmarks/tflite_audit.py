"""Every TFLite operator of the audit's table through LiteRT and bitlite, over random combinations of its choices.

    python benchmarks/tflite_audit.py [--limit 40] [--seed 0] [--only ADD,MUL] [--all-types] [--list differs]
                                    [--write docs/operators.md]

Prints operator × dtype with the number of models that were compared, that differ, and that one or both refuse; the
exit status says whether any differs. The rows stand in tests/converter/tflite_rows. LiteRT may end the process on a
model that it does not expect: each row runs in a process of its own, and such a model counts as refused by LiteRT.
"""

from __future__ import annotations

import argparse
import collections
import os
import pickle
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "converter"))

from tflite_rows import ROWS
from tflite_rows.judge import BOTH, DIFFERS, LITERT, NEARER, OURS, SAME, Verdict, judge
from tflite_rows.table import Row

ALL_TYPES = ("float32", "int32", "int64", "bool", "int8", "uint8", "int16")
Found = list[tuple[str, Verdict]]


def run(row: Row, dtype: str, limit: int | None, seed: int) -> Found:
    """Verdicts of all cases, in order, each with its label."""
    verdicts: Found = []
    while True:
        fresh, done = _in_child(row, dtype, limit, seed, len(verdicts))
        verdicts += fresh
        if done:
            return verdicts
        verdicts.append(("?", Verdict(LITERT, "it ends the process")))


def _in_child(row: Row, dtype: str, limit: int | None, seed: int, skip: int) -> tuple[Found, bool]:
    """What a child process finds from case `skip` on, and whether it came to the end."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        # LiteRT explains each refusal on the standard error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with os.fdopen(writer, "wb") as out, tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            try:
                for k, case in enumerate(row.cases(dtype, limit, seed)):
                    if k >= skip:
                        pickle.dump((case.label, judge(case, Path(folder) / "m.tflite")), out)
                        out.flush()
            except Exception as error:  # of the audit or of bitlite: the parent ends with it
                pickle.dump(error, out)
            pickle.dump(None, out)
        os._exit(0)
    os.close(writer)
    verdicts: Found = []
    with os.fdopen(reader, "rb") as pipe:
        try:
            while (item := pickle.load(pipe)) is not None:
                if isinstance(item, Exception):
                    raise item
                verdicts.append(item)
            done = True
        except EOFError:
            done = False
    os.waitpid(child, 0)
    return verdicts, done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=40, help="combinations per operator and dtype; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="operators, comma separated")
    parser.add_argument("--all-types", action="store_true", help="also those that the table leaves out")
    parser.add_argument("--list", default=DIFFERS, help="statuses whose cases are listed, comma separated")
    parser.add_argument("--write", default="", help="the page of operators to write with these figures")
    args = parser.parse_args()
    listed, total = args.list.split(","), collections.Counter()
    figures: dict[tuple[str, str], dict[str, int]] = {}
    by_type: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    print("| operator | type | compared | differ | nearer | bitlite refuses | LiteRT refuses | both refuse |")
    print("|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        if args.only and row.op not in args.only.split(","):
            continue
        for dtype in dict.fromkeys((*row.dtypes, *(ALL_TYPES if args.all_types else ()))):
            verdicts = run(row, dtype, args.limit or None, args.seed)
            counts = collections.Counter(v.status for _, v in verdicts)
            total += counts
            by_type[dtype] += counts
            theirs = counts[LITERT] + counts[BOTH]
            figures[row.op, dtype] = {"same": counts[SAME], "nearer": counts[NEARER], "differs": counts[DIFFERS]}
            figures[row.op, dtype] |= {"ours": counts[OURS], "theirs": theirs}
            print(_line(row.op, dtype, counts), flush=True)
            for label, verdict in verdicts:
                if verdict.status in listed:
                    print(f"    {verdict.status}: {label}: {verdict.reason}", flush=True)
    for dtype, counts in by_type.items():
        print(_line("all", dtype, counts))
    print(_line("all", "all", total))
    if args.write:
        from bitlite.tools.operator_docs import rewrite, tflite_table

        rewrite(args.write, tflite_cases=tflite_table(figures))
    return int(total[DIFFERS] > 0)


def _line(op: str, dtype: str, counts: collections.Counter[str]) -> str:
    cells = [counts[SAME] + counts[NEARER] + counts[DIFFERS]]
    cells += [counts[s] for s in (DIFFERS, NEARER, OURS, LITERT, BOTH)]
    return f"| {op} | {dtype} | {' | '.join(str(c) for c in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
