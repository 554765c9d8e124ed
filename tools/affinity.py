"""Which cores a run may use: the choice of `--cpuBindMode`."""

from __future__ import annotations

import os


def bind(mode: int, threads: int) -> str:
    """Keeps this process, and the threads it will start, on `threads` cores: 1 the fastest, 2 the middle ones, 0 all.

    Does nothing where all cores are alike: the scheduler then knows better. Returns what was done.
    """
    if mode == 0 or not hasattr(os, "sched_setaffinity"):
        return "no binding"
    cores = sorted(os.sched_getaffinity(0))
    speed = {core: _top_speed(core) for core in cores}
    kinds = sorted(set(speed.values()), reverse=True)
    if len(kinds) < 2 or threads >= len(cores):
        return "no binding: the cores are alike" if len(kinds) < 2 else "no binding: every core is wanted"
    first = kinds[0] if mode == 1 else kinds[1]
    chosen = sorted(cores, key=lambda core: (speed[core] != first, -speed[core]))[:threads]
    os.sched_setaffinity(0, chosen)
    return f"bound to cores {', '.join(map(str, sorted(chosen)))}"


def _top_speed(core: int) -> int:
    try:
        with open(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
