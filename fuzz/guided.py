"""Coverage-guided fuzzing of one reader:  pip install atheris
    python fuzz/guided.py tflite|onnx|ms|config [FOLDER…] [-max_total_time=1800 -timeout=5 -rss_limit_mb=1024]
    python fuzz/guided.py --seeds fuzz/corpus        writes the small seeds that the tests replay

Loads and runs whatever the bytes say, as `mutate.attempt` does: a `bitlite.Error` or a valid result. New inputs go to
the first folder; libFuzzer's own options follow.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from mutate import KINDS, attempt, seeds

_PER_KIND = 45_000


def write_seeds(folder: Path) -> None:
    """Every nth seed of each kind, of 45 kB together."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        files = [data for data in seeds(kind) if len(data) <= 2000]
        step = max(1, -(-sum(map(len, files)) // _PER_KIND))
        for k, data in enumerate(files[::step]):
            (folder / kind / f"{k:03d}").write_bytes(data)


def main() -> int:
    if sys.argv[1] == "--seeds":
        write_seeds(Path(sys.argv[2]))
        return 0
    import atheris

    kind = sys.argv.pop(1)
    path = os.path.join(tempfile.mkdtemp(), "input")
    for data in seeds(kind)[:1]:
        attempt(kind, data, path)  # imports what is imported late
    for name, module in list(sys.modules.items()):
        if name.startswith(("bitlite.converter.formats", "bitlite.converter.builder", "bitlite.quant")):
            for key, value in list(vars(module).items()):
                if callable(value) and getattr(value, "__module__", "") == name and hasattr(value, "__code__"):
                    setattr(module, key, atheris.instrument_func(value))
    atheris.Setup(sys.argv, lambda data: (attempt(kind, data, path), None)[1])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
