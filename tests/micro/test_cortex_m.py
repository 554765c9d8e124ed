"""Generated C on Cortex-M cores that QEMU emulates: the example that a conversion writes must give its bits there.

Debian: apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm; `make test-micro` runs these tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import bitlite
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from c_networks import NETWORKS, samples  # noqa: E402

TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")
HARD = ("-mfloat-abi=hard",)
HIGH = ("-Wl,--defsym=code_origin=0x10000000", "-Wl,--defsym=ram_origin=0x38000000")
CORES = {
    "m0": ("mps2-an385", ("-mcpu=cortex-m0",), ()),
    "m3": ("mps2-an385", ("-mcpu=cortex-m3",), ()),
    "m4f": ("mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", *HARD), ()),
    "m33": ("mps2-an505", ("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", *HARD), HIGH),
}
INT8 = {"input_data_type": "INT8", "output_data_type": "INT8"}
FORMS = {
    "int8": {"quant_type": "PostTraining", **INT8},
    "mslite": {"quant_type": "PostTraining", "target": "mslite", **INT8},
    "float": {},
}


def converted(network, form, folder):
    """(folder of the C code, what the conversion said) of a network."""
    model = NETWORKS[network](folder / "model.tflite")
    options = dict(FORMS[form])
    if "quant_type" in options:
        options["calibration_data"] = samples(model)
    report = bitlite.convert(model, folder / "net", output_format="C", **options)
    return folder / "net", report


def compiled(folder, core, sources, *more):
    _, flags, places = CORES[core]
    elf = folder / f"{core}.elf"
    command = ["arm-none-eabi-gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-ffunction-sections", "-mthumb"]
    command += [*flags, "-fdata-sections", "-Wl,--gc-sections", "-nostartfiles", *places, *more, *map(str, sources)]
    done = subprocess.run([*command, "-lm", "-o", str(elf)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    return elf


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_core_gives_the_results_of_the_session(network, form, tmp_path):
    folder, _ = converted(network, form, tmp_path)
    sources = [*folder.glob("*.c"), HERE / "startup.c"]
    for core, (machine, _, _) in CORES.items():
        elf = compiled(folder, core, sources, "-T", str(HERE / "board.ld"), "--specs=rdimon.specs")
        command = ["qemu-system-arm", "-M", machine, "-nographic", "-monitor", "none", "-serial", "none"]
        command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "PASS" in done.stdout, (core, done.stdout, done.stderr[:500])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", NETWORKS)
def test_flash_and_ram_are_what_the_linker_says(network, form, tmp_path):
    folder, report = converted(network, form, tmp_path)
    told = next(note for note in report.notes if note.startswith("flash "))
    flash, ram = (int(told.split(word)[1].split()[0].replace(",", "")) for word in ("flash ", "RAM "))
    start = tmp_path / "start.c"
    start.write_text("extern void net_run(void);\nvoid start(void) { net_run(); }\n")
    sources = [*(file for file in folder.glob("*.c") if file.name != "main.c"), start]
    elf = compiled(folder, "m4f", sources, "-Wl,-e,start", "--specs=nosys.specs")
    text, _, bss = (
        subprocess.run(["arm-none-eabi-size", elf], capture_output=True, text=True).stdout.split("\n")[1].split()[:3]
    )
    # Small networks: what is not told exactly, the code, is more than the weights.
    assert abs(flash - int(text)) <= 0.05 * int(text) + 400, told
    assert abs(ram - int(bss)) <= 32
