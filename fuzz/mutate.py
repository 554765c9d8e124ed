"""Seeded mutations of models and config files: whatever the bytes, a `bitlite.Error` or a valid result.

    python fuzz/mutate.py tflite|onnx|ms|mindir|caffe|config [--count 100000] [--first 0] [--seed 1]

Mutation i of a kind and a seed is the same bytes each time. A finding is another exception, a crash, more than 5
seconds or more than 1 GB; each is printed as the line that repeats it. Seeds are every example of every operator's row
in the container's own form, quantized models among them, and for ONNX the control flow cases of onnx's own tests; of
MINDIR and Caffe, which are not written here, networks of the tests; a Caffe seed is text and weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import bitlite
import numpy as np
from networks import FILE_NAME, WEIGHTS, caffe_networks, networks

KINDS = ("tflite", "onnx", "ms", "mindir", "caffe", "config")
_EXPORTED = Path(__file__).parent.parent / "tests" / "models" / "mindir"
SECONDS, MEMORY = 5, 1 << 30
_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 65535, 65536, 1 << 20, 1 << 28, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
# Larger graphs are loaded and planned, but not run: a long computation is not a hang.
_MOST_INPUT = 1 << 20

CONFIGS = (
    b"image_path=/a,/b\nbatch_count=100\nmethod_x=KL\nthread_num=2\nbias_correction=true\ninput_shapes=1,32,32,3;1,10\n",
    b"[common_quant_param]\nquant_type=FULL_QUANT\nbit_num=8\nmin_quant_weight_size=0\nskip_quant_node=a,b\n"
    b"[full_quant_param]\nactivation_quant_method=MAX_MIN\nbias_correction=true\ntarget_device=CPU\n"
    b"[data_preprocess_param]\ncalibrate_path=input:/data\ncalibrate_size=10\ninput_type=IMAGE\n"
    b"image_to_format=RGB\nnormalize_mean=127.5,127.5,127.5\nnormalize_std=1e2,127.5,127.5\nresize_width=224\n"
    b"resize_height=224\nresize_method=LINEAR\ncenter_crop_width=200\ncenter_crop_height=200\n",
    b"[common_quant_param]\nquant_type=WEIGHT_QUANT\nbit_num=4\n[weight_quant_param]\nper_channel=true\n"
    b"bias_correction=true\nmax_segments=1\n# note\n; note\n[dynamic_quant_param]\nquant_strategy=ALWC\n",
    b"image_path=/data\nbatch_count=2\nmethod_x=REMOVAL_OUTLIER,KL\nth_binnum=2048\n"
    b"dump_dist=/a.npz\nkeep_float=conv1,type:Conv,from a to b\nlayer_bits=conv1:4,type:FullyConnected:8\nmixed=true\n"
    b"mean_error_threshold=0.1\nper_channel=true\nnormalize_mean=1,2,3\nresize_method=NEAREST\nresize_width=8\nresize_height=8\n",
    b"[common_quant_param]\nquant_type=DYNAMIC_QUANT\nbit_num=8\nenable_encode=true\ngain_gate=off\n"
    b"layer_bits=fc:8\nkeep_float=a\nworkspace=/w\n[full_quant_param]\nactivation_quant_method=KL,MAX_MIN\n"
    b"load_dist=/a.npz\nth_binnum=1024\n",
    b"\xef\xbb\xbf[registry]\r\ndisable_fusion=off\r\n[mixed_bit_weight_quant_param]\r\nauto_tune=false\r\n",
)


class TooSlow(BaseException):
    """Out of the reach of `except Exception`."""


def seeds(kind: str) -> list[bytes]:
    """Small valid files of this kind."""
    if kind == "config":
        return list(CONFIGS)
    if kind == "mindir":
        return [p.read_bytes() for p in sorted(_EXPORTED.glob("*.mindir")) if p.stat().st_size <= 20_000]
    if kind == "caffe":
        return list(caffe_networks())
    found: dict[bytes, None] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed"
        for graph in _graphs():
            try:
                _write(graph, kind, str(path))
            except bitlite.Error:
                continue
            if path.stat().st_size <= 20_000:
                found[path.read_bytes()] = None
        found.update(dict.fromkeys(networks(kind, folder)))
    if kind == "onnx":
        found.update(dict.fromkeys(_control_flow()))
    return list(found)


def _graphs() -> list[Any]:
    """One graph per example of a row."""
    from bitlite.converter.ir import Graph
    from bitlite.converter.ops import OPS
    from bitlite.converter.schema.builder import Builder

    made, rng = [], np.random.default_rng(5)
    for name, row in sorted(OPS.items()):
        for case in row.cases:
            graph, inputs = Graph(), []
            build = Builder(graph, fold_limit=0)
            for i, given in enumerate(case.inputs):
                if given is None:
                    inputs.append(None)
                elif isinstance(given, (np.ndarray, np.generic)):
                    inputs.append(build.constant(np.asarray(given), f"x{i}"))
                elif i in case.const:
                    inputs.append(build.constant(rng.standard_normal(given).astype(np.float32), f"x{i}"))
                else:
                    inputs.append(build.input(f"x{i}", np.float32, given))
            graph.outputs = build.emit(name, inputs, case.attrs, name="node")
            made.append(graph)
    return made


def _write(graph: Any, kind: str, path: str) -> None:
    from bitlite.converter.formats import ms, onnx_write, tflite_write

    {"ms": ms, "onnx": onnx_write, "tflite": tflite_write}[kind].write(graph.copy(), path)


def _control_flow() -> list[bytes]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = ("If", "Loop", "Scan", "LSTM", "GRU", "QLinearConv", "Einsum")
        cases = [c for name in names for c in collect_testcases(name)]
    return [c.model.SerializeToString() for c in cases if c.model is not None]


def mutated(sources: list[bytes], kind: str, seed: int, index: int) -> bytes:
    """Mutation `index`: one to four edits of one of the sources."""
    rng = random.Random(f"{kind}:{seed}:{index}")
    data = bytearray(rng.choice(sources))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at, how = rng.randrange(len(data)), rng.randrange(8)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))
        elif how == 2:
            del data[at:]
        elif how == 3:  # a length, an offset, an index
            at &= ~3
            data[at : at + 4] = rng.choice(_NUMBERS).to_bytes(4, "little")
        elif how == 4:  # part of another file, or of this one
            other = rng.choice(sources) if rng.random() < 0.5 else bytes(data)
            begin = rng.randrange(len(other))
            part = other[begin : begin + rng.choice((4, 8, 16, 64, 400))]
            data[at : at + (len(part) if rng.random() < 0.7 else 0)] = part
        elif how == 5:
            del data[at : at + rng.choice((1, 2, 4, 8, 32))]
        elif how == 6:  # a varint
            number, code = rng.choice((*_NUMBERS, (1 << 63) - 1, (1 << 64) - 1)), bytearray()
            while number > 127:
                code.append(number & 127 | 128)
                number >>= 7
            data[at : at + 1] = [*code, number]
        else:
            size = rng.choice((1, 2, 8))
            data[at:at] = bytes(rng.randrange(256) for _ in range(size))
    return bytes(data)


def attempt(kind: str, data: bytes, path: str) -> bool:
    """Loads and runs the file; False where it is refused. Raises whatever is a finding."""
    text, _, weights = data.partition(WEIGHTS) if kind == "caffe" else (data, b"", b"")
    with open(path, "wb") as out:
        out.write(text)
    if kind == "caffe":
        with open(path + ".caffemodel", "wb") as out:
            out.write(weights)
    if kind == "config":
        from bitlite.tools.options.read import options_of_kwargs

        try:
            given = {} if b"quant_type" in data else {"quant_type": "PostTraining"}
            options_of_kwargs("m.onnx", "m", config_file=path, **given).as_dict()
            return True
        except bitlite.Error:
            return False
    try:
        session = bitlite.load(path)
        feeds, rng = {}, np.random.default_rng(1)
        for port in session.inputs:
            shape = tuple(1 if n is None else n for n in port.shape or ())
            if np.prod([max(n, 1) for n in shape], dtype=object) > _MOST_INPUT:
                return True
            feeds[port.name] = (rng.random(shape) * 4).astype(port.dtype)
        if sum(t.nbytes for node in session.graph.nodes for t in node.outputs) <= _MOST_INPUT << 6:
            session.run(feeds)
        return True
    except bitlite.Error:
        return False


def _worker(kind: str, sources: list[bytes], seed: int, first: int, last: int, at: Any, tell: Any) -> None:
    def late(*_: Any) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, late)
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    folder = tempfile.mkdtemp(prefix="bitlite-mutation-")
    path = os.path.join(folder, FILE_NAME)
    try:
        for index in range(first, last):
            at.value = index
            data = mutated(sources, kind, seed, index)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                at.accepted += attempt(kind, data, path)
            except TooSlow:
                tell.put((index, f"more than {SECONDS} s", "".join(traceback.format_exc()[-400:])))
            except BaseException as error:
                cause = error.__cause__ if isinstance(error, bitlite.InternalError) else error
                where = traceback.extract_tb((cause or error).__traceback__)[-1]
                tell.put((index, f"{type(error).__name__}: {str(error)[:150]}", f"{where.filename}:{where.lineno}"))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        at.value = last
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tell.close()
    tell.join_thread()


class _Place:
    """Where a worker stands, in shared memory."""

    def __init__(self, first: int) -> None:
        self._cells = multiprocessing.Array("q", [first, 0], lock=False)

    @property
    def value(self) -> int:
        return self._cells[0]

    @value.setter
    def value(self, index: int) -> None:
        self._cells[0] = index

    @property
    def accepted(self) -> int:
        return self._cells[1]

    @accepted.setter
    def accepted(self, count: int) -> None:
        self._cells[1] = count


def campaign(
    kind: str, count: int, *, first: int = 0, seed: int = 1, sources: list[bytes] | None = None, echo: Any = print
) -> tuple[int, list[tuple[int, str]]]:
    """(how many were valid all the same, findings as (index, what)). A worker that dies is one; the rest goes on."""
    sources = seeds(kind) if sources is None else sources
    context = multiprocessing.get_context("fork")
    findings: list[tuple[int, str]] = []
    accepted, last = 0, first + count

    def note(index: int, what: str, where: str = "") -> None:
        findings.append((index, what))
        echo(f"python fuzz/mutate.py {kind} --seed {seed} --first {index} --count 1  # {what}  {where}", flush=True)

    while first < last:
        place, told = _Place(first), context.Queue()
        worker = context.Process(target=_worker, args=(kind, sources, seed, first, last, place, told))
        worker.start()
        seen, since = first, time.monotonic()
        while worker.is_alive():
            worker.join(0.2)
            while not told.empty():
                note(*told.get())
            if place.value != seen:
                seen, since = place.value, time.monotonic()
            elif time.monotonic() - since > 3 * SECONDS:
                worker.kill()
                worker.join()
        while not told.empty():
            note(*told.get())
        accepted += place.accepted
        first = place.value + 1 if place.value < last else last
        if place.value < last:
            note(place.value, f"ended the process (exit code {worker.exitcode})")
    return accepted, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", default="", help="write mutation --first to this file and stop")
    args = parser.parse_args()
    sources = seeds(args.kind)
    if args.save:
        Path(args.save).write_bytes(mutated(sources, args.kind, args.seed, args.first))
        return 0
    begin = time.monotonic()
    accepted, findings = campaign(args.kind, args.count, first=args.first, seed=args.seed, sources=sources)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    print(
        f"{args.kind}: {args.count} mutations of {len(sources)} files in {time.monotonic() - begin:.0f} s: "
        f"{accepted} valid, {len(findings)} findings, peak {peak} MB"
    )
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
