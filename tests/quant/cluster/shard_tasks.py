"""What the tests have workers do: functions of a module that their processes can import."""

import os
import signal
import time
from pathlib import Path

from bitlite.converter.errors import DataError
from bitlite.quant.cluster import tasks


def text(data):
    return bytes(data).decode()


def shout(word, shard):
    return f"{word}{shard}"


def late_first(word, shard):
    """The first shards take longest."""
    time.sleep(0.3 if shard < 2 else 0)
    return f"{word}{shard}"


def die_once(word, shard, marker):
    """Ends its process, as an operator's kill -9 does, the first time that it is asked for shard 3."""
    if shard == 3 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{word}{shard}"


def die(word, shard):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(word, shard):
    if shard == 2:
        raise DataError("sample2.bin: is damaged", hint="another")
    return shard


def process(word, shard):
    time.sleep(0.05)
    return os.getpid()


def wait_for_last(word, shard, marker, last):
    """Whether the last shard ran while the first did."""
    if shard == last:
        Path(marker).touch()
    for _ in range(2000 if not shard else 0):
        if os.path.exists(marker):
            break
        time.sleep(0.01)
    return os.path.exists(marker) if not shard else True


def is_open(key):
    return key in tasks._states


def forget():
    tasks._states.clear()
