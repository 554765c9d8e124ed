"""What the installed commands call. While a command is still being imported Ctrl-C ends it as it does later, in a line
with status 130; Python would show where in some import it was."""

from __future__ import annotations

import signal

from .interrupts import end_at_once, interrupt


def converter_lite() -> int:
    """The command of that name; its exit status."""
    return start("converter_lite")


def benchmark() -> int:
    """The command of that name; its exit status."""
    return start("benchmark")


def calibration_use_pb() -> int:
    """The command of that name; its exit status."""
    return start("calibration_use_pb")


def start(name: str, argv: list[str] | None = None) -> int:
    """Imports a command and runs it as the process, on its own arguments where none are given; its exit status."""
    answered = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so in the background of a shell
    if answered:
        signal.signal(signal.SIGINT, end_at_once)
    from importlib import import_module

    command = import_module(f".{name}", __package__)
    if answered:
        signal.signal(signal.SIGINT, interrupt)
    return command.main(argv)
