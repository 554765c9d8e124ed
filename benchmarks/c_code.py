"""Generated C beside TFLite Micro: flash, RAM and time of int8 networks on this machine.

    python benchmarks/c_code.py MODELS [PYTHON]

MODELS is a folder of .tflite models; PYTHON one that has the package tflite-micro, whose kernels are TFLite Micro's
reference kernels. C is compiled by gcc -O2 for one core; times are the least of several runs. Where gcc-arm-none-eabi
is installed, flash and RAM of a Cortex-M4 are those that its linker gives, beside what the conversion told.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import bitlite
import numpy as np

CORE = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
TIMED = Path(__file__).with_name("c_code_timed.c")
MICRO = """
import sys, time, numpy
from tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(sys.argv[1])
details = interpreter.get_input_details(0)
interpreter.set_input(numpy.zeros(details["shape"], details["dtype"]), 0)
least, end = 1e9, time.perf_counter() + 1
while time.perf_counter() < end:
    start = time.perf_counter()
    interpreter.invoke()
    least = min(least, time.perf_counter() - start)
print(least * 1e3)
"""


def converted(model: Path, folder: Path) -> str:
    """Writes C and .tflite of int8; returns what was told of memory."""
    port = bitlite.load(str(model)).inputs[0]
    rng, shape = np.random.default_rng(0), [1 if n is None else n for n in port.shape or ()]
    samples = [{port.name: rng.normal(0, 1, shape).astype(np.float32)} for _ in range(8)]
    report = bitlite.convert(
        model, folder / "net", output_format="C,TFLITE", quant_type="PostTraining", calibration_data=samples,
        input_data_type="INT8", output_data_type="INT8",
    )  # fmt: skip
    return next(note for note in report.notes if note.startswith("flash "))


def timed(folder: Path) -> float:
    """Milliseconds of a run of the C code."""
    source = folder / "net" / "timed.c"
    source.write_text(TIMED.read_text())
    files = [file for file in (folder / "net").glob("*.c") if file.name != "main.c"]
    subprocess.run(["gcc", "-O2", "-std=gnu99", *files, "-lm", "-o", folder / "timed"], check=True)
    source.unlink()
    return float(subprocess.run([folder / "timed"], capture_output=True, text=True, check=True).stdout)


def linked(folder: Path) -> tuple[int, int]:
    """(flash, RAM) of a program for a Cortex-M4 that runs the model and nothing else."""
    start = folder / "start.c"
    start.write_text("extern void net_run(void);\nvoid start(void) { net_run(); }\n")
    files = [file for file in (folder / "net").glob("*.c") if file.name != "main.c"]
    command = ["arm-none-eabi-gcc", *CORE, "-O2", "-ffunction-sections", "-Wl,--gc-sections", "-Wl,-e,start", *files]
    command += [start, "-nostartfiles", "--specs=nosys.specs", "-lm", "-Wl,--no-warnings", "-o", folder / "net.elf"]
    subprocess.run(command, check=True, capture_output=True)
    sizes = subprocess.run(
        ["arm-none-eabi-size", folder / "net.elf"], capture_output=True, text=True, check=True
    ).stdout
    text, _, bss = sizes.splitlines()[1].split()[:3]
    return int(text), int(bss)


def main(models: str, python: str = "") -> None:
    print("| network | flash told | linked | RAM told | linked | C, ms | TFLite Micro, ms |")
    print("|---|---|---|---|---|---|---|")
    for model in sorted(Path(models).glob("*.tflite")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            told = converted(model, folder)
            flash, ram = (re.search(rf"{word} ([\d,]+)", told) for word in ("flash", "RAM"))
            real = [f"{n:,}" for n in linked(folder)] if shutil.which("arm-none-eabi-gcc") else ["", ""]
            micro = ""
            if python:
                command = [python, "-c", MICRO, folder / "net.tflite"]
                done = subprocess.run(command, capture_output=True, text=True)
                micro = f"{float(done.stdout):.3f}" if done.returncode == 0 else "does not run"
            assert flash is not None and ram is not None
            cells = [model.stem, flash[1], real[0], ram[1], real[1], f"{timed(folder):.3f}", micro]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
