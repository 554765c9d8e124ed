"""The corpus that the tests replay: few small files that reach, together, most of what a grown corpus reaches.

    python fuzz/small_corpus.py fuzz/corpus [GROWN]     GROWN/tflite, GROWN/onnx, …: folders of guided.py

Takes `mutate.seeds` and the grown files, notes the line-to-line steps of the readers that each one takes, and keeps the
file with the most new steps per byte until the kind's share of bytes is used up. Files with names of their own, which
once were findings, stay.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

from mutate import FILE_NAME, attempt, seeds

SHARES = {"tflite": 80_000, "onnx": 60_000, "ms": 80_000, "config": 8_000}
_NUMBERED = re.compile(r"[0-9]{3}")
_READERS = tuple(
    os.path.join(os.path.dirname(__import__(f"bitlite.{room}", fromlist=["x"]).__file__), "")
    for room in ("converter", "quant")
)


def steps(kind: str, data: bytes, path: str) -> set[tuple[str, int, int]]:
    """(file, line before, line) of every step inside the readers while this file is loaded and run."""
    found: set[tuple[str, int, int]] = set()

    def local(name: str) -> Any:
        before = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            if event == "line":
                found.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return trace

        return trace

    def enter(frame: FrameType, *_: Any) -> Any:
        name = frame.f_code.co_filename
        return local(name) if name.startswith(_READERS) else None

    sys.settrace(enter)
    try:
        attempt(kind, data, path)
    finally:
        sys.settrace(None)
    return found


def choose(reached: dict[bytes, set[Any]], size: int) -> list[bytes]:
    """Files of at most `size` bytes together, each the one with the most new steps per byte when it is taken."""
    covered: set[Any] = set()
    left, chosen = dict(reached), []
    while left:
        gain = {data: len(found - covered) / (len(data) + 200) for data, found in left.items()}
        best = max(gain, key=lambda data: gain[data])
        if not gain[best]:
            break
        found = left.pop(best)
        left = {data: other for data, other in left.items() if gain[data]}
        if len(best) <= size:
            size -= len(best)
            covered |= found
            chosen.append(best)
    return sorted(chosen, key=lambda data: (len(data), data))


def main() -> int:
    target, grown = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None
    warnings.simplefilter("ignore")
    for kind, share in SHARES.items():
        files = dict.fromkeys(seeds(kind))
        if grown is not None and (grown / kind).is_dir():
            files.update(dict.fromkeys(f.read_bytes() for f in sorted((grown / kind).iterdir())))
        reached = {}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, FILE_NAME)
            for data in [*list(files)[:3], *files]:  # the first ones again, once everything is imported
                if len(data) > 4500:
                    continue
                try:
                    reached[data] = steps(kind, data, path)
                except Exception as error:  # a finding, which no test is to replay before it is mended
                    print(f"{kind}: {error!r}", file=sys.stderr)
        folder_of_kind = target / kind
        folder_of_kind.mkdir(parents=True, exist_ok=True)
        for old in folder_of_kind.iterdir():
            if _NUMBERED.fullmatch(old.name):
                old.unlink()
        chosen = choose(reached, share)
        for k, data in enumerate(chosen):
            (folder_of_kind / f"{k:03d}").write_bytes(data)
        every, some = set().union(*reached.values()), set().union(*(reached[d] for d in chosen))
        print(f"{kind}: {len(chosen)} of {len(reached)} files, {sum(map(len, chosen))} bytes, "
              f"{len(some)} of {len(every)} steps")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
