"""Coverage-guided fuzzing of one reader:  pip install atheris
    python fuzz/guided.py tflite|onnx|ms|config NEW [FOLDER…] [-max_total_time=1800 -timeout=60 -rss_limit_mb=1500]

Loads and runs whatever the bytes say, as `mutate.attempt` does: a `bitlite.Error` or a valid result. New inputs go to
the folder NEW, others (fuzz/corpus/tflite) are read; libFuzzer's own options follow. The bytecode of everything between
the bytes and the graph is instrumented: containers, operators' readers and shape rules, codecs, config files. What
escapes does not end the run: the first input of each kind of finding (an exception at a line, 5 seconds of processor
time, 1 GB) is kept in NEW-findings. `small_corpus.py` makes what the tests replay out of NEW.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import itertools
import os
import pkgutil
import random
import resource
import signal
import sys
import tempfile
import traceback
import types
import warnings
from pathlib import Path
from typing import Any

import bitlite
import structured
from mutate import FILE_NAME, MEMORY, SECONDS, TooSlow, attempt, seeds

_MODELS = ("converter.formats", "converter.ops", "converter.numeric", "converter.builder", "converter.opdef",
           "converter.ir", "converter.execute", "native.lower", "native.plan")  # fmt: skip
_CONFIG = ("quant.config", "quant.flags", "quant.kinds", "quant.options", "quant.option_checks", "quant.selectors")


def instrument(kind: str, atheris: Any) -> int:
    """Functions, methods and closures of the modules that this kind passes through; how many there are.

    Changing the code of the function objects in place reaches those that tables and decorators hold, too.
    """
    names = tuple(f"bitlite.{part}" for part in (_CONFIG if kind == "config" else _MODELS))
    for module in pkgutil.walk_packages(bitlite.__path__, "bitlite."):
        if module.name.startswith(names):
            importlib.import_module(module.name)
    found = [f for f in gc.get_objects() if isinstance(f, types.FunctionType) and str(f.__module__).startswith(names)]
    for function in found:
        atheris.instrument_func(function)
    return len(found)


class Findings:
    """Keeps one input per kind of finding."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[str] = set()

    def keep(self, data: bytes, error: BaseException) -> None:
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "bitlite" in f.filename]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        what = f"{type(error).__name__}-{at}"
        if what not in self.seen:
            self.seen.add(what)
            self.folder.mkdir(exist_ok=True)
            (self.folder / f"{what}-{hashlib.sha1(data).hexdigest()[:8]}").write_bytes(data)
            print(f"FINDING {what}: {str(error)[:200]}", file=sys.stderr, flush=True)


def main() -> int:
    import atheris

    kind = sys.argv.pop(1)
    given = next((a for a in sys.argv[1:] if not a.startswith("-")), kind)
    findings = Findings(Path(f"{given.rstrip('/')}-findings"))
    memory = "/dev/shm"
    path = os.path.join(tempfile.mkdtemp(dir=memory if os.path.isdir(memory) else None), FILE_NAME)
    warnings.simplefilter("ignore")
    for data in seeds(kind)[:1]:
        attempt(kind, data, path)  # imports what is imported late
    print(f"instrumented {instrument(kind, atheris)} functions", file=sys.stderr)

    def late(*_: Any) -> None:
        raise TooSlow

    # Processor time: a machine that is busy elsewhere is no finding.
    signal.signal(signal.SIGPROF, late)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    calls = itertools.count(1)

    def one(data: bytes) -> None:
        if next(calls) % 1000 == 0:
            gc.collect()  # large arrays in few cycles do not make Python do it
        signal.setitimer(signal.ITIMER_PROF, SECONDS, 1)
        try:
            attempt(kind, data, path)
        except (Exception, TooSlow) as error:
            findings.keep(data, error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def mutator(data: bytes, size: int, seed: int) -> bytes:
        made = structured.mutate(kind, data, None, seed) if seed % 2 and kind != "config" else None
        return atheris.Mutate(data, size) if made is None or len(made) > size else made

    def crossover(data: bytes, other: bytes, size: int, seed: int) -> bytes:
        made = structured.mutate(kind, data, other, seed) if kind != "config" else None
        if made is None:
            rng = random.Random(seed)
            made = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
        return made[:size]

    atheris.Setup(sys.argv, one, custom_mutator=mutator, custom_crossover=crossover)
    room = used + MEMORY + (256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
