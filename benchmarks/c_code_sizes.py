"""Code of each kernel of generated C on a Cortex-M4 with its float unit: the table of converter/formats/c/footprint.py.

Prints per kernel the bytes of its own code, for rne_f32 and for gemmlowp, and those of the routines of libgcc and libm
that a linker puts beside it. Needs gcc-arm-none-eabi with newlib.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

KERNELS = Path(__file__).parents[1] / "converter/formats/c/kernels"
CORE = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
GCC = ("arm-none-eabi-gcc", *CORE, "-std=c99", "-O2", "-ffp-contract=off", "-ffunction-sections")


def size(path: Path) -> int:
    """Bytes of code and constants."""
    out = subprocess.run(["arm-none-eabi-size", path], capture_output=True, text=True, check=True).stdout
    return int(out.splitlines()[1].split()[0])


def measured(kernel: Path, rounding: str, folder: Path) -> tuple[int, int]:
    """(own code, with library routines) of a kernel."""
    (folder / "bitlite_scale.h").write_text((KERNELS / f"scale_{rounding}.h").read_text())
    source = folder / kernel.name
    source.write_text(kernel.read_text())
    include = [f"-I{folder}", f"-I{KERNELS}"]
    own, linked = folder / "k.o", folder / "k.elf"
    subprocess.run([*GCC, *include, "-c", source, "-o", own], check=True)
    name = f"bitlite_{kernel.stem}"
    symbols = subprocess.run(["arm-none-eabi-nm", own], capture_output=True, text=True, check=True).stdout
    entry = next(word for word in symbols.split() if word in (name, f"{name}_gemmlowp"))
    end = ["-nostartfiles", "--specs=nosys.specs", f"-Wl,-e,{entry}", "-Wl,--gc-sections", "-Wl,--no-warnings", "-lm"]
    subprocess.run([*GCC, own, *end, "-o", linked], check=True, capture_output=True)
    return size(own), size(linked)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for kernel in sorted(KERNELS.glob("*.c")):
            rows = [measured(kernel, rounding, Path(name)) for rounding in ("rne", "gemmlowp")]
            library = max(linked - own for own, linked in rows)
            print(f'    "{kernel.stem}": ({rows[0][0]}, {rows[1][0]}),  # library {library}')


if __name__ == "__main__":
    main()
