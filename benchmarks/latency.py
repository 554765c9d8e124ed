"""Latency of bitlite beside its peers, interleaved in one run.

    python benchmarks/latency.py PLAN.json [--threads 1,2] [--rounds 15] [--write docs/benchmarks.md --section TITLE]

PLAN.json: {"runtimes": {"litert": ["/env/bin/python"], "mslite": ["env", "LD_PRELOAD=…", "/env37/bin/python"], …},
            "models": {"resnet8 int8": {"bitlite": "r8.ms", "litert": "r8.tflite", "onnxruntime": "r8.onnx"}, …},
            "note": "what the page says before the table"}

Each runtime runs in a process of its own (`latency_worker.py`); one after another they run for a slice of time, round
after round, int8 and float of a network together, so that drift of the machine's speed falls on all alike. Printed:
the median over rounds of each round's median, and the ratio bitlite / peer as the median of the rounds' ratios. All
take and give numpy arrays.

--write puts the table, with a chart, into the page as that section of the instruction set's part (`speed_page.py`) and
keeps the rest. BITLITE_ISA=avx2 on a CPU that has more limits bitlite, and the peers alike (`limited_cpu.py`);
any other limits bitlite alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import speed_page
from bitlite import _native
from limited_cpu import PACKAGES, limited

_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "latency_worker.py")
EXACT = "bitlite --target=mslite"
_NO_RIVALS = ("mslite", EXACT)
_LIMITED = {"litert", "onnxruntime", "openvino"}
_SLICE = 0.15  # seconds that a runtime runs per round


class Worker:
    """A runtime's process."""

    def __init__(self, command: list[str], runtime: str, path: str, threads: int) -> None:
        self.process = subprocess.Popen(
            [*command, _WORKER, runtime, path, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = self._out.readline()
        while line and line.strip() != "ready":
            line = self._out.readline()
        if not line:
            raise RuntimeError(f"{runtime} does not run {path}")
        self.many = 1
        self.many = max(1, min(3000, int(_SLICE / np.median(self.run()))))

    @property
    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def run(self) -> np.ndarray:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.many}\n")
        self.process.stdin.flush()
        return np.array(self._out.readline().split(), float)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


Rounds = dict[str, np.ndarray]  # runtime → each round's seconds


def measure(
    networks: dict[str, dict[str, str]],
    runtimes: dict[str, list[str]],
    threads: int,
    rounds: int,
    of: Callable[[np.ndarray], Any] = np.median,
) -> dict[str, Rounds]:
    """network → its rounds, `of` the times of each; the runtimes of all these networks take turns."""
    workers: dict[tuple[str, str], Worker] = {}
    for name, files in networks.items():
        for runtime, path in files.items():
            try:
                command = runtimes.get(runtime, [sys.executable])
                workers[name, runtime] = Worker(command, runtime.partition(" ")[0], path, threads)
            except (RuntimeError, OSError, ValueError) as error:
                print(f"  {runtime}: left out, {error}", file=sys.stderr)
    figures: dict[tuple[str, str], list[float]] = {key: [] for key in workers}
    for _ in range(rounds):
        for key, worker in workers.items():
            figures[key].append(float(of(worker.run())))
    for worker in workers.values():
        worker.close()
    return {name: {r: np.array(t) for (n, r), t in figures.items() if n == name} for name in networks}


def on_avx2(plan: dict, folder: Path) -> dict:
    """The plan with the peers as on a CPU with AVX2 and no more, from copies in `folder`; without MindSpore Lite."""
    models = {name: {r: path for r, path in files.items() if r != "mslite"} for name, files in plan["models"].items()}
    runtimes: dict[str, list[str]] = dict(plan.get("runtimes", {}))
    prefixes: dict[str, list[str]] = {}
    for runtime in _LIMITED & runtimes.keys():
        python = runtimes[runtime][-1]
        if python not in prefixes:
            asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
            installed = Path(subprocess.check_output(asked, text=True).strip())
            copies = folder / f"limited{len(prefixes)}"
            prefixes[python] = limited(installed, copies, [p for p in PACKAGES if (installed / p).is_dir()])
        runtimes[runtime] = [*prefixes[python], *runtimes[runtime]]
    return {**plan, "models": models, "runtimes": runtimes}


def table(plan: dict, threads: list[int], rounds: int) -> tuple[list[str], list[tuple[str, float]]]:
    """Markdown lines with their summary, and (label, bitlite / best peer) per model and thread count."""
    peers = list(dict.fromkeys(r for files in plan["models"].values() for r in files if r != "bitlite"))
    lines = [
        "| model | threads | bitlite µs | " + " | ".join(f"{p} µs (ratio)" for p in peers) + " | bitlite / best peer |",
        "|---|---|---|" + "---|" * (len(peers) + 1),
    ]
    models: dict[str, dict[str, str]] = plan["models"]
    rows: dict[tuple[str, int], tuple[str, float]] = {}
    gains: list[str] = []
    for pair in pairs(models):
        for count in threads:
            measured = measure({name: models[name] for name in pair}, plan.get("runtimes", {}), count, rounds)
            for name, rounds_of in measured.items():
                rows[name, count] = line, _ = line_of(name, count, rounds_of, peers)
                print(line, flush=True)
            if len(pair) == 2:
                gains.append(f"{network_of(pair[0])}, {count}: {gain(*(measured[name] for name in pair)):.2f}")
    ordered = [(name, count) for name in models for count in threads]
    best = [(f"{name}, {count}", rows[name, count][1]) for name, count in ordered]
    said = [f"int8 over the fastest float (network, threads): {', '.join(gains)}"] if gains else []
    closing = [line for text in summary(best) + said for line in ("", text)]
    print("\n".join(closing))
    return lines + [rows[key][0] for key in ordered] + closing, best


def network_of(name: str) -> str:
    return name.removesuffix("int8").removesuffix("float").rstrip(" ,")


def pairs(models: Iterable[str]) -> list[list[str]]:
    """The names of a network together, int8 before float."""
    together: dict[str, list[str]] = {}
    for name in models:
        together.setdefault(network_of(name), []).append(name)
    return [sorted(names, key=kind_of, reverse=True) for names in together.values()]


def line_of(name: str, count: int, rounds_of: Rounds, peers: list[str]) -> tuple[str, float]:
    """The table's line, and bitlite / best peer."""
    ours = rounds_of["bitlite"]
    ratios = {p: float(np.median(ours / times)) for p, times in rounds_of.items() if p != "bitlite"}
    cells = [f"{1e6 * np.median(rounds_of[p]):.0f} ({ratios[p]:.2f})" if p in ratios else "" for p in peers]
    worst = max((r for p, r in ratios.items() if p not in _NO_RIVALS), default=float("nan"))
    middle = " | ".join([name, str(count), f"{1e6 * np.median(ours):.0f}", *cells])
    return f"| {middle} | **{worst:.2f}** |", worst


def gain(int8: Rounds, float_: Rounds) -> float:
    """bitlite's int8 time over that of the fastest float runtime, by the rounds' ratios."""
    return max(float(np.median(int8["bitlite"] / times)) for r, times in float_.items() if r not in _NO_RIVALS)


def kind_of(label: str) -> str:
    return "int8" if "int8" in label else "float"


def summary(best: list[tuple[str, float]]) -> list[str]:
    lines = []
    for kind in ("int8", "float"):
        ratios = np.array([r for label, r in best if kind_of(label) == kind and np.isfinite(r)])
        if len(ratios):
            mean = float(np.exp(np.log(ratios).mean()))
            lines.append(
                f"{kind}: geometric mean of bitlite / best peer {mean:.2f}, largest {ratios.max():.2f}, n={len(ratios)}"
            )
    return lines


def chart(best: list[tuple[str, float]]) -> str:
    """An SVG of the ratios: left of the line is faster than the best peer."""
    height, left, unit = 22, 230, 260
    width = left + int(unit * max(1.5, *(r for _, r in best if np.isfinite(r)))) + 60
    rows = []
    for k, (label, ratio) in enumerate(best):
        y = 10 + k * height
        color = "#2a7f62" if ratio <= 1 else "#b5523b"
        rows.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{label}</text>')
        rows.append(f'<rect x="{left}" y="{y}" width="{unit * ratio:.0f}" height="{height - 6}" fill="{color}"/>')
        rows.append(f'<text x="{left + unit * ratio + 5:.0f}" y="{y + 13}">{ratio:.2f}</text>')
    bottom = 10 + len(best) * height
    line = f'<line x1="{left + unit}" y1="4" x2="{left + unit}" y2="{bottom}" stroke="#333" stroke-dasharray="4 3"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + 24}" font-family="sans-serif" '
        f'font-size="12">{"".join(rows)}{line}'
        f'<text x="{left + unit}" y="{bottom + 16}" text-anchor="middle">the best peer</text></svg>'
    )


def write(path: str, section: str, lines: list[str], best: list[tuple[str, float]], note: str = "") -> None:
    """The table and its chart into the page. note: said before it."""
    page, isa = "", _native.isa()
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            page = file.read()
    said = "Medians of `benchmarks/latency.py`, the runtimes of a row interleaved; numpy arrays in and out for all."
    picture = f"{os.path.splitext(path)[0]}_{section.split()[0].lower()}_{isa}.svg"
    with open(picture, "w", encoding="utf-8") as out:
        out.write(chart(best))
    text = [" ".join([said, note]).strip(), "", *lines, "", f"![ratios]({os.path.basename(picture)})"]
    machine = speed_page.heading(isa, _native.isas()[-1])
    with open(path, "w", encoding="utf-8") as out:
        out.write(speed_page.put(page, isa, machine, section, "\n".join(text)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", default="", help="markdown file to write, with a chart beside it")
    parser.add_argument("--section", default="Networks", help="of that file, to write")
    args = parser.parse_args()
    with open(args.plan, encoding="utf-8") as file:
        plan = json.load(file)
    if _native.isa() == "avx2" != _native.isas()[-1]:
        plan = on_avx2(plan, Path(args.plan).parent)
    lines, best = table(plan, [int(t) for t in args.threads.split(",")], args.rounds)
    if args.write:
        write(args.write, args.section, lines, best, plan.get("note", ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
