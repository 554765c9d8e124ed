"""The page of speeds: a part for each instruction set, kept when another is measured, with a section for each table.

# Speed
## AVX2                      ← a part: the CPU, then
### Networks                 ← its sections
### Recurrent layers
"""

from __future__ import annotations

import os
import platform

TITLES = {
    "scalar": "No vectors",
    "avx2": "AVX2",
    "avxvnni": "AVX-VNNI",
    "avx512": "AVX-512",
    "avx512vnni": "AVX-512 VNNI",
    "neon": "NEON",
    "neondot": "NEON with dot products",
    "neoni8mm": "NEON with int8 matrix products",
}


def cpu_name() -> str:
    """As Linux tells it, with the numbers that tell models of one name apart."""
    facts: dict[str, str] = {}
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, colon, value = line.partition(":")
                if colon:
                    facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name", platform.processor() or platform.machine())
    numbers = [f"{key.removeprefix('cpu ')} {facts[key]}" for key in ("cpu family", "model") if key in facts]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def heading(isa: str, best: str) -> str:
    """What a part says of the machine. `best`: the highest instruction set that the CPU has."""
    limited = "" if isa == best else f", limited to {TITLES[isa]} (the CPU has {TITLES[best]})"
    return f"{cpu_name()}, {os.cpu_count()} processors{limited}."


def split(page: str, level: str) -> dict[str, str]:
    """title → text after it, of the headings of one level ("## "); what stands before the first has the title ""."""
    first, *parts = f"\n{page}".split(f"\n{level}")
    return {"": first.strip()} | {title: text.strip() for title, _, text in (part.partition("\n") for part in parts)}


def joined(parts: dict[str, str], level: str) -> str:
    return "\n\n".join(f"{level}{title}\n\n{text}".strip() if title else text for title, text in parts.items() if text)


def put(page: str, isa: str, machine: str, section: str, text: str) -> str:
    """The page with `text` as that section of that instruction set's part; the rest of it stays."""
    parts = split(page or "# Speed", "## ")
    sections = split(parts.get(TITLES[isa], ""), "### ")
    parts[TITLES[isa]] = joined({**sections, "": machine, section: text}, "### ")
    ordered = {"": parts.pop("")} | {t: parts.pop(t) for t in TITLES.values() if t in parts} | parts
    return joined(ordered, "## ") + "\n"
