"""Packages of compiled code as they run on a CPU with AVX2 and without AVX-512 and VNNI, on a CPU that has those.

    python benchmarks/limited_cpu.py SITE_PACKAGES FOLDER [PACKAGE …]

copies the packages (default: those of onnxruntime, LiteRT and OpenVINO that are there) into FOLDER and has their
libraries ask `limited_cpu.c` what the CPU can do, instead of the CPU: each cpuid instruction becomes ud2, of the
same two bytes' length, whose signal that library answers. So their own dispatch takes the kernels for AVX2, which run
at the CPU's full speed. Printed is the prefix of a command that runs Python with them:

    env LD_PRELOAD=FOLDER/limited_cpu.so PYTHONPATH=FOLDER

Needs objdump (binutils) and a C compiler.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("onnxruntime", "ai_edge_litert", "openvino")
_CPUID, _UD2 = b"\x0f\xa2", b"\x0f\x0b"
_PLACE = re.compile(r"^\s*([0-9a-f]+):\tcpuid", re.MULTILINE)


def limit(library: Path) -> int:
    """Replaces the library's cpuid instructions in the file itself; returns how many there were."""

    def dumped(*flags: str) -> str:
        return subprocess.run(["objdump", *flags, library], capture_output=True, text=True, check=True).stdout

    addresses = [int(place, 16) for place in _PLACE.findall(dumped("-d", "--no-show-raw-insn"))]
    if not addresses:
        return 0
    rows = [line.split() for line in dumped("-hw").splitlines() if "CODE" in line]
    sections = [(int(row[3], 16), int(row[5], 16)) for row in rows]  # address and place in the file
    code = bytearray(library.read_bytes())
    for address in addresses:
        start, offset = max(s for s in sections if s[0] <= address)
        at = address - start + offset
        if code[at : at + 2] != _CPUID:
            raise ValueError(f"{library}: no cpuid at {at:#x}")
        code[at : at + 2] = _UD2
    library.write_bytes(code)
    return len(addresses)


def limited(site_packages: Path, folder: Path, packages: list[str]) -> list[str]:
    """Fills the folder, unless an earlier call did; returns the command's prefix."""
    answering = folder.resolve() / "limited_cpu.so"
    prefix = ["env", f"LD_PRELOAD={answering}", f"PYTHONPATH={folder.resolve()}"]
    if answering.exists():
        return prefix
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        shutil.copytree(site_packages / package, folder / package, symlinks=True, dirs_exist_ok=True)
        for library in sorted((folder / package).rglob("*.so*")):
            if not library.is_symlink() and (found := limit(library)):
                print(f"{library.relative_to(folder)}: {found} places", file=sys.stderr)
    source = Path(__file__).with_suffix(".c")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", answering, source], check=True)
    return prefix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site_packages", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("packages", nargs="*", help="default: those of the peers that are there")
    args = parser.parse_args()
    there = [name for name in args.packages or PACKAGES if (args.site_packages / name).is_dir()]
    packages = args.packages or there
    if missing := sorted(set(packages) - set(there)) or (not there and list(PACKAGES)):
        parser.error(f"{args.site_packages}: no folder {', '.join(missing)}; it is what holds installed packages")
    for tool in ("objdump", os.environ.get("CC", "cc")):
        if shutil.which(tool) is None:
            parser.error(f"{tool} is not installed: binutils and a C compiler are needed")
    print(*limited(args.site_packages, args.folder, packages))


if __name__ == "__main__":
    main()
